# SPDX-License-Identifier: Apache-2.0
"""An IR circuit as a list of steps with jumps: gates, channels, measurements, assignments, conditions, loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from qiskit.circuit import Clbit, IfElseOp, Instruction, QuantumCircuit, Store, WhileLoopOp
from qiskit.circuit.classical import expr

from qonduit_server.errors import DeviceError
from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import FALSE, Formula, bit
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise import Channel, ReadoutError

Gate: TypeAlias = tuple[Instruction, tuple[int, ...]]


@dataclass(frozen=True)
class ApplyUnitary:
    """Apply a run of gates."""

    run: int


@dataclass(frozen=True)
class ApplyChannel:
    """Applies one Kraus operator of a channel, drawn for each shot. Bit k of its index is the state of `qubits[k]`."""

    channel: Channel
    qubits: tuple[int, ...]


@dataclass(frozen=True)
class FlipBit:
    """Records a classical bit wrongly with a probability that depends on it."""

    clbit: int
    prob_1_given_0: float
    prob_0_given_1: float

    def probability(self, bits: int) -> float:
        """Return how probable the flip is."""
        return self.prob_0_given_1 if bits >> self.clbit & 1 else self.prob_1_given_0


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

    def write(self, bits: int) -> int:
        """Return the classical bits with the new value."""
        return bits & ~(1 << self.clbit) | self.value.value(bits) << self.clbit


@dataclass
class JumpIfNot:
    """Jump to a target if a condition is false."""

    condition: Formula
    target: int = 0


@dataclass(frozen=True)
class Jump:
    """Jump back to the beginning of a loop."""

    target: int


Step: TypeAlias = ApplyUnitary | ApplyChannel | Collapse | FlipBit | Assign | JumpIfNot | Jump


@dataclass(frozen=True)
class Steps:
    """A circuit. An `ApplyUnitary` names one of `runs`; qubits that no gate acts on do not appear: they are 0.

    Where states are mixed, channels and resets stand among the gates of a run.
    """

    steps: Sequence[Step]
    runs: Sequence[Sequence[Gate]]
    qubits: int


def steps_of(quantum: QuantumCircuit, lowering: Lowering, device: str, *, mixed: bool = False) -> Steps:
    """Bring a circuit into steps.

    Args:
        quantum: the IR circuit.
        lowering: expands operations that the device lacks.
        device: for messages, "PROVIDER/device".
        mixed: whether states are density matrices, to which channels and resets are applied as gates are.

    Raises:
        DeviceError: an operation that the device does not have, by name.
    """
    wires: dict[int, int] = {}
    _find_touched(quantum, tuple(range(quantum.num_qubits)), wires)
    compiler = _Compiler(lowering, device, wires, mixed)
    compiler.block(quantum, tuple(range(quantum.num_qubits)), tuple(range(quantum.num_clbits)))
    return Steps(compiler.steps, compiler.runs, len(wires))


_NO_GATES: Final = frozenset(("measure", "reset", "barrier", "delay", "store", "break_loop", "continue_loop"))
#: A reset of a density matrix.
_RESET: Final = Channel(1, (np.diag([1, 0]).astype(complex), np.array([[0, 1], [0, 0]], dtype=complex)), kind="reset")


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
    def __init__(self, lowering: Lowering, device: str, wires: dict[int, int], mixed: bool) -> None:
        self._mixed = mixed
        self._lowering = lowering
        self._device = device
        self._wires = wires
        self.steps: list[Step] = []
        self.runs: list[list[Gate]] = []
        #: Steps from here on may be added to: nothing jumps to behind the first of them.
        self._open = 0

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
            elif isinstance(operation, ReadoutError):
                self._add(FlipBit(where[instruction.clbits[0]], operation.prob_1_given_0, operation.prob_0_given_1))
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
        self._open = len(self.steps)

    def _gate(self, gate: Instruction, wires: tuple[int, ...]) -> None:
        if isinstance(gate, Channel) and not self._mixed:
            self._add(ApplyChannel(gate, wires))
            return
        if not (len(self.steps) > self._open and isinstance(self.steps[-1], ApplyUnitary)):
            self._add(ApplyUnitary(len(self.runs)))
            self.runs.append([])
        self.runs[-1].append((gate, wires))

    def _collapse(self, wire: int, clbit: int | None = None) -> Collapse:
        """Return the measurement of a qubit, together with those of others just before.

        Readout errors of other bits stand behind those that were measured before them.
        """
        place = len(self.steps) - 1
        while place >= self._open and isinstance(step := self.steps[place], FlipBit) and step.clbit != clbit:
            place -= 1
        last = self.steps[place] if place >= self._open else None
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
        collapse = self._collapse(wire, clbit)
        collapse.writes.append((clbit, None if wire in collapse.resets else wire))

    def _reset(self, place: int) -> None:
        wire = self._wires.get(place)
        if wire is None:
            return
        if self._mixed:
            self._gate(_RESET, (wire,))
        else:
            self._collapse(wire).resets.add(wire)
