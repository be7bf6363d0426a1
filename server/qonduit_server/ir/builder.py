# SPDX-License-Identifier: Apache-2.0
"""The IR circuit as a reader writes it: operations guarded by formulas over measured bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

from qonduit_server.ir.formula import TRUE, Formula
from qonduit_server.ir.limits import MAX_CLBITS, MAX_OPERATIONS, MAX_QUBITS, too_large

#: Maximum number of qubits and bits of all bodies of conditional operations and loops together.
MAX_PLACES: Final = 1_000_000


@dataclass(frozen=True)
class Write:
    """An assignment to a classical bit."""

    clbit: int
    value: Formula


@dataclass(frozen=True)
class Loop:
    """A loop that repeats operations while a formula holds."""

    condition: Formula
    body: Block


@dataclass(frozen=True)
class Step:
    """An operation and the condition under which it is applied."""

    guard: Formula
    operation: Instruction | Write | Loop
    qubits: tuple[int, ...] = ()
    clbits: tuple[int, ...] = ()


@dataclass
class Block:
    """Operations in order."""

    steps: list[Step] = field(default_factory=list)


class Builder:
    """Collects the operations of a circuit, independent of the language."""

    def __init__(self) -> None:
        self.qubits = 0
        self.clbits = 0
        self.block = Block()
        #: Current line of the program, from 1; 0: unknown.
        self.line = 0
        #: First line of each construct, by the names of `ir.requirements`.
        self.lines: dict[str, int] = {}
        self._measured: set[int] = set()
        self._count = 0

    def add_qubits(self, number: int) -> tuple[int, ...]:
        """Add qubits and return their numbers."""
        if self.qubits + number > MAX_QUBITS:
            raise too_large(f"the program has more than {MAX_QUBITS} qubits")
        self.qubits += number
        return tuple(range(self.qubits - number, self.qubits))

    def add_clbits(self, number: int) -> tuple[int, ...]:
        """Add classical bits and return their numbers."""
        if self.clbits + number > MAX_CLBITS:
            raise too_large(f"the program has more than {MAX_CLBITS} classical bits")
        self.clbits += number
        return tuple(range(self.clbits - number, self.clbits))

    def spend(self, operations: int) -> None:
        """Count operations against the limit of a program."""
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
        """Append an operation under a condition."""
        self.spend(1)
        if self.line:
            self._note(guard, operation, qubits)
        self.block.steps.append(Step(guard, operation, tuple(qubits), tuple(clbits)))

    def _note(self, guard: Formula, operation: Instruction | Write | Loop, qubits: Sequence[int]) -> None:
        if isinstance(operation, Loop):
            self.lines.setdefault("loops", self.line)
        elif guard != TRUE or isinstance(operation, Write):
            self.lines.setdefault("conditionals", self.line)
        elif operation.name == "reset":
            self.lines.setdefault("reset", self.line)
        if isinstance(operation, Instruction) and operation.name != "barrier":
            if not self._measured.isdisjoint(qubits):
                self.lines.setdefault("mid_circuit_measurement", self.line)
            if operation.name == "measure":
                self._measured.update(qubits)

    def renumber(self, order: Mapping[int, int]) -> None:
        """Renumber the qubits of all appended operations."""
        _renumber(self.block, order)

    def finish(self) -> QuantumCircuit:
        """Return the circuit, with the qubits and classical bits that were added, in no register."""
        circuit = QuantumCircuit([Qubit() for _ in range(self.qubits)], [Clbit() for _ in range(self.clbits)])
        _Writer(circuit).write(self.block, circuit)
        return circuit


def _renumber(block: Block, order: Mapping[int, int]) -> None:
    for place, step in enumerate(block.steps):
        if isinstance(step.operation, Loop):
            _renumber(step.operation.body, order)
        block.steps[place] = Step(step.guard, step.operation, tuple([order[each] for each in step.qubits]), step.clbits)


class _Writer:
    """Writes blocks into the circuit and its bodies. A body has only the qubits and bits that it uses."""

    def __init__(self, circuit: QuantumCircuit) -> None:
        self._qubits = circuit.qubits
        self._clbits = circuit.clbits
        self._places = 0

    def write(self, block: Block, circuit: QuantumCircuit) -> None:
        for guard, group in groupby(block.steps, key=lambda step: step.guard):
            if guard == TRUE:
                for step in group:
                    self._step(step, circuit)
                continue
            steps = list(group)
            body = self._body(guard, steps)
            for step in steps:
                self._step(step, body)
            operation = IfElseOp(expression(guard, self._clbits), body)
            circuit._append(CircuitInstruction(operation, body.qubits, body.clbits))

    def _step(self, step: Step, circuit: QuantumCircuit) -> None:
        clbits = self._clbits
        operation = step.operation
        if isinstance(operation, Write):
            circuit.append(Store(expr.lift(clbits[operation.clbit]), expression(operation.value, clbits)), (), ())
        elif isinstance(operation, Loop):
            body = self._body(operation.condition, operation.body.steps)
            self.write(operation.body, body)
            loop = WhileLoopOp(expression(operation.condition, clbits), body)
            circuit._append(CircuitInstruction(loop, body.qubits, body.clbits))
        else:
            qubits = [self._qubits[k] for k in step.qubits]
            circuit._append(CircuitInstruction(operation, qubits, [clbits[k] for k in step.clbits]))

    def _body(self, condition: Formula, steps: Iterable[Step]) -> QuantumCircuit:
        qubits, clbits = set[int](), set(condition.bits)
        _collect(steps, qubits, clbits)
        self._places += len(qubits) + len(clbits)
        if self._places > MAX_PLACES:
            raise too_large("its loops and conditional operations use too many qubits and classical bits")
        return QuantumCircuit([self._qubits[k] for k in sorted(qubits)], [self._clbits[k] for k in sorted(clbits)])


def _collect(steps: Iterable[Step], qubits: set[int], clbits: set[int]) -> None:
    """Add the qubits and bits that steps use."""
    for step in steps:
        qubits.update(step.qubits)
        clbits.update(step.clbits)
        clbits.update(step.guard.bits)
        if isinstance(step.operation, Write):
            clbits.add(step.operation.clbit)
            clbits.update(step.operation.value.bits)
        elif isinstance(step.operation, Loop):
            clbits.update(step.operation.condition.bits)
            _collect(step.operation.body.steps, qubits, clbits)


def expression(formula: Formula, clbits: Sequence[Clbit]) -> expr.Expr:
    """Return a formula as a Qiskit expression. Long formulas become balanced trees: evaluators recurse."""
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
