# SPDX-License-Identifier: Apache-2.0
"""Which operations are Clifford gates, and of which elementary Clifford gates they consist.

Stabilizer simulators run these circuits at any width. For providers that have such a simulator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford

from qonduit_server.ir.limits import MAX_DEPTH
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.ir.symbolic import is_open

#: Elementary Clifford gates by name, each with its places on the operation it is part of.
Steps: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]

#: How far an entry of a gate's matrix may be from that of the Clifford gate it is taken for, up to a global phase.
_TOLERANCE: Final = 1e-10
#: Matrices of gates on more qubits are not looked at.
_MATRIX_QUBITS: Final = 3
#: Operations without an effect on the state.
_PASSIVE: Final = frozenset(("barrier", "delay", "store", "break_loop", "continue_loop"))


@cache
def _direct() -> dict[type, Steps]:
    """Return the standard gates that are Clifford gates at all times."""
    single: Steps
    found: dict[type, Steps] = {qk.IGate: ()}
    for kind in (qk.XGate, qk.YGate, qk.ZGate, qk.HGate, qk.SGate, qk.SdgGate, qk.SXGate, qk.SXdgGate):
        single = ((kind().name, (0,)),)
        found[kind] = single
    for kind in (qk.CXGate, qk.CYGate, qk.CZGate, qk.SwapGate):
        found[kind] = ((kind().name, (0, 1)),)
    found[qk.DCXGate] = (("cx", (0, 1)), ("cx", (1, 0)))
    found[qk.iSwapGate] = (("s", (0,)), ("s", (1,)), ("cz", (0, 1)), ("swap", (0, 1)))
    return found


class CliffordContent(NamedTuple):
    """What a circuit consists of.

    Args:
        obstacle: the first operation that a stabilizer simulator cannot run, for messages; otherwise "".
        pauli_noise: whether there are channels, all of them mixtures of Pauli operators as far as `obstacle`.
    """

    obstacle: str
    pauli_noise: bool


def clifford_gates(operation: Instruction) -> Steps | None:
    """Return the elementary Clifford gates that an operation consists of, up to a global phase.

    A gate that the program defines is resolved by its definition. A rotation by a multiple of pi/2 and a small matrix
    are Clifford gates if their matrix is one within 1e-10.

    Returns:
        Names of {h, s, sdg, x, y, z, sx, sxdg, cx, cy, cz, swap} with places among the operation's qubits, none for an
        identity; None for other gates, resets and other operations.
    """
    return _resolve(operation, 0)


def is_clifford(quantum: QuantumCircuit) -> bool:
    """Return whether a stabilizer simulator can run an IR circuit: Clifford gates and channels of Pauli operators.

    Bodies of branches and loops count, whether they are reached or not.
    """
    return not clifford_content(quantum).obstacle


def clifford_content(quantum: QuantumCircuit) -> CliffordContent:
    """Return what keeps an IR circuit from a stabilizer simulator, and whether it has channels of Pauli operators."""
    noisy = False
    for operation, where in _operations(quantum, range(quantum.num_qubits)):
        name = operation.name
        if isinstance(operation, Channel):
            if operation.paulis is None:
                return CliffordContent(f"channel {operation.kind} at {_at(where)}", noisy)
            noisy = True
        elif isinstance(operation, ReadoutError):
            continue
        elif name not in _PASSIVE and name not in ("measure", "reset") and clifford_gates(operation) is None:
            return CliffordContent(f"gate {name} at {_at(where)}", noisy)
    return CliffordContent("", noisy)


def open_gates(quantum: QuantumCircuit) -> list[Instruction] | None:
    """Return the gates with parameters without a value, if all else is for a stabilizer simulator; None if it is not.

    Gates that the program defines are left out: their parts have the parameters.
    """
    found: list[Instruction] = []
    for operation, _ in _operations(quantum, range(quantum.num_qubits)):
        if isinstance(operation, Channel):
            if operation.paulis is None:
                return None
        elif isinstance(operation, ReadoutError) or operation.name in (*_PASSIVE, "measure", "reset"):
            continue
        elif not any(map(is_open, operation.params)):
            if clifford_gates(operation) is None:
                return None
        elif getattr(operation, "_standard_gate", None) is not None:
            if operation.num_qubits > _MATRIX_QUBITS:
                return None
            found.append(operation)
    return found


def is_clifford_at(gate: Instruction, angles: Sequence[float]) -> bool:
    """Return whether a standard gate is a Clifford gate with these parameters; see `clifford_gates`."""
    own = gate.to_mutable()
    own.params = list(angles)
    return _of_matrix(own.to_matrix()) is not None


def _operations(block: QuantumCircuit, numbers: range | list[int]) -> Iterator[tuple[Instruction, list[int]]]:
    find = block.find_bit
    for instruction in block.data:
        operation = instruction.operation
        where = [numbers[find(qubit).index] for qubit in instruction.qubits]
        blocks = getattr(operation, "blocks", None)
        if blocks is None:
            yield operation, where
        else:
            for inner in blocks:
                yield from _operations(inner, where)


def _at(where: list[int]) -> str:
    return f"qubit{'s' if len(where) != 1 else ''} {', '.join(map(str, where))}"


def _resolve(operation: Instruction, depth: int) -> Steps | None:
    kind = operation.base_class
    # By class: a program may define a gate of its own under the name of a standard one.
    direct = _direct().get(kind)
    if direct is not None:
        if getattr(operation, "ctrl_state", 1) == 1:
            return direct
        return (("x", (0,)), *direct, ("x", (0,)))  # the control must be 0
    if kind is qk.UnitaryGate:
        return _of_matrix(operation.to_matrix()) if operation.num_qubits <= _MATRIX_QUBITS else None
    if getattr(operation, "_standard_gate", None) is not None:
        if operation.num_qubits > _MATRIX_QUBITS or any(map(is_open, operation.params)):
            return None
        return _of_standard(kind, tuple(operation.params), getattr(operation, "ctrl_state", None))
    definition = getattr(operation, "definition", None)
    if definition is None or depth > MAX_DEPTH:
        return None
    steps: list[tuple[str, tuple[int, ...]]] = []
    for inner in definition.data:
        if inner.operation.name in ("barrier", "delay"):
            continue
        if inner.clbits:
            return None
        found = _resolve(inner.operation, depth + 1)
        if found is None:
            return None
        places = [definition.find_bit(qubit).index for qubit in inner.qubits]
        steps += [(name, tuple([places[place] for place in own])) for name, own in found]
    return tuple(steps)


@lru_cache(maxsize=4096)
def _of_standard(kind: type, parameters: tuple[float, ...], control: int | None) -> Steps | None:
    return _of_matrix((kind(*parameters) if control is None else kind(*parameters, ctrl_state=control)).to_matrix())


def _of_matrix(matrix: NDArray[np.complex128]) -> Steps | None:
    try:
        clifford = Clifford.from_matrix(matrix)
    except QiskitError:
        return None
    overlap = np.vdot(clifford.to_matrix(), matrix)
    if abs(overlap) == 0 or np.abs(clifford.to_matrix() * (overlap / abs(overlap)) - matrix).max() > _TOLERANCE:
        return None
    circuit = clifford.to_circuit()
    find = circuit.find_bit
    return tuple(
        (instruction.operation.name, tuple(find(qubit).index for qubit in instruction.qubits))
        for instruction in circuit.data
        if instruction.operation.name != "id"
    )
