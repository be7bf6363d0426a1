# SPDX-License-Identifier: Apache-2.0
"""Exact distributions of IR circuits, by a small independent interpreter that branches at every measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit.circuit import Clbit, IfElseOp, Operation, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr, types
from qiskit.quantum_info import Operator

from qonduit_server.ir.circuit import Circuit

#: Branches of a loop below this probability are dropped.
_LEAST = 1e-11

State = np.ndarray[Any, Any]
#: Probability is the state's squared length; bit k of the number is classical bit k.
Path = tuple[State, int]


def distribution(circuit: Circuit) -> dict[str, float]:
    """Return the probability of each result key of a program."""
    quantum = circuit.quantum
    state = np.zeros((2,) * quantum.num_qubits, dtype=complex)
    state[(0,) * quantum.num_qubits] = 1
    numbers = {clbit: number for number, clbit in enumerate(quantum.clbits)}
    found: dict[str, float] = {}
    for end, bits in _block(quantum, list(range(quantum.num_qubits)), numbers, [(state, 0)]):
        key = circuit.key(bits)
        found[key] = found.get(key, 0.0) + _weight(end)
    return {key: probability for key, probability in found.items() if probability > 1e-9}


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    """Return names and sizes of the registers, in order."""
    return [(register.name, len(register.bits)) for register in circuit.registers]


def close(found: dict[str, float], wanted: dict[str, float], tolerance: float = 1e-7) -> bool:
    """Return whether two distributions agree."""
    return all(abs(found.get(key, 0) - wanted.get(key, 0)) < tolerance for key in found | wanted)


def _block(circuit: QuantumCircuit, qubits: list[int], numbers: dict[Clbit, int], paths: list[Path]) -> list[Path]:
    for instruction in circuit.data:
        places = [qubits[circuit.find_bit(qubit).index] for qubit in instruction.qubits]
        clbits = [numbers[clbit] for clbit in instruction.clbits]
        paths = [end for path in paths for end in _step(instruction.operation, places, clbits, numbers, path)]
        if isinstance(instruction.operation, WhileLoopOp):
            paths = _merged(paths)
    return paths


def _step(
    operation: Operation, qubits: list[int], clbits: list[int], numbers: dict[Clbit, int], path: Path
) -> list[Path]:
    state, bits = path
    if operation.name in ("barrier", "delay"):
        return [path]
    if operation.name == "measure":
        mask = 1 << clbits[0]
        return [
            (end, bits | mask if value else bits & ~mask)
            for value, end in enumerate(_projected(state, qubits[0]))
            if _weight(end) > _LEAST
        ]
    if operation.name == "reset":
        zero, one = _projected(state, qubits[0])
        ends = (zero, np.flip(one, axis=qubits[0]))
        return [(end, bits) for end in ends if _weight(end) > _LEAST]
    if isinstance(operation, IfElseOp):
        taken = operation.blocks[:1] if _holds(operation.condition, numbers, bits) else operation.blocks[1:]
        return _inner(taken[0], qubits, clbits, [path]) if taken else [path]
    if isinstance(operation, WhileLoopOp):
        done: list[Path] = []
        paths = [path]
        while paths:
            done += [each for each in paths if not _holds(operation.condition, numbers, each[1])]
            going = [each for each in paths if _holds(operation.condition, numbers, each[1])]
            paths = _merged(_inner(operation.blocks[0], qubits, clbits, going))
        return done
    if isinstance(operation, Store):
        mask = 1 << numbers[operation.lvalue.var]
        return [(state, bits | mask if _value(operation.rvalue, numbers, bits) else bits & ~mask)]
    return [(_applied(operation, qubits, state), bits)]


def _inner(block: QuantumCircuit, qubits: list[int], clbits: list[int], paths: list[Path]) -> list[Path]:
    return _block(block, qubits, dict(zip(block.clbits, clbits, strict=True)), paths)


def _merged(paths: list[Path]) -> list[Path]:
    """Merge paths with equal states, or the paths through a loop grow without bound."""
    kept: dict[int, list[State]] = {}
    for state, bits in paths:
        others = kept.setdefault(bits, [])
        weight = _weight(state)
        for place, other in enumerate(others):
            if abs(abs(np.vdot(other, state)) ** 2 - _weight(other) * weight) < 1e-13 * _weight(other) * weight:
                others[place] = other * np.sqrt(1 + weight / _weight(other))
                break
        else:
            others.append(state)
    return [(state, bits) for bits, states in kept.items() for state in states]


def _weight(state: State) -> float:
    return float(np.vdot(state, state).real)


def _projected(state: State, qubit: int) -> tuple[State, State]:
    zero, one = state.copy(), state.copy()
    zero[(slice(None),) * qubit + (1,)] = 0
    one[(slice(None),) * qubit + (0,)] = 0
    return zero, one


def _applied(operation: Operation, qubits: list[int], state: State) -> State:
    size = len(qubits)
    if operation.num_qubits > 6:
        for inner in operation.definition.data:
            places = [qubits[operation.definition.find_bit(qubit).index] for qubit in inner.qubits]
            state = _applied(inner.operation, places, state)
        return state
    data = operation.to_matrix() if hasattr(operation, "__array__") else Operator(operation).data
    matrix = data.reshape((2,) * 2 * size)
    # Qiskit's last qubit is the highest bit of a matrix index.
    axes = [qubits[size - 1 - k] for k in range(size)]
    moved = np.tensordot(matrix, state, axes=(list(range(size, 2 * size)), axes))
    return np.moveaxis(moved, list(range(size)), axes)


def _holds(condition: Any, numbers: dict[Clbit, int], bits: int) -> bool:
    if isinstance(condition, expr.Expr):
        return bool(_value(condition, numbers, bits))
    target, value = condition
    if isinstance(target, Clbit):
        return bits >> numbers[target] & 1 == int(value)
    return sum((bits >> numbers[clbit] & 1) << place for place, clbit in enumerate(target)) == int(value)


def _value(node: expr.Expr, numbers: dict[Clbit, int], bits: int) -> int:
    if isinstance(node, expr.Value):
        return int(node.value)
    if isinstance(node, expr.Var):
        if isinstance(node.var, Clbit):
            return bits >> numbers[node.var] & 1
        return sum((bits >> numbers[clbit] & 1) << place for place, clbit in enumerate(node.var))
    if isinstance(node, expr.Cast):
        inner = _value(node.operand, numbers, bits)
        return int(bool(inner)) if isinstance(node.type, types.Bool) else inner
    if isinstance(node, expr.Unary):
        assert node.op is expr.Unary.Op.LOGIC_NOT
        return int(not _value(node.operand, numbers, bits))
    assert isinstance(node, expr.Binary)
    left, right = _value(node.left, numbers, bits), _value(node.right, numbers, bits)
    match node.op.name:
        case "LOGIC_AND" | "BIT_AND":
            return left & right
        case "LOGIC_OR" | "BIT_OR":
            return left | right
        case "BIT_XOR":
            return left ^ right
        case "EQUAL":
            return int(left == right)
        case "NOT_EQUAL":
            return int(left != right)
    raise AssertionError(node)
