# SPDX-License-Identifier: Apache-2.0
"""IR circuits as the operations of the noise reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qiskit.circuit import Clbit, IfElseOp, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr
from qiskit.quantum_info import Operator

from tests.unit.ir import noise_reference as reference


def distribution(quantum: QuantumCircuit) -> dict[int, float]:
    """Return the exact distribution of an IR circuit; bit k of an outcome is classical bit k."""
    return reference.distribution(quantum.num_qubits, operations(quantum))


def operations(quantum: QuantumCircuit) -> list[Any]:
    """Return what an IR circuit does."""
    bits = {clbit: place for place, clbit in enumerate(quantum.clbits)}
    return _block(quantum, list(range(quantum.num_qubits)), bits)


def close(found: Mapping[int, float], wanted: Mapping[int, float], tolerance: float = 1e-9) -> bool:
    """Return whether two distributions agree."""
    return all(abs(found.get(key, 0) - wanted.get(key, 0)) < tolerance for key in {*found, *wanted})


def _block(block: QuantumCircuit, qubits: list[int], bits: Mapping[Clbit, int]) -> list[Any]:
    steps: list[Any] = []
    for instruction in block.data:
        operation = instruction.operation
        own = [qubits[block.find_bit(qubit).index] for qubit in instruction.qubits]
        if isinstance(operation, IfElseOp | WhileLoopOp):
            condition = _condition(operation.condition, bits)
            bodies = [_block(body, own, bits) for body in _renamed(operation.blocks, instruction.clbits)]
            kind = reference.If if isinstance(operation, IfElseOp) else reference.While
            steps.append(kind(condition, *bodies))
        elif isinstance(operation, Store):
            steps.append(reference.Assign(bits[operation.lvalue.var], _condition(operation.rvalue, bits)))
        elif operation.name == "measure":
            steps.append(reference.Measure(own[0], bits[instruction.clbits[0]]))
        elif operation.name == "readout_error":
            steps.append(reference.Readout(bits[instruction.clbits[0]], *operation.params))
        elif operation.name == "reset":
            steps.append(reference.Reset(own[0]))
        elif operation.name == "channel":
            steps.append(reference.Kraus(operation.kraus, own))
        elif operation.name not in ("barrier", "delay"):
            steps.append(reference.gate(Operator(operation).data, *own))
    return steps


def _renamed(blocks: Any, clbits: Any) -> Any:
    assert all(list(block.clbits) == list(clbits) for block in blocks), "bodies have the bits of the circuit"
    return blocks


def _condition(condition: Any, bits: Mapping[Clbit, int]) -> Callable[[int], bool]:
    if isinstance(condition, tuple):
        target, wanted = condition
        clbits = [target] if isinstance(target, Clbit) else list(target)
        return lambda value: sum((value >> bits[each] & 1) << k for k, each in enumerate(clbits)) == int(wanted)
    return lambda value: bool(_evaluate(condition, bits, value))


def _evaluate(node: Any, bits: Mapping[Clbit, int], value: int) -> int:
    match node:
        case expr.Var():
            return value >> bits[node.var] & 1
        case expr.Value():
            return int(node.value)
        case expr.Cast():
            return _evaluate(node.operand, bits, value)
        case expr.Unary():
            return int(not _evaluate(node.operand, bits, value))
        case expr.Binary():
            left, right = _evaluate(node.left, bits, value), _evaluate(node.right, bits, value)
            if node.op in (expr.Binary.Op.LOGIC_AND, expr.Binary.Op.BIT_AND):
                return left & right
            if node.op in (expr.Binary.Op.LOGIC_OR, expr.Binary.Op.BIT_OR):
                return left | right
            assert node.op in (expr.Binary.Op.BIT_XOR, expr.Binary.Op.NOT_EQUAL)
            return left ^ right
    raise TypeError(node)
