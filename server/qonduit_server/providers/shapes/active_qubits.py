# SPDX-License-Identifier: Apache-2.0
"""A circuit for a large device, reduced to the qubits that it uses: so 5 qubits of 156 are simulated as 5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from qiskit.circuit import CircuitInstruction, Clbit, ControlFlowOp, Instruction, QuantumCircuit, QuantumRegister, Qubit

#: Returns what follows an operation on qubits of the device: noise that does not belong to a gate.
Follow: TypeAlias = Callable[[Instruction, Sequence[int]], Instruction | None]


def each_operation(
    circuit: QuantumCircuit, places: Sequence[int] | None = None
) -> Iterator[tuple[Instruction, tuple[int, ...]]]:
    """Yield the operations and their qubits, those in blocks too; no barriers.

    Args:
        circuit: the circuit, or a block of one.
        places: the numbers of its qubits; default: 0, 1, ...
    """
    places = range(circuit.num_qubits) if places is None else places
    find = circuit.find_bit
    for instruction in circuit.data:
        operation = instruction.operation
        on = tuple(places[find(qubit).index] for qubit in instruction.qubits)
        if isinstance(operation, ControlFlowOp):
            for block in operation.blocks:
                yield from each_operation(block, on)
        elif operation.name != "barrier":
            yield operation, on


def levels(circuit: QuantumCircuit) -> Iterator[Sequence[int] | None]:
    """Give the qubits of each operation, as `CompiledCircuit.operations` does."""
    find = circuit.find_bit
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, ControlFlowOp):
            for block in operation.blocks:  # which have all of the circuit's qubits
                yield None
                yield from levels(block)
            yield None
        elif operation.name not in ("barrier", "delay", "store", "break_loop", "continue_loop") and instruction.qubits:
            yield [find(qubit).index for qubit in instruction.qubits]


def reduced(circuit: QuantumCircuit, active: Mapping[int, int], follow: Follow) -> QuantumCircuit:
    """Return the circuit on its active qubits only.

    Args:
        circuit: on all qubits of the device.
        active: the place of each active qubit in the result.
        follow: see `Follow`.
    """
    small = QuantumCircuit(QuantumRegister(len(active), "q"), circuit.clbits)
    for register in circuit.cregs:
        small.add_register(register)
    for variable in circuit.iter_declared_vars():
        small.add_uninitialized_var(variable)
    _append_all(small, circuit, range(circuit.num_qubits), circuit.clbits, active, follow)
    return small


def _append_all(
    target: QuantumCircuit,
    block: QuantumCircuit,
    places: Sequence[int],
    clbits: Sequence[Clbit],
    active: Mapping[int, int],
    follow: Follow,
) -> None:
    """Append a block's operations. Blocks are given all qubits: Aer (0.18) needs them for the order; see `IBM`."""
    find = block.find_bit
    for instruction in block.data:
        operation = instruction.operation
        on = [places[find(qubit).index] for qubit in instruction.qubits]
        bits = [clbits[find(clbit).index] for clbit in instruction.clbits]
        qubits: list[Qubit] = [target.qubits[active[place]] for place in on if place in active]
        if isinstance(operation, ControlFlowOp):
            blocks = []
            for inner in operation.blocks:
                wide = QuantumCircuit(target.qubits, bits)
                _append_all(wide, inner, on, bits, active, follow)
                blocks.append(wide)
            target.append(operation.replace_blocks(blocks), target.qubits, bits, copy=False)
        elif len(qubits) == len(on):
            target._append(CircuitInstruction(operation, qubits, bits))
            further = follow(operation, on)
            if further is not None:
                target.append(further, qubits, copy=False)
