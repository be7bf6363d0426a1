# SPDX-License-Identifier: Apache-2.0
"""Jumps of Quil: forward ones become conditions of what they pass over, backward ones loops of the hub.

A program is walked in the order of its text with all the paths that reach a place made one. What lies between a label
and the last jump back to it is a loop, whatever else jumps into it or out of it: its rounds are walked one after the
other as long as it is known who goes on, and written as a loop of the hub from where only a measurement can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Final

from qiskit.circuit import Barrier, Measure
from qiskit.circuit import Reset as HubReset

from qonduit_server.errors import ProgramError
from qonduit_server.hub.building import Builder, Loop, Write
from qonduit_server.hub.formula import FALSE, TRUE, Formula, bit, conjunction
from qonduit_server.hub.limits import too_large
from qonduit_server.languages.quil.classical_memory import MAX_CASES, Held, Lost, Memory
from qonduit_server.languages.quil.gate_definitions import Gates
from qonduit_server.languages.quil.instruction_list import (
    Classical,
    Fence,
    GateCall,
    Halt,
    Jump,
    Label,
    Measured,
    Operation,
    Reset,
    with_line,
)
from qonduit_server.languages.quil.parameter_expressions import value
from qonduit_server.languages.quil.paths import (
    ALWAYS,
    MAX_PARTS,
    Guard,
    Path,
    constant_of,
    is_long,
    merged,
    unset_number,
)

#: Operations that are walked again, and elements of memory that are copied where paths part.
MAX_STEPS: Final = 20_000
#: What a try of a loop counts for.
_TRY_STEPS: Final = 20
_MAX_COPIES: Final = 1_000_000
#: What a choice between what two paths hold counts for.
_CHOICE_COPIES: Final = 300
_MAX_LOOPS: Final = 30

#: Where paths go on.
_Places = dict[int, Path]


class Flow:
    """Walks the operations of a program and writes them into the hub.

    Args:
        lines: for each operation, the line of the program it comes from.
        homes: for each element of memory that is a bit, the hub bit it is measured into at first.
    """

    def __init__(
        self,
        builder: Builder,
        operations: Sequence[Operation],
        lines: Sequence[int],
        memory: Memory,
        gates: Gates,
        homes: Mapping[int, int],
    ) -> None:
        self.builder = builder
        self._operations = operations
        self._lines = lines
        self._memory = memory
        self._gates = gates
        self._homes = homes
        self._qubits = _numbered(operations)
        builder.add_qubits(len(self._qubits))
        self._labels = {each.name: place for place, each in enumerate(operations) if isinstance(each, Label)}
        self._loops = _loops(operations, self._labels)
        #: Bits that were written, with the guards; those written in a loop of the hub may hold anything.
        self._written: dict[int, list[Guard]] = {}
        self._touched: set[int] = set()
        self._depth = 0
        self._steps = len(operations) + MAX_STEPS
        self._copies = 0

    def run(self) -> Mapping[int, Held]:
        """Write the program; returns what memory holds in the end."""
        end = len(self._operations)
        try:
            ends = self._walk(0, end - 1, {0: Path(ALWAYS, {})}, None)
        except Lost:
            message = "a number is read whose value depends on how often a loop ran, or was not set on every way there"
            raise ProgramError("UNSUPPORTED_CONSTRUCT", message) from None
        return ends[end].memory if end in ends else {}

    def is_written(self, clbit: int) -> bool:
        """Whether anything wrote a bit."""
        return clbit in self._written

    def _walk(self, first: int, last: int, entries: _Places, within: int | None) -> _Places:
        """Follow paths from where they enter these operations to where they leave them.

        Args:
            within: the label of the loop of which this is a round.
        """
        waiting = dict(entries)
        left: _Places = {}
        place = first
        here: Path | None = None
        while place <= last:
            if place in waiting:
                here = self._merged(here, waiting.pop(place))
            if place in self._loops and place != within:
                end = self._loops[place]
                inner = {each: waiting.pop(each) for each in list(waiting) if each <= end}
                if here is not None:
                    inner[place] = here
                here = None
                for target, path in self._loop(place, end, inner).items():
                    self._arrive(waiting if place < target <= last else left, target, path)
                place = end + 1
                continue
            self._steps -= 1
            if self._steps < 0:
                raise too_large(f"a loop does not end within {MAX_STEPS} steps")
            if here is None:
                place = place + 1 if waiting else last + 1
                continue
            operation = self._operations[place]
            if isinstance(operation, (Jump, Halt)):
                target, gone, here = self._parted(operation, here, self._lines[place])
                if gone is not None:
                    self._arrive(waiting if place < target <= last else left, target, gone)
            elif not isinstance(operation, Label):
                with_line(self._lines[place], self._do, operation, here)
            place += 1
        if here is not None:
            self._arrive(left, last + 1, here)
        return left

    def _parted(self, operation: Jump | Halt, here: Path, line: int) -> tuple[int, Path | None, Path | None]:
        """Where a jump leads, who takes it, and who does not."""
        if isinstance(operation, Halt):
            return len(self._operations), here, None
        target = self._labels[operation.target]
        if operation.cell is None:
            return target, here, None
        found: list[Formula] = []
        with_line(line, lambda cell: found.append(self._memory.bit(here.memory, cell)), operation.cell)
        yes, no = here.fork(found[0])
        if yes is not None and no is not None:
            self.count_copies(len(here.memory) + 1)
            yes, no = self._briefly(yes), self._briefly(no)
        return (target, yes, no) if operation.when else (target, no, yes)

    def count_copies(self, number: int) -> None:
        """Count against what may be copied while a program is read."""
        self._copies += number
        if self._copies > _MAX_COPIES:
            raise too_large("the program branches too often for its memory")

    def _arrive(self, places: _Places, target: int, path: Path) -> None:
        places[target] = self._merged(places.get(target), path)

    def _merged(self, first: Path | None, second: Path) -> Path:
        if first is None:
            return second
        self.count_copies(len(first.memory) + len(second.memory))
        path = merged(first, second, self._initial, self._unset, lambda: self.count_copies(_CHOICE_COPIES))
        for cell, held in path.memory.items():
            path.memory[cell] = self._brief(held)
        return self._briefly(path)

    def _briefly(self, path: Path) -> Path:
        """A path whose guard is not too long."""
        if path.guard.parts > MAX_PARTS:
            path.guard = Guard(((self._kept(path.guard.formula),),))
        return path

    def _brief(self, held: Held) -> Held:
        """What memory holds, with formulas that are not too long."""
        if isinstance(held, Formula):
            return self._kept(held) if is_long(held, MAX_PARTS) else held
        if held is None or len(held) == 1:
            return held
        return tuple((each, self._kept(formula) if is_long(formula, MAX_PARTS) else formula) for each, formula in held)

    def _kept(self, formula: Formula) -> Formula:
        """A bit of its own that holds what a formula says here."""
        (own,) = self.builder.add_clbits(1)
        self.builder.append(TRUE, Write(own, formula))
        self._written[own] = [ALWAYS]
        return bit(own)

    def _initial(self, cell: int) -> Held:
        return unset_number(cell, self._memory.read)

    def _unset(self, clbit: int, guard: Guard) -> bool:
        """Whether a bit is 0 where a guard holds, since it was only written where that does not."""
        return not self._depth and all(guard.excludes(each) for each in self._written.get(clbit, ()))

    def _do(self, operation: Operation, here: Path) -> None:
        match operation:
            case GateCall():
                self._gate(operation, here)
            case Measured():
                self._measure(operation, here)
            case Reset():
                for qubit in self._qubits if operation.qubit is None else (operation.qubit,):
                    if self._depth or qubit in self._touched:
                        self.builder.append(here.guard.formula, HubReset(), (self._qubits[qubit],))
            case Fence():
                named = [self._qubits[each] for each in operation.qubits if each in self._qubits]
                places = named if operation.qubits else list(self._qubits.values())
                self.count_copies(len(places))
                if places:
                    self.builder.append(here.guard.formula, Barrier(len(places)), places)
            case Classical():
                for cell, held in list(self._memory.changes(operation.instruction, operation.names, here.memory)):
                    here.memory[cell] = self._brief(held)

    def _gate(self, call: GateCall, here: Path) -> None:
        self._touched.update(call.qubits)
        for numbers, guard in self._parameters(call, here):
            for gate, places in self._gates.steps(call.name, call.modifiers, numbers, len(call.qubits)):
                self.builder.append(guard, gate, [self._qubits[call.qubits[each]] for each in places])

    def _parameters(self, call: GateCall, here: Path) -> Iterator[tuple[tuple[complex, ...], Formula]]:
        """The numbers a gate is given, by what was measured."""
        if not call.reads:
            yield call.parameters, here.guard.formula  # type: ignore[misc]
            return
        held = [self._memory.cases(here.memory, cell) for cell in call.reads]
        cases = 0
        for combination in product(*held):
            guard = here.guard.restricted(conjunction(formula for _, formula in combination))
            if guard.cubes:
                cases += 1
                if cases > MAX_CASES:
                    raise too_large(f"a gate depends on measurements in more than {MAX_CASES} ways")
                known = {cell: complex(each) for cell, (each, _) in zip(call.reads, combination, strict=True)}
                yield tuple(value(each, known) for each in call.parameters), guard.formula

    def _measure(self, measured: Measured, here: Path) -> None:
        self._touched.add(measured.qubit)
        home = None if measured.cell is None or self._depth else self._homes.get(measured.cell)
        if home is None or not self._unset(home, here.guard):
            (home,) = self.builder.add_clbits(1)
        self._written.setdefault(home, []).append(ALWAYS if self._depth else here.guard)
        self.builder.append(here.guard.formula, Measure(), (self._qubits[measured.qubit],), (home,))
        if measured.cell is not None:
            here.memory[measured.cell] = self._memory.measured(measured.cell, bit(home))

    def _loop(self, first: int, last: int, entries: _Places) -> _Places:
        """Follow paths through a loop, to where they leave it."""
        left: _Places = {}
        unrolled = False
        while entries:
            ends = None
            if set(entries) == {first} and not unrolled:
                ends = self._round(first, last, entries[first])
                unrolled = ends is None
            if ends is None:
                ends = self._walk(first, last, entries, first)
            entries = {first: ends.pop(first)} if first in ends else {}
            for target, path in ends.items():
                self._arrive(left, target, path)
        return left

    def _round(self, first: int, last: int, start: Path) -> _Places | None:
        """Follow a path through a round, or through all that are left; None if the rounds must be followed singly."""
        with self._tried() as trial:
            ends = self._walk(first, last, {first: Path(start.guard, dict(start.memory))}, first)
        if first in ends and len(ends) > 1:
            return self._hub_loop(first, last, start)
        trial.keep()
        return ends

    def _hub_loop(self, first: int, last: int, start: Path) -> _Places | None:
        """Write a loop of the hub; None if it changes numbers that it reads, so that its rounds differ."""
        homes: dict[int, int] = {}
        lost: set[int] = set()
        while True:
            memory: dict[int, Held] = {**start.memory, **dict.fromkeys(lost)}
            memory.update((cell, bit(home)) for cell, home in homes.items())
            self._depth += 1
            with self._tried() as round_:
                try:
                    ends = self._walk(first, last, {first: Path(ALWAYS, dict(memory))}, first)
                except Lost:
                    return None
                finally:
                    self._depth -= 1
                if first not in ends or len(ends) == 1:
                    return None
                changed = self._changed(memory, ends)
                if not changed - homes.keys() - lost:
                    body = self.builder
                    self._depth += 1
                    again, flags, after = self._round_end(first, ends, homes, lost)
                    self._depth -= 1
            if not changed - homes.keys() - lost:
                break
            for cell in sorted(changed - homes.keys() - lost):
                if isinstance(self._initial(cell), Formula):
                    (homes[cell],) = self.builder.add_clbits(1)
                else:
                    lost.add(cell)
        guard = start.guard.formula
        round_.reserve()
        for cell, home in homes.items():
            before = start.memory[cell] if cell in start.memory else self._initial(cell)
            assert isinstance(before, Formula)
            if before != FALSE or self._depth:
                self.builder.append(guard, Write(home, before))
        self.builder.append(guard, Write(again, TRUE))
        self.builder.spend(len(body.block.steps))
        self.builder.append(guard, Loop(bit(again), body.block))
        for home in (*homes.values(), *flags.values(), again):
            self._written[home] = [ALWAYS]
        memory = {**start.memory, **after}
        if len(flags) == 1:
            return {target: Path(start.guard, dict(memory)) for target in flags}
        return {target: Path(start.guard.restricted(bit(flag)), dict(memory)) for target, flag in flags.items()}

    def _changed(self, before: Mapping[int, Held], ends: _Places) -> set[int]:
        """The elements of memory that a round changes on some path."""
        return {
            cell
            for path in ends.values()
            for cell, held in path.memory.items()
            if held != (before[cell] if cell in before else self._initial(cell))
        }

    def _round_end(
        self, first: int, ends: _Places, homes: Mapping[int, int], lost: set[int]
    ) -> tuple[int, dict[int, int], dict[int, Held]]:
        """Write what a round leaves, as if all at once.

        Returns:
            The bit that says whether there is another round, bits that say where the loop was left, and what memory
            holds after it.
        """
        again, *others = self.builder.add_clbits(len(ends))
        flags = dict(zip((each for each in ends if each != first), others, strict=True))
        whole: Path | None = None
        for path in ends.values():
            whole = self._merged(whole, path)
        assert whole is not None
        writes = [(again, ends[first].guard.formula)]
        writes += [(flag, ends[target].guard.formula) for target, flag in flags.items()]
        after: dict[int, Held] = {}
        for cell, held in whole.memory.items():
            if cell in homes:
                assert isinstance(held, Formula)
                writes.append((homes[cell], held))
                after[cell] = bit(homes[cell])
            elif cell in lost:
                after[cell] = held if constant_of(held) is not None else None
        writes = [(place, formula) for place, formula in writes if formula != bit(place)]
        targets = {place for place, _ in writes}
        for number, (place, formula) in enumerate(writes):
            if formula.bits & targets - {place}:
                (own,) = self.builder.add_clbits(1)
                self.builder.append(TRUE, Write(own, formula))
                writes[number] = (place, bit(own))
        for place, formula in writes:
            self.builder.append(TRUE, Write(place, formula))
        return again, flags, after

    @contextmanager
    def _tried(self) -> Iterator[_Trial]:
        """Write into a builder of its own, and forget it unless it is kept."""
        self._steps -= _TRY_STEPS
        trial = _Trial(self)
        try:
            yield trial
        finally:
            trial.end()


class _Trial:
    """What is written for a try."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._outer = flow.builder
        flow.count_copies(len(flow._written) + len(flow._touched))
        self._written = {clbit: list(guards) for clbit, guards in flow._written.items()}
        self._touched = set(flow._touched)
        flow.builder = self._own = Builder()
        self._own.add_qubits(self._outer.qubits)
        self._own.add_clbits(self._outer.clbits)

    def end(self) -> None:
        flow = self._flow
        flow.builder = self._outer
        self._later = flow._written, flow._touched
        flow._written, flow._touched = self._written, self._touched

    def keep(self) -> None:
        """Take it over."""
        self.reserve()
        self._outer.spend(len(self._own.block.steps))
        self._outer.block.steps.extend(self._own.block.steps)

    def reserve(self) -> None:
        """Take over its bits, and that it happened."""
        self._outer.add_clbits(self._own.clbits - self._outer.clbits)
        self._flow._written, self._flow._touched = self._later


def _numbered(operations: Sequence[Operation]) -> dict[int, int]:
    """The qubits that are used, in ascending order, with their places in the hub."""
    used: set[int] = set()
    for each in operations:
        if isinstance(each, GateCall):
            used.update(each.qubits)
        elif isinstance(each, Measured | Reset) and each.qubit is not None:
            used.add(each.qubit)
    return {qubit: place for place, qubit in enumerate(sorted(used))}


def _loops(operations: Sequence[Operation], labels: Mapping[str, int]) -> dict[int, int]:
    """Where loops begin and end: within each other or apart, never crossing."""
    ends: dict[int, int] = {}
    for place, each in enumerate(operations):
        if isinstance(each, Jump) and labels[each.target] <= place:
            ends[labels[each.target]] = place
    open_: list[int] = []
    for first in sorted(ends):
        open_ = [each for each in open_ if ends[each] >= first]
        for outer in open_:
            ends[outer] = max(ends[outer], ends[first])
        open_.append(first)
        if len(open_) > _MAX_LOOPS:
            raise too_large(f"loops are nested more than {_MAX_LOOPS} deep")
    return ends
