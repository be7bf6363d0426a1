# SPDX-License-Identifier: Apache-2.0
"""The gates whose derivatives are known, and the expansion of all other parametrized gates into these.

The derivative of such a gate by its angle is i G U, with a constant generator G.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, ParameterExpression, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.circuit.exceptions import CircuitError

from qonduit_server.estimation.angles import NotDifferentiable
from qonduit_server.ir.lowering import MAX_OPERATIONS

Step: TypeAlias = tuple[Instruction, tuple[int, ...]]

_PASSIVE: Final = frozenset(("barrier", "delay", "global_phase"))
_MAX_DEPTH: Final = 200

_X: Final = np.array([[0, 1], [1, 0]], dtype=complex)
_Y: Final = np.array([[0, -1j], [1j, 0]])
_Z: Final = np.diag([1.0 + 0j, -1.0])
_ONE: Final = np.diag([0.0 + 0j, 1.0])

#: Of a gate's class: the generator. A gate's first qubit is the lowest bit of an index, as in Qiskit.
GENERATORS: Final[dict[type, NDArray[np.complex128]]] = {
    qk.RXGate: -_X / 2,
    qk.RYGate: -_Y / 2,
    qk.RZGate: -_Z / 2,
    qk.PhaseGate: _ONE,
    qk.U1Gate: _ONE,
    qk.RXXGate: -np.kron(_X, _X) / 2,
    qk.RYYGate: -np.kron(_Y, _Y) / 2,
    qk.RZZGate: -np.kron(_Z, _Z) / 2,
    qk.RZXGate: -np.kron(_X, _Z) / 2,
    qk.CRXGate: -np.kron(_X, _ONE) / 2,
    qk.CRYGate: -np.kron(_Y, _ONE) / 2,
    qk.CRZGate: -np.kron(_Z, _ONE) / 2,
    qk.CPhaseGate: np.kron(_ONE, _ONE),
    qk.CU1Gate: np.kron(_ONE, _ONE),
}


def parameters_of(operation: Instruction) -> bool:
    """Return whether an operation has parameters without a value, in blocks of control flow too."""
    return any(
        bool(each.parameters) for each in operation.params if isinstance(each, ParameterExpression | QuantumCircuit)
    )


def is_rotation(operation: Instruction) -> bool:
    """Return whether an operation is in `GENERATORS`; controls on 0 are not."""
    kind = operation.base_class
    return kind in GENERATORS and getattr(operation, "ctrl_state", 1) == 1


def expanded(operation: Instruction, keep: Callable[[Instruction], bool]) -> Iterator[Step]:
    """Yield the operations of an operation that `keep` accepts, each with its indices into the operation's qubits.

    Global phases are dropped: no expectation value depends on them, since controls are expanded last.

    Raises:
        NotDifferentiable: an operation that is not accepted has no definition.
    """
    budget = [MAX_OPERATIONS]
    yield from _expanded(operation, tuple(range(operation.num_qubits)), keep, 0, budget)


def _expanded(
    operation: Instruction, qubits: tuple[int, ...], keep: Callable[[Instruction], bool], depth: int, budget: list[int]
) -> Iterator[Step]:
    budget[0] -= 1
    if depth > _MAX_DEPTH or budget[0] < 0:
        raise NotDifferentiable(f"the gate {operation.name!r} expands to too many gates")
    if operation.name in _PASSIVE:
        return
    if not isinstance(operation, Instruction):
        raise NotDifferentiable(f"the operation {operation.name!r} is no gate: expand it in the program")
    if keep(operation):
        yield operation, qubits
        return
    definition = _definition(operation)
    for inner in definition.data:
        places = tuple(qubits[definition.find_bit(qubit).index] for qubit in inner.qubits)
        if inner.clbits:
            raise NotDifferentiable(f"the gate {operation.name!r} contains {inner.operation.name!r}: use gates only")
        yield from _expanded(inner.operation, places, keep, depth + 1, budget)


def _definition(operation: Instruction) -> QuantumCircuit:
    if operation.base_class in (qk.UGate, qk.U3Gate):
        # Qiskit has no definition of it in gates of one angle.
        theta, phi, lam = operation.params
        found = QuantumCircuit(1)
        found.p(lam, 0)
        found.ry(theta, 0)
        found.p(phi, 0)
        return found
    definition: Any = None
    try:
        definition = operation.definition
    except (CircuitError, TypeError, ValueError) as error:
        raise NotDifferentiable(f"the gate {operation.name!r} has no definition with parameters: {error}") from error
    if definition is None:
        raise NotDifferentiable(f"the operation {operation.name!r} has no derivative: use gates only")
    return definition
