# SPDX-License-Identifier: Apache-2.0
"""Deferred measurement: rewrites mid-circuit measurements, resets and conditions to gates followed by measurement.

For simulators that lack these operations or run them once a shot. The rewriting is exact: a measured qubit that is used
again is first copied to a helper qubit, a reset replaces the qubit by a fresh one, and an operation conditioned on
measured bits is controlled by the qubits that hold them. This costs qubits, not time for each shot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeVar, cast

from qiskit.circuit import (
    CircuitInstruction,
    Clbit,
    ForLoopOp,
    Gate,
    IfElseOp,
    Instruction,
    QuantumCircuit,
    Store,
    SwitchCaseOp,
)
from qiskit.circuit.classical import expr
from qiskit.circuit.library import SwapGate, XGate

from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.condition_formulas import Read, bits_of_expression, condition_formula, equals
from qonduit_server.ir.controls import controlled
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, choice, conjunction, disjunction, negation
from qonduit_server.ir.limits import MAX_OPERATIONS
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.ir.recording import Recording, Slot

_Number = TypeVar("_Number", int, float)

#: Maximum number of products of bits in a condition.
_MAX_CUBES: Final = 256
#: Maximum number of parts and nesting depth of a classical bit's formula: each use takes time for each part.
_MAX_PARTS: Final = 5_000
_MAX_DEPTH: Final = 200
#: Gates that are diagonal in the measurement basis.
_DIAGONAL: Final = frozenset(
    ("z", "s", "sdg", "t", "tdg", "rz", "p", "u1", "cz", "cp", "cu1", "crz", "rzz", "ccz", "mcphase", "id")
)


@dataclass
class Deferred:
    """Gates, then measurement of `measured`.

    `values[k]` is classical bit k of the IR, as a formula in which bit j is what `measured[j]` gave, or what slot j of
    `recording` records if measurements have readout errors. Qubits that no gate acts on do not appear: they are 0.
    `qubits` counts those that do, numbered from 0.
    """

    gates: list[tuple[Instruction, tuple[int, ...]]] = field(default_factory=list)
    qubits: int = 0
    helpers: int = 0
    measured: tuple[int, ...] = ()
    values: tuple[Formula, ...] = ()
    recording: Recording | None = None

    @property
    def bits(self) -> int:
        """How many bits the formulas depend on; with none no outcome is random."""
        return len(self.measured if self.recording is None else self.recording.slots)

    def operations(self) -> Iterator[Sequence[int]]:
        """Yield the qubits of each gate, then of each measurement."""
        for _, places in self.gates:
            yield places
        for place in self.measured:
            yield (place,)

    def outcome(self, sample: int) -> int:
        """Return the IR outcome of a sample in which bit j is the outcome of `measured[j]`."""
        found = 0
        for mask, up, down in self._shifts:
            found |= (sample & mask) << up >> down
        for place, formula in self._others:
            found |= formula.value(sample) << place
        return found

    @cached_property
    def _others(self) -> list[tuple[int, Formula]]:
        """The places of bits whose formulas are more than a bit of a sample."""
        return [
            (place, formula) for place, formula in enumerate(self.values) if formula != FALSE and not _is_bit(formula)
        ]

    @cached_property
    def _shifts(self) -> list[tuple[int, int, int]]:
        """Masks of the other bits, with how far these are shifted up and down: a whole register takes one step."""
        masks: dict[int, int] = {}
        for place, formula in enumerate(self.values):
            if _is_bit(formula):
                (own,) = formula.bits
                masks[place - own] = masks.get(place - own, 0) | 1 << own
        return [(mask, max(0, shift), max(0, -shift)) for shift, mask in masks.items()]

    def outcomes(self, samples: Mapping[int, _Number]) -> dict[int, _Number]:
        """Return the IR outcomes of samples with their counts or probabilities."""
        found: dict[int, _Number] = {}
        for sample, number in samples.items():
            outcome = self.outcome(sample)
            found[outcome] = found[outcome] + number if outcome in found else number
        return found


def _is_bit(formula: Formula) -> bool:
    return len(formula.bits) == 1 and formula == bit(min(formula.bits))


def defer(quantum: QuantumCircuit, lowering: Lowering, device: str, check: Callable[[int, int], None]) -> Deferred:
    """Defer a circuit's measurements.

    Args:
        quantum: the IR circuit.
        lowering: expands operations that the device lacks.
        device: for messages, "PROVIDER/device".
        check: called with the growing number of qubits and of helpers among them; raises where they are too many.

    Raises:
        DeviceError: a construct that cannot be rewritten, by name.
        LimitError: too many qubits or products.
    """
    return _Deferral(quantum, lowering, device, check).result()


class _Deferral:
    def __init__(
        self, quantum: QuantumCircuit, lowering: Lowering, device: str, check: Callable[[int, int], None]
    ) -> None:
        self._quantum = quantum
        self._lowering = lowering
        self._device = device
        self._check = check
        self._gates: list[tuple[Instruction, tuple[int, ...]]] = []
        #: The simulated qubit that an IR qubit currently maps to; None: still untouched, 0.
        self._wires: list[int | None] = [None] * quantum.num_qubits
        self._qubits = 0
        self._helpers = 0
        #: The qubit that holds each measurement's value; None: the value is 0.
        self._sources: list[int | None] = []
        #: The readout errors of measurements.
        self._errors: dict[int, tuple[ReadoutError, ...]] = {}
        #: The last measurement that each classical bit was given without a condition.
        self._written: dict[int, int] = {}
        #: Measurements whose value is still held by the qubit that was measured.
        self._held: dict[int, list[int]] = {}
        #: The IR's classical bits, as formulas over measurements.
        self._values: list[Formula] = [FALSE] * quantum.num_clbits

    def result(self) -> Deferred:
        quantum = self._quantum
        self._block(quantum, tuple(range(quantum.num_qubits)), tuple(range(quantum.num_clbits)), TRUE)
        if self._errors:
            return self._with_errors()
        used = sorted(
            {source for formula in self._values for k in formula.bits if (source := self._sources[k]) is not None}
        )
        place = {source: number for number, source in enumerate(used)}

        def final(k: int) -> Formula:
            source = self._sources[k]
            return FALSE if source is None else bit(place[source])

        values = tuple(formula.substitute(final) for formula in self._values)
        return Deferred(self._gates, self._qubits, self._helpers, tuple(used), values)

    def _with_errors(self) -> Deferred:
        """Return the circuit with a bit for each measurement instead of one for each measured qubit."""
        used = sorted({k for formula in self._values for k in formula.bits})
        place = {k: number for number, k in enumerate(used)}
        sources = [self._sources[k] for k in used]
        measured = sorted({source for source in sources if source is not None})
        slots = [
            Slot(None if source is None else measured.index(source), self._errors.get(k, ()))
            for k, source in zip(used, sources, strict=True)
        ]
        self._check(len(slots), self._helpers)
        values = tuple(formula.substitute(lambda k: bit(place[k])) for formula in self._values)
        return Deferred(self._gates, self._qubits, self._helpers, tuple(measured), values, Recording(tuple(slots)))

    def _block(self, block: QuantumCircuit, qubits: Sequence[int], clbits: Sequence[int], guard: Formula) -> None:
        find = block.find_bit
        where = {clbit: clbits[find(clbit).index] for clbit in block.clbits}

        def read(clbit: Clbit) -> Formula:
            formula: Formula = self._values[where[clbit]]
            return formula

        for instruction in block.data:
            places = tuple(qubits[find(qubit).index] for qubit in instruction.qubits)
            self._instruction(instruction, places, where, read, guard)

    def _instruction(
        self,
        instruction: CircuitInstruction,
        places: tuple[int, ...],
        where: dict[Clbit, int],
        read: Read,
        guard: Formula,
    ) -> None:
        operation = instruction.operation
        name = operation.name
        clbits = tuple(where[clbit] for clbit in instruction.clbits)
        if name in ("barrier", "delay"):
            return
        if name == "measure":
            self._set(clbits[0], self._measure(places[0], guard), guard)
            self._written[clbits[0]] = len(self._sources) - 1
        elif isinstance(operation, ReadoutError):
            self._record(clbits[0], operation, guard)
        elif name == "reset":
            self._reset(places[0], guard)
        elif isinstance(operation, IfElseOp):
            condition = condition_formula(operation.condition, read)
            for block, formula in zip(operation.blocks, (condition, negation(condition)), strict=False):
                self._guarded(block, places, clbits, conjunction((guard, formula)))
        elif isinstance(operation, SwitchCaseOp):
            self._switch(operation, places, clbits, read, guard)
        elif isinstance(operation, ForLoopOp) and operation.params[1] is None and not _jumps(operation.blocks[0]):
            for _ in operation.params[0]:
                self._guarded(operation.blocks[0], places, clbits, guard)
        elif isinstance(operation, Store) and isinstance(operation.lvalue, expr.Var) and operation.lvalue.var in where:
            (value,) = bits_of_expression(operation.rvalue, read)
            self._set(where[operation.lvalue.var], value, guard, fresh=False)
        elif instruction.clbits or name in ("store", "while_loop", "for_loop", "break_loop", "continue_loop"):
            what = "a loop whose end depends on a measurement" if "loop" in name else f"the operation {name!r}"
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{self._device} cannot run {what}")
        else:
            self._expanded(operation, places, guard)

    def _expanded(self, operation: Instruction, places: Sequence[int], guard: Formula) -> None:
        """Add an operation, expanded to gates and resets that the device has."""
        for step, own in self._lowering.expand(operation):
            targets = tuple(places[place] for place in own)
            if step.name == "reset":
                self._reset(targets[0], guard)
            else:
                self._gate(step, targets, guard)

    def _guarded(self, block: QuantumCircuit, places: Sequence[int], clbits: Sequence[int], guard: Formula) -> None:
        if guard != FALSE:
            self._block(block, places, clbits, guard)

    def _switch(
        self, operation: SwitchCaseOp, places: Sequence[int], clbits: Sequence[int], read: Read, guard: Formula
    ) -> None:
        target = operation.target
        if isinstance(target, Clbit):
            bits = [read(target)]
        elif isinstance(target, expr.Expr):
            bits = bits_of_expression(target, read)
        else:
            bits = [read(clbit) for clbit in target]
        rest = guard
        for labels, block in operation.cases_specifier():
            hit = disjunction(equals(bits, int(label)) if isinstance(label, int | bool) else TRUE for label in labels)
            self._guarded(block, places, clbits, conjunction((rest, hit)))
            rest = conjunction((rest, negation(hit)))

    def _record(self, clbit: int, error: ReadoutError, guard: Formula) -> None:
        """Give a measurement a readout error, if all that depends on it is the bit that it was written to."""
        number = self._written.get(clbit, -1)
        value = self._values[clbit]
        if number >= 0 and value == FALSE and self._sources[number] is None and number not in self._errors:
            # A qubit that no gate acts on: its bit may be random all the same.
            value = self._values[clbit] = bit(number)
        others = (formula for place, formula in enumerate(self._values) if place != clbit)
        if guard != TRUE or value != bit(number) or any(number in formula.bits for formula in others):
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT", f"{self._device} cannot defer a readout error that depends on others"
            )
        self._errors[number] = (*self._errors.get(number, ()), error)

    def _set(self, clbit: int, value: Formula, guard: Formula, fresh: bool = True) -> None:
        old = self._values[clbit]
        # A conditional measurement is 0 where its condition is false.
        value = value if guard == TRUE or (fresh and old == FALSE) else choice(guard, value, old)
        if value.exceeds(_MAX_PARTS, _MAX_DEPTH):
            raise LimitError(
                "TOO_LARGE",
                f"a classical bit depends on more conditions than {self._device} accepts: its formula has "
                f"more than {_MAX_PARTS} parts, or is nested more than {_MAX_DEPTH} deep",
            )
        self._values[clbit] = value

    # ---- qubits

    def _fresh(self, helper: bool) -> int:
        self._qubits += 1
        self._helpers += helper
        self._check(self._qubits, self._helpers)
        return self._qubits - 1

    def _wire(self, place: int) -> int:
        wire = self._wires[place]
        if wire is None:
            wire = self._wires[place] = self._fresh(helper=False)
        return wire

    def _measure(self, place: int, guard: Formula) -> Formula:
        wire = self._wires[place]
        number = len(self._sources)
        if wire is None:
            self._sources.append(None)
            return FALSE
        if guard == TRUE:
            self._sources.append(wire)
            self._held.setdefault(wire, []).append(number)
        else:
            helper = self._fresh(helper=True)
            self._sources.append(helper)
            for cube in self._cubes(guard):
                controls = _joined(cube, ((wire, True),))
                if controls is not None:
                    self._controlled(XGate(), (helper,), controls)
        return bit(number)

    def _release(self, wire: int) -> None:
        """Copy a measured qubit before it changes."""
        holders = self._held.pop(wire, None)
        if holders:
            helper = self._fresh(helper=True)
            self._controlled(XGate(), (helper,), ((wire, True),))
            for number in holders:
                self._sources[number] = helper

    def _reset(self, place: int, guard: Formula) -> None:
        wire = self._wires[place]
        if wire is None:
            return
        if guard == TRUE:
            self._wires[place] = None
            self._helpers += 1  # the next use of this IR qubit allocates a fresh one
            self._held.pop(wire, None)
            return
        self._release(wire)
        helper = self._fresh(helper=True)
        for cube in self._cubes(guard):
            self._controlled(SwapGate(), (wire, helper), cube)

    def _gate(self, gate: Instruction, places: tuple[int, ...], guard: Formula) -> None:
        wires = tuple(self._wire(place) for place in places)
        if guard == TRUE:
            if gate.name not in _DIAGONAL:
                for wire in wires:
                    self._release(wire)
            self._gates.append((gate, wires))
            return
        if isinstance(gate, Channel):
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{self._device} cannot defer a conditional channel")
        for wire in wires:
            self._release(wire)
        for cube in self._cubes(guard):
            self._controlled(gate, wires, cube)

    def _controlled(self, gate: Instruction, wires: tuple[int, ...], controls: tuple[tuple[int, bool], ...]) -> None:
        """Add a gate that acts where each control has its value."""
        # In Qiskit's control strings, the rightmost character is the first control.
        state = sum(value << place for place, (_, value) in enumerate(controls))
        targets = (*(wire for wire, _ in controls), *wires)
        places = tuple(range(gate.num_qubits))
        steps = controlled(cast("Gate", gate), len(controls), state) if controls else [(gate, places)]
        for each, at in steps:
            for step, own in self._lowering.expand(each):
                self._gates.append((step, tuple(targets[at[place]] for place in own)))
        if len(self._gates) > MAX_OPERATIONS:
            raise LimitError("TOO_LARGE", f"its conditions take more than {MAX_OPERATIONS} gates on {self._device}")

    # ---- conditions

    def _cubes(self, formula: Formula) -> list[tuple[tuple[int, bool], ...]]:
        """Return a condition as products of qubits' values that exclude one another."""
        if not self._errors.keys().isdisjoint(formula.bits):
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT", f"{self._device} cannot defer a condition on a bit with a readout error"
            )

        def source(k: int) -> Formula:
            place = self._sources[k]
            return FALSE if place is None else bit(place)

        cubes: list[tuple[tuple[int, bool], ...]] = []

        def split(rest: Formula, taken: tuple[tuple[int, bool], ...]) -> None:
            if rest == FALSE:
                return
            if rest == TRUE:
                cubes.append(taken)
                if len(cubes) > _MAX_CUBES:
                    raise LimitError(
                        "TOO_LARGE", f"a condition expands to more than {_MAX_CUBES} cases on {self._device}"
                    )
                return
            pivot = min(rest.bits)
            for value in (False, True):
                given = TRUE if value else FALSE
                split(rest.substitute(lambda k: given if k == pivot else bit(k)), (*taken, (pivot, value)))  # noqa: B023

        split(formula.substitute(source), ())
        return cubes


def _joined(
    controls: tuple[tuple[int, bool], ...], more: tuple[tuple[int, bool], ...]
) -> tuple[tuple[int, bool], ...] | None:
    """Return the union of two sets of controls; None where they contradict."""
    joined = dict(controls)
    for wire, value in more:
        if joined.setdefault(wire, value) != value:
            return None
    return tuple(joined.items())


def _jumps(block: QuantumCircuit) -> bool:
    return any(
        instruction.operation.name in ("break_loop", "continue_loop")
        or any(_jumps(inner) for inner in getattr(instruction.operation, "blocks", ()))
        for instruction in block.data
    )
