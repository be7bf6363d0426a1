# SPDX-License-Identifier: Apache-2.0
"""Exact distributions of IR circuits, by following every branch with numpy; shares no code with tested modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.classical import expr

#: Classical bits, and the state's amplitudes: an axis for each qubit. Its norm squared is the branch's probability.
Branch: TypeAlias = tuple[tuple[bool, ...], NDArray[np.complex128]]

#: Branches below this probability are dropped; and the most rounds of a loop that are followed.
NOTHING = 1e-11
ROUNDS = 2000


def distribution(quantum: QuantumCircuit) -> dict[int, float]:
    """Return the probability of each outcome; bit k of an outcome is classical bit k."""
    qubits, clbits = quantum.num_qubits, quantum.num_clbits
    state = np.zeros((2,) * qubits, dtype=np.complex128)
    state[(0,) * qubits] = 1.0
    found: dict[int, float] = {}
    for bits, amplitudes in follow(quantum, range(qubits), range(clbits), [((False,) * clbits, state)]):
        outcome = sum(value << place for place, value in enumerate(bits))
        found[outcome] = found.get(outcome, 0.0) + norm(amplitudes)
    return found


def norm(amplitudes: NDArray[np.complex128]) -> float:
    return float(np.sum(np.abs(amplitudes) ** 2))


def follow(block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], branches: list[Branch]) -> list[Branch]:
    """Run branches through a block on these bits of the whole circuit."""
    for instruction in block.data:
        operation = instruction.operation
        targets = [qubits[block.find_bit(qubit).index] for qubit in instruction.qubits]
        places = [clbits[block.find_bit(clbit).index] for clbit in instruction.clbits]
        where = {clbit: clbits[k] for k, clbit in enumerate(block.clbits)}
        after: list[Branch] = []
        if operation.name == "while_loop":
            for _ in range(ROUNDS):
                after += [each for each in branches if not value(operation.condition, each[0], where)]
                stay = [each for each in branches if value(operation.condition, each[0], where)]
                branches = follow(operation.blocks[0], targets, places, stay)
                if not branches:
                    break
            assert not branches, "the loop does not end"
        else:
            for bits, state in branches:
                if operation.name == "if_else":
                    holds = value(operation.condition, bits, where)
                    after += follow(operation.blocks[0], targets, places, [(bits, state)]) if holds else [(bits, state)]
                elif operation.name == "store":
                    after.append((put(bits, where[operation.lvalue.var], value(operation.rvalue, bits, where)), state))
                elif operation.name in ("measure", "reset"):
                    for one in (False, True):
                        left = np.moveaxis(np.zeros_like(state), targets[0], 0)
                        left[int(one and operation.name == "measure")] = np.moveaxis(state, targets[0], 0)[int(one)]
                        now = put(bits, places[0], one) if operation.name == "measure" else bits
                        after.append((now, np.moveaxis(left, 0, targets[0])))
                elif operation.name not in ("barrier", "delay"):
                    after.append((bits, apply(operation.to_matrix(), targets, state)))
        branches = [each for each in after if norm(each[1]) > NOTHING]
    return branches


def apply(matrix: NDArray[np.complex128], targets: Sequence[int], state: NDArray[np.complex128]) -> Any:
    # Qiskit's matrices count the first qubit as the lowest.
    axes = list(reversed(targets))
    front = np.moveaxis(state, axes, range(len(axes)))
    return np.moveaxis((matrix @ front.reshape(len(matrix), -1)).reshape(front.shape), range(len(axes)), axes)


def put(bits: tuple[bool, ...], place: int, one: bool) -> tuple[bool, ...]:
    return (*bits[:place], one, *bits[place + 1 :])


def value(node: Any, bits: Sequence[bool], where: dict[Any, int]) -> bool:
    """Return the value of an expression of bits."""
    match node:
        case expr.Var():
            return bits[where[node.var]]
        case expr.Value():
            return bool(node.value)
        case expr.Unary():
            return not value(node.operand, bits, where)
        case expr.Binary():
            left, right = value(node.left, bits, where), value(node.right, bits, where)
            ops = expr.Binary.Op
            return {ops.LOGIC_AND: left and right, ops.LOGIC_OR: left or right, ops.BIT_XOR: left != right}[node.op]
    raise AssertionError(f"not a condition of the IR: {node}")
