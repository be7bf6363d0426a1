# SPDX-License-Identifier: Apache-2.0
"""Jumps of Quil: forward jumps become conditions of the skipped operations, backward jumps loops.

A block of operations is executed in textual order. A taken jump sets a flag. Where flags may be set, the operations up
to the nearest target label form a separate block, which is executed if no flag is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical import runtime_loops
from qonduit_server.ir.classical.flow import Flow, flag
from qonduit_server.ir.classical.values import Bits, truth
from qonduit_server.ir.classical.variables import Variable
from qonduit_server.ir.formula import FALSE, TRUE, Formula, conjunction, disjunction, negation
from qonduit_server.ir.limits import MAX_DEPTH, too_large
from qonduit_server.languages.quil.classical_memory import Memory
from qonduit_server.languages.quil.instruction_list import Classical, Jump, Label, Measured, Operation, with_line

#: Maximum number of measurement-dependent iterations of a loop that changes numbers.
MAX_ROUNDS: Final = 40
_YES: Final = Bits((TRUE,), scalar=True)
_NO: Final = Bits((FALSE,), scalar=True)


@dataclass
class _Block:
    """Operations before place `last`, and the flags of jumps by target place."""

    last: int
    flags: dict[int, Variable] = field(default_factory=dict)

    def is_active(self) -> Formula:
        """Return the condition that no flag is set."""
        return conjunction(negation(_formula(each)) for each in self.flags.values())


class Jumps(Flow):
    """Executes the operations of a program in the order of its jumps.

    Args:
        operations: the program.
        lines: for each operation, its line in the program.
        memory: its memory.
        execute: executes an operation other than a jump.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        lines: Sequence[int],
        memory: Memory,
        execute: Callable[[Operation], None],
    ) -> None:
        super().__init__()
        self._operations = operations
        self._lines = lines
        self._memory = memory
        self._execute = execute
        self._jumps = {place: each for place, each in enumerate(operations) if isinstance(each, Jump)}
        self._targets = _targets(operations)
        #: For each loop, the place of its label and the last place of its body.
        self._loops = _loops(self._targets)
        #: For each enclosing loop, whether this iteration jumped back to its label.
        self._again: dict[int, Variable] = {}
        self._blocks: list[_Block] = []

    def run(self) -> None:
        """Execute the program."""
        try:
            self._block(0, len(self._operations))
        except RecursionError:
            raise too_large("jumps are nested too deep") from None

    def _block(self, place: int, end: int, block: _Block | None = None) -> None:
        """Execute operations, in a new block by default."""
        block = block or _Block(end)
        self._blocks.append(block)
        while place < end:
            block.flags.pop(place, None)
            if block.flags:
                start, place = place, min(end, *block.flags)
                self.branch(block.is_active(), lambda start=start, place=place: self._block(start, place))  # type: ignore[misc]
            elif place in self._loops:
                place = self._loop(place, end)
            elif place in self._jumps:
                place = self._jump(place, end)
            else:
                with_line(self._lines[place], self._execute, self._operations[place])
                place += 1
        block.flags.pop(end, None)
        self._blocks.pop()

    def _jump(self, place: int, end: int) -> int:
        """Execute a jump with its `if` and `else` branches; return the place after them."""
        self.check_time()
        other = self._targets[place]
        last = other - 1
        over = self._targets.get(last, 0)
        if place < last < over <= end and self._jumps[last].cell is None and self._stays_inside(place + 1, last):
            self.branch(self._taken(place), lambda: self._block(other, over), lambda: self._block(place + 1, last))
            return over
        taken, after = self._taken(place), place + 1
        while taken != TRUE and after < end and self._targets.get(after) == other:
            taken, after = disjunction((taken, self._taken(after))), after + 1
        self.branch(taken, lambda: self._skip(place))
        return after

    def _taken(self, place: int) -> Formula:
        """Return the condition under which a jump is taken."""
        jump, found = self._jumps[place], [TRUE]
        if jump.cell is not None:
            with_line(self._lines[place], lambda: found.append(self._memory.holds(jump.cell)))
        return found[-1] if jump.when else negation(found[-1])

    def _skip(self, place: int) -> None:
        """Set the flags of a taken jump; after a backward jump, the rest of its loop's body is skipped."""
        target = self._targets[place]
        if target <= place:
            if target not in self._again:
                raise self._entered(target)
            self.conditions.write(self._again[target], _YES)
            target = self._loops[target] + 1
        for block in reversed(self._blocks):
            self.conditions.write(block.flags.setdefault(min(target, block.last), flag()), _YES)
            if target <= block.last:
                break

    def _stays_inside(self, first: int, end: int) -> bool:
        """Return whether no jump leaves a range of operations."""
        return all(first <= self._targets.get(each, each) <= end for each in range(first, end))

    def _loop(self, first: int, end: int) -> int:
        """Execute a loop: unrolled while its end is known or if it changes numbers, else as an IR loop.

        Returns:
            The place after it.
        """
        last = self._loops[first]
        if last >= end:
            raise self._entered(first)
        start = self._head_end(first, last)
        # A loop with exits only at its head, and one backward jump at its end, needs no flag.
        again, body_end = None, last
        if self._jumps[last].cell is not None or not self._stays_inside(start, last):
            again = self._again[first] = flag()
            again.value = _YES
            body_end = last + 1

        def condition() -> Formula:
            whole = TRUE if again is None else _formula(again)
            head = _Block(last + 1)
            if whole != FALSE:
                self._block(first + 1, start, head)
            return conjunction((whole, head.is_active()))

        def body() -> None:
            self.step(last - first)
            if again is not None:
                self.conditions.write(again, _NO)
            self._block(start, body_end)

        numbers = any(map(self._changes_number, self._operations[first:last]))
        with_line(self._lines[first], _unroll if numbers else runtime_loops.repeat, self, condition, body)
        self._again.pop(first, None)
        return last + 1

    def _head_end(self, first: int, last: int) -> int:
        """Return the end of the jumps after a loop's label that only decide on another iteration."""
        head = furthest = place = first + 1
        while place < last and place not in self._loops and isinstance(self._operations[place], Label | Jump):
            target = self._targets.get(place, place)
            if target < place or target > last + 1:
                break
            place += 1
            furthest = furthest if target > last else max(furthest, target)
            head = place if furthest <= place else head
        return head

    def _changes_number(self, operation: Operation) -> bool:
        if isinstance(operation, Classical):
            return self._memory.writes_number(operation.instruction, operation.names)
        return (
            isinstance(operation, Measured) and operation.cell is not None and not self._memory.is_bit(operation.cell)
        )

    def _entered(self, first: int) -> ProgramError:
        line = self._lines[first]
        back = next(self._jumps[each] for each, target in self._targets.items() if first == target <= each)
        message = (
            f"line {line}: a jump leads into the loop of LABEL @{str(back.target).split(' ')[0]}, past that label: "
            "write the loop as LABEL @START, JUMP-UNLESS @END bit, ..., JUMP @START, LABEL @END, and jump to @START"
        )
        return ProgramError("UNSUPPORTED_CONSTRUCT", message, line=line, column=1)


