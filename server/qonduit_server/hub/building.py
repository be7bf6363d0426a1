# SPDX-License-Identifier: Apache-2.0
"""The hub circuit as a reader writes it: operations guarded by formulas over measured bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from qiskit.circuit import (
    CircuitInstruction,
    Clbit,
    IfElseOp,
    Instruction,
    QuantumCircuit,
    Qubit,
    Store,
    WhileLoopOp,
)
from qiskit.circuit.classical import expr

from qonduit_server.hub.formula import TRUE, Formula
from qonduit_server.hub.limits import MAX_CLBITS, MAX_OPERATIONS, MAX_QUBITS, too_large

#: The hub gives each conditional operation all the qubits and bits there are; so many of them all together.
MAX_PLACES: Final = 5_000_000


@dataclass(frozen=True)
class Write:
    """Sets a classical bit."""

    clbit: int
    value: Formula


@dataclass(frozen=True)
class Loop:
    """Repeats operations while a formula holds."""

    condition: Formula
    body: Block


@dataclass(frozen=True)
class Step:
    """One operation and the condition under which it is done."""

    guard: Formula
    operation: Instruction | Write | Loop
    qubits: tuple[int, ...] = ()
    clbits: tuple[int, ...] = ()


@dataclass
class Block:
    """Operations in order."""

    steps: list[Step] = field(default_factory=list)


class Builder:
    """Collects operations; knows nothing of languages."""

    def __init__(self) -> None:
        self.qubits = 0
        self.clbits = 0
        self.block = Block()
        self._count = 0

    def add_qubits(self, number: int) -> tuple[int, ...]:
        if self.qubits + number > MAX_QUBITS:
            raise too_large(f"the program has more than {MAX_QUBITS} qubits")
        self.qubits += number
        return tuple(range(self.qubits - number, self.qubits))

    def add_clbits(self, number: int) -> tuple[int, ...]:
        if self.clbits + number > MAX_CLBITS:
            raise too_large(f"the program has more than {MAX_CLBITS} classical bits")
        self.clbits += number
        return tuple(range(self.clbits - number, self.clbits))

    def spend(self, operations: int) -> None:
        """Count operations against what one program may have."""
        self._count += operations
        if self._count > MAX_OPERATIONS:
            raise too_large(f"the program unrolls to more than {MAX_OPERATIONS} operations")

    def append(
        self,
        guard: Formula,
        operation: Instruction | Write | Loop,
        qubits: Sequence[int] = (),
        clbits: Sequence[int] = (),
    ) -> None:
        self.spend(1)
        self.block.steps.append(Step(guard, operation, tuple(qubits), tuple(clbits)))

    def finish(self) -> QuantumCircuit:
        """The circuit, with as many loose qubits and classical bits as were added."""
        circuit = QuantumCircuit([Qubit() for _ in range(self.qubits)], [Clbit() for _ in range(self.clbits)])
        if _conditionals(self.block) * (self.qubits + self.clbits) > MAX_PLACES:
            raise too_large("it has too many conditional operations for its qubits and classical bits")
        _write(self.block, circuit)
        return circuit


def _conditionals(block: Block) -> int:
    """How many conditional operations and loops the hub will have."""
    inner = sum(1 + _conditionals(step.operation.body) for step in block.steps if isinstance(step.operation, Loop))
    return inner + sum(1 for guard, _ in groupby(block.steps, key=lambda step: step.guard) if guard != TRUE)


def _write(block: Block, circuit: QuantumCircuit) -> None:
    qubits, clbits = circuit.qubits, circuit.clbits
    for guard, steps in groupby(block.steps, key=lambda step: step.guard):
        if guard == TRUE:
            for step in steps:
                _write_step(step, circuit)
            continue
        body = QuantumCircuit(qubits, clbits)
        for step in steps:
            _write_step(step, body)
        circuit._append(CircuitInstruction(IfElseOp(expression(guard, clbits), body), qubits, clbits))


def _write_step(step: Step, circuit: QuantumCircuit) -> None:
    qubits, clbits = circuit.qubits, circuit.clbits
    operation = step.operation
    if isinstance(operation, Write):
        circuit.append(Store(expr.lift(clbits[operation.clbit]), expression(operation.value, clbits)), (), ())
    elif isinstance(operation, Loop):
        body = QuantumCircuit(qubits, clbits)
        _write(operation.body, body)
        circuit._append(CircuitInstruction(WhileLoopOp(expression(operation.condition, clbits), body), qubits, clbits))
    else:
        circuit._append(
            CircuitInstruction(operation, [qubits[k] for k in step.qubits], [clbits[k] for k in step.clbits])
        )


def expression(formula: Formula, clbits: Sequence[Clbit]) -> expr.Expr:
    """A formula as Qiskit writes it. Long ones are balanced: evaluators recurse."""
    match formula.kind:
        case "constant":
            return expr.lift(bool(formula.number))
        case "bit":
            return expr.lift(clbits[formula.number])
        case "not":
            return expr.logic_not(expression(formula.parts[0], clbits))
    join = {"and": expr.logic_and, "or": expr.logic_or, "xor": expr.bit_xor}[formula.kind]
    parts = [expression(part, clbits) for part in formula.parts]
    while len(parts) > 1:
        parts = [join(*parts[k : k + 2]) if k + 1 < len(parts) else parts[k] for k in range(0, len(parts), 2)]
    return parts[0]
