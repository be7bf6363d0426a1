# SPDX-License-Identifier: Apache-2.0
"""An IR circuit as a list of steps with jumps: runs of gates, measurements, assignments, conditions, loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from qiskit.circuit import Clbit, IfElseOp, Instruction, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr

from qonduit_server.errors import DeviceError
from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import FALSE, Formula, bit
from qonduit_server.ir.lowering import Lowering

Gate: TypeAlias = tuple[Instruction, tuple[int, ...]]


@dataclass(frozen=True)
class ApplyUnitary:
    """Apply a run of gates."""

    run: int


@dataclass
class Collapse:
    """Measure qubits together. `writes` are classical bits, each with the qubit it stores; None: it stores 0."""

    qubits: list[int] = field(default_factory=list)
    writes: list[tuple[int, int | None]] = field(default_factory=list)
    #: Qubits that are set to 0 afterwards.
    resets: set[int] = field(default_factory=set)

    def write(self, bits: int, outcome: int) -> int:
        """Return the classical bits after an outcome, whose highest bit is the first qubit's."""
        last = len(self.qubits) - 1
        for clbit, qubit in self.writes:
            value = 0 if qubit is None else outcome >> (last - self.qubits.index(qubit)) & 1
            bits = bits & ~(1 << clbit) | value << clbit
        return bits


@dataclass(frozen=True)
class Assign:
    """Set a classical bit."""

    clbit: int
    value: Formula


@dataclass
class JumpIfNot:
    """Jump to a target if a condition is false."""

    condition: Formula
    target: int = 0


@dataclass(frozen=True)
class Jump:
    """Jump back to the beginning of a loop."""

    target: int


Step: TypeAlias = ApplyUnitary | Collapse | Assign | JumpIfNot | Jump


@dataclass(frozen=True)
class Steps:
    """A circuit. An `ApplyUnitary` refers to one of `runs`; qubits that no gate acts on are 0 and omitted."""

    steps: Sequence[Step]
    runs: Sequence[Sequence[Gate]]
    qubits: int


def steps_of(quantum: QuantumCircuit, lowering: Lowering, device: str) -> Steps:
    """Convert a circuit to steps.

    Args:
        quantum: the IR circuit.
        lowering: expands operations that the device lacks.
        device: for messages, "PROVIDER/device".

    Raises:
        DeviceError: an operation that the device does not have, by name.
    """
    wires: dict[int, int] = {}
    _find_touched(quantum, tuple(range(quantum.num_qubits)), wires)
    compiler = _Compiler(lowering, device, wires)
    compiler.block(quantum, tuple(range(quantum.num_qubits)), tuple(range(quantum.num_clbits)))
    return Steps(compiler.steps, compiler.runs, len(wires))


_NO_GATES: Final = frozenset(("measure", "reset", "barrier", "delay", "store", "break_loop", "continue_loop"))


def _find_touched(block: QuantumCircuit, qubits: Sequence[int], wires: dict[int, int]) -> None:
    """Assign numbers to the qubits that gates act on; all others stay 0."""
    for instruction in block.data:
        operation = instruction.operation
        if operation.name in _NO_GATES:
            continue
        places = [qubits[block.find_bit(qubit).index] for qubit in instruction.qubits]
        blocks = getattr(operation, "blocks", None)
        if blocks is None:
            for place in places:
                wires.setdefault(place, len(wires))
        else:
            for inner in blocks:
                _find_touched(inner, places, wires)


class _Compiler:
    def __init__(self, lowering: Lowering, device: str, wires: dict[int, int]) -> None:
        self._lowering = lowering
        self._device = device
        self._wires = wires
        self.steps: list[Step] = []
        self.runs: list[list[Gate]] = []
        #: Whether the last step may be extended: no jump targets the position after it.
        self._open = False

    def block(self, block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int]) -> None:
        find = block.find_bit
        where = {clbit: clbits[find(clbit).index] for clbit in block.clbits}

        def read(clbit: Clbit) -> Formula:
            return bit(where[clbit])

        for instruction in block.data:
            operation = instruction.operation
            name = operation.name
            if name in ("barrier", "delay"):
                continue
            places = [qubits[find(qubit).index] for qubit in instruction.qubits]
            if name == "measure":
                self._measure(places[0], where[instruction.clbits[0]])
            elif name == "reset":
                self._reset(places[0])
            elif isinstance(operation, IfElseOp | WhileLoopOp):
                inner = [where[clbit] for clbit in instruction.clbits]
                condition = condition_formula(operation.condition, read)
                if isinstance(operation, WhileLoopOp):
                    self._guarded(condition, operation.blocks[0], places, inner, loop=True)
                elif len(operation.blocks) == 1:
                    self._guarded(condition, operation.blocks[0], places, inner)
                else:
                    raise self._unknown("if with else")  # the IR has none
            elif name == "store" and isinstance(operation, Store) and isinstance(operation.lvalue, expr.Var):
                (value,) = bits_of_expression(operation.rvalue, read)
                self._add(Assign(where[operation.lvalue.var], value))
            elif instruction.clbits or hasattr(operation, "blocks") or name in _NO_GATES:
                raise self._unknown(name)
            else:
                self._expanded(operation, places)

    def _expanded(self, operation: Instruction, places: Sequence[int]) -> None:
        """Add an operation, expanded to gates and resets that the device has."""
        for step, own in self._lowering.expand(operation):
            if step.name == "reset":
                self._reset(places[own[0]])
            else:
                self._gate(step, tuple(self._wires[places[place]] for place in own))

    def _unknown(self, name: str) -> DeviceError:
        return DeviceError("UNSUPPORTED_CONSTRUCT", f"{self._device} cannot run the operation {name!r}")

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self._open = True

    def _guarded(
        self,
        condition: Formula,
        block: QuantumCircuit,
        places: Sequence[int],
        clbits: Sequence[int],
        loop: bool = False,
    ) -> None:
        begin = len(self.steps)
        unless = JumpIfNot(condition)
        self._add(unless)
        self.block(block, places, clbits)
        if loop:
            self._add(Jump(begin))
        unless.target = len(self.steps)
        self._open = False

    def _gate(self, gate: Instruction, wires: tuple[int, ...]) -> None:
        if not (self._open and isinstance(self.steps[-1], ApplyUnitary)):
            self._add(ApplyUnitary(len(self.runs)))
            self.runs.append([])
        self.runs[-1].append((gate, wires))

    def _collapse(self, wire: int) -> Collapse:
        """Return the measurement step for a qubit, shared with directly preceding measurements."""
        last = self.steps[-1] if self._open and self.steps else None
        if not isinstance(last, Collapse):
            last = Collapse()
            self._add(last)
        if wire not in last.qubits:
            last.qubits.append(wire)
        return last

    def _measure(self, place: int, clbit: int) -> None:
        wire = self._wires.get(place)
        if wire is None:
            self._add(Assign(clbit, FALSE))
            return
        collapse = self._collapse(wire)
        collapse.writes.append((clbit, None if wire in collapse.resets else wire))

    def _reset(self, place: int) -> None:
        wire = self._wires.get(place)
        if wire is not None:
            self._collapse(wire).resets.add(wire)
