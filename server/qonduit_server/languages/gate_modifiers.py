# SPDX-License-Identifier: Apache-2.0
"""Modifiers of gates (inverse, controls, powers), for every reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.quantum_info import Operator

from qonduit_server.errors import ProgramError
from qonduit_server.ir.controls import Step, controlled, controlled_phase
from qonduit_server.ir.limits import too_large
from qonduit_server.ir.symbolic import NotSymbolic, is_open, is_symbolic

#: Maximum number of qubits of a fractional power, which is computed as a matrix.
_MAX_MATRIX_QUBITS: Final = 6
MAX_CONTROLS: Final = 20


def phase(angle: float) -> list[Step]:
    """Return a global phase."""
    return [(qk.GlobalPhaseGate(angle), ())]


def inverse(steps: Sequence[Step]) -> list[Step]:
    """Return the inverse of steps."""
    return [(gate.inverse(), places) for gate, places in reversed(steps)]


def conjugated(change: Sequence[Step], steps: Sequence[Step]) -> list[Step]:
    """Return steps in another basis: between a change of basis and its inverse."""
    return [*change, *steps, *inverse(change)]


def control(steps: Sequence[Step], controls: int, state: int | None = None) -> list[Step]:
    """Return controlled steps; the controls take the first places.

    Gates of a change of basis need no controls; this optimization is left to compilers.

    Args:
        state: bit k is the required value of control k; None: all 1.
    """
    if controls > MAX_CONTROLS:
        raise too_large(f"a gate has more than {MAX_CONTROLS} controls")
    first = tuple(range(controls))
    state = (1 << controls) - 1 if state is None else state
    done: list[Step] = []
    for gate, places in steps:
        if isinstance(gate, qk.GlobalPhaseGate):
            done += controlled_phase(gate.params[0], controls, state)
            continue
        own = (*first, *(place + controls for place in places))
        if isinstance(gate, qk.UnitaryGate):
            done.append((_controlled(gate, controls, state), own))
        else:
            done += [(each, tuple(own[place] for place in at)) for each, at in controlled(gate, controls, state)]
    return done


def _controlled(gate: qk.UnitaryGate, controls: int, state: int) -> Gate:
    """Return a controlled matrix; the controls are the first qubits, each with its required value."""
    if gate.num_qubits + controls > _MAX_MATRIX_QUBITS:
        raise _too_wide("controls of a matrix")
    matrix: np.ndarray[Any, Any] = np.eye(1 << (gate.num_qubits + controls), dtype=complex)
    step = 1 << controls
    matrix[state::step, state::step] = gate.to_matrix()
    return qk.UnitaryGate(matrix)


def has_open_phase(steps: Sequence[Step]) -> bool:
    """Return whether steps have a phase that depends on a free input: controlled, it is a gate unless it is 0."""
    return any(is_open(gate.params[-1]) for gate, _ in steps if isinstance(gate, qk.GlobalPhaseGate | qk.CUGate))


def power(steps: Sequence[Step], exponent: float, qubits: int, budget: Callable[[int], None]) -> list[Step]:
    """Return steps to a power. An integer exponent repeats them; a fractional one yields a matrix of a small gate.

    Args:
        qubits: number of places of the steps.
        budget: called with the number of steps.
    """
    if is_symbolic(exponent):
        raise NotSymbolic("a power of a gate depends on a free input")
    if exponent == int(exponent):
        times = abs(int(exponent))
        budget(times * max(1, len(steps)))
        return (list(steps) if exponent >= 0 else inverse(steps)) * times
    if len(steps) == 1:
        gate, places = steps[0]
        if isinstance(gate, qk.GlobalPhaseGate):
            return phase(gate.params[0] * exponent)
    if qubits > _MAX_MATRIX_QUBITS:
        raise _too_wide("a power with a fraction")
    whole = QuantumCircuit(qubits)
    if any(is_open(parameter) for gate, _ in steps for parameter in gate.params):
        raise NotSymbolic("a fractional power of a gate that depends on a free input")
    for gate, places in steps:
        whole.append(gate, list(places))
    return [(qk.UnitaryGate(Operator(whole).power(exponent)), tuple(range(qubits)))]


def _too_wide(what: str) -> ProgramError:
    return ProgramError(
        "UNSUPPORTED_CONSTRUCT", f"{what} is computed for up to {_MAX_MATRIX_QUBITS} qubits, controls included"
    )
