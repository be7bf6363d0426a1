# SPDX-License-Identifier: Apache-2.0
"""Controlled gates for every module that adds gates to the IR: Qiskit's own, except for `CUGate`.

In Qiskit 2 a controlled `CUGate` is based on a `UGate` of four parameters. QPY writes it but cannot read it, and its
inverse loses the fourth parameter, a phase.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from qiskit.circuit import ControlledGate, Gate
from qiskit.circuit import library as qk

#: An IR gate on qubit indices of the operation that contains it. A global phase has no qubits.
Step: TypeAlias = tuple[Gate, tuple[int, ...]]


def controlled(gate: Gate, controls: int, state: int) -> list[Step]:
    """Return a controlled gate; the controls come first.

    Args:
        state: bit k is the required value of control k.
    """
    places = tuple(range(controls + gate.num_qubits))
    if gate.base_class is not qk.CUGate:
        return [(gate.control(controls, ctrl_state=state, annotated=False), places)]
    theta, phi, lam, phase = gate.params
    controls, state = controls + 1, state | cast("ControlledGate", gate).ctrl_state << controls
    under = qk.UGate(theta, phi, lam).control(controls, ctrl_state=state, annotated=False)
    return [(under, places), *(controlled_phase(phase, controls, state) if phase else ())]


def controlled_phase(angle: float, controls: int, state: int) -> list[Step]:
    """Return a controlled global phase: a phase of the last control."""
    places = tuple(range(controls))
    flips: list[Step] = [(qk.XGate(), (each,)) for each in places if not state >> each & 1]
    turn: Gate = qk.PhaseGate(angle)
    return [*flips, (turn.control(controls - 1, annotated=False) if controls > 1 else turn, places), *flips]