def _unroll(flow: Flow, condition: Callable[[], Formula], body: Callable[[], None], rounds: int = 0) -> None:
    """Execute a loop by iterations, each under the condition that the loop continues."""
    while (holds := condition()) == TRUE:
        body()
    if holds == FALSE:
        return
    if rounds >= MAX_ROUNDS:
        raise too_large(
            f"a loop that changes INTEGER or REAL memory does not end within {MAX_ROUNDS} rounds: one that only a "
            "measurement ends may change BIT memory"
        )

    def further() -> None:
        body()
        _unroll(flow, condition, body, rounds + 1)

    flow.branch(holds, further)


def _formula(variable: Variable) -> Formula:
    return truth(variable.value)  # type: ignore[arg-type]


def _targets(operations: Sequence[Operation]) -> dict[int, int]:
    """Return the target place of each jump: the first of adjacent labels, or the end of the program."""
    labels: dict[str | None, int] = {None: len(operations)}
    for place, each in enumerate(operations):
        if isinstance(each, Label):
            before = operations[place - 1] if place else None
            labels[each.name] = labels[before.name] if isinstance(before, Label) else place
    return {place: labels[each.target] for place, each in enumerate(operations) if isinstance(each, Jump)}


def _loops(targets: Mapping[int, int]) -> dict[int, int]:
    """Return the beginnings and ends of loops: nested or disjoint, never crossing."""
    ends: dict[int, int] = {}
    for place, target in targets.items():
        if target <= place:
            ends[target] = place
    around: list[int] = []
    for first in sorted(ends):
        around = [each for each in around if ends[each] >= first]
        for outer in around:
            ends[outer] = max(ends[outer], ends[first])
        around.append(first)
        if len(around) > MAX_DEPTH:
            raise too_large(f"loops are nested more than {MAX_DEPTH} deep")
    return ends
