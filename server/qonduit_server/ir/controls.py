# SPDX-License-Identifier: Apache-2.0
"""Controls of gates, for every module that puts gates into the IR: Qiskit's own, except those of `CUGate`.

A control of `CUGate` in Qiskit 2 is a gate over a `UGate` of four parameters. QPY writes it and cannot read it back,
and its inverse loses the fourth parameter, a phase.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from qiskit.circuit import ControlledGate, Gate
from qiskit.circuit import library as qk

#: A gate of the IR on places of the operation it is part of. A global phase has no places.
Step: TypeAlias = tuple[Gate, tuple[int, ...]]


def controlled(gate: Gate, controls: int, state: int) -> list[Step]:
    """Return a gate under controls, which take the first places.

    Args:
        state: bit k is the value that control k must have.
    """
    places = tuple(range(controls + gate.num_qubits))
    if gate.base_class is not qk.CUGate:
        return [(gate.control(controls, ctrl_state=state, annotated=False), places)]
    theta, phi, lam, phase = gate.params
    controls, state = controls + 1, state | cast("ControlledGate", gate).ctrl_state << controls
    under = qk.UGate(theta, phi, lam).control(controls, ctrl_state=state, annotated=False)
    return [(under, places), *(controlled_phase(phase, controls, state) if phase else ())]


def controlled_phase(angle: float, controls: int, state: int) -> list[Step]:
    """Return a global phase under controls: a phase of the last control."""
    places = tuple(range(controls))
    flips: list[Step] = [(qk.XGate(), (each,)) for each in places if not state >> each & 1]
    turn: Gate = qk.PhaseGate(angle)
    return [*flips, (turn.control(controls - 1, annotated=False) if controls > 1 else turn, places), *flips]
