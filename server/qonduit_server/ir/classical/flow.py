# SPDX-License-Identifier: Apache-2.0
"""Branches and loops while a program is read: known ones are followed, of measured ones both sides, under guards.

`break` and `continue` write bits of their own, which tell from where on nothing more of a round is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from qiskit.circuit import Barrier, Gate, Measure, Reset

from qonduit_server.ir.builder import Builder, Write
from qonduit_server.ir.classical.guards import GuardedVariables
from qonduit_server.ir.classical.values import Bits, Type, truth, wrong
from qonduit_server.ir.classical.variables import Variable
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, negation
from qonduit_server.ir.limits import too_large

#: Statements that may be executed while reading.
MAX_STEPS: Final = 30_000
#: Seconds of a processor that reading may take, its parser apart.
MAX_SECONDS: Final = 5.0
#: Longer formulas within sums of whole numbers are stored into a bit: each bit of a sum depends on all lower ones.
KEPT_FORMULA_PARTS: Final = 16
KEPT_FORMULA_DEPTH: Final = 20


class LoopExit(Exception):
    """The rest of a block is not reached."""


@dataclass(frozen=True)
class LoopRound:
    """The round of a loop that is being read: whether it is over already, and whether the whole loop is."""

    left: Variable
    broken: Variable


class Flow:
    """The IR circuit that a program becomes, and what holds where the reader is."""

    def __init__(self) -> None:
        self._deadline = time.thread_time() + MAX_SECONDS
        #: Statements and rounds of loops so far.
        self.steps = 0
        self.conditions = GuardedVariables(self._store_in_clbit)
        self.builder = Builder()
        #: The rounds of the loops around, the innermost last.
        self.rounds: list[LoopRound] = []
        #: The guards under which the subroutines around were entered; None where a loop of the IR lies between,
        #: which they cannot leave.
        self.call_guards: list[Formula | None] = []
        #: Qubits measured so far.
        self.measurements = 0
        #: How many of the loops around stay loops in the IR.
        self.runtime_loops = 0

    def step(self, number: int = 1) -> None:
        """Count statements or rounds of loops, and look at the clock.

        Raises:
            ProgramError: TOO_LARGE, there were too many, or they take too long.
        """
        self.steps += number
        if self.steps > MAX_STEPS:
            raise too_large(f"reading the program takes more than {MAX_STEPS} steps")
        self.check_time()

    def check_time(self) -> None:
        """Refuse a program whose reading takes too long, whatever it is that takes so long."""
        if time.thread_time() > self._deadline:
            raise too_large(f"reading the program takes more than {MAX_SECONDS:.0f} seconds")

    def branch(
        self, condition: Formula, then: Callable[[], None], otherwise: Callable[[], None] = lambda: None
    ) -> None:
        """Do one of two things; both, under guards, where only a run can tell which."""
        self.conditions.branch(condition, lambda: _arm(then), lambda: _arm(otherwise))

    def sequence(self, number: int, do: Callable[[int], None], first: int = 0) -> None:
        """Do steps `first`, ..., `number` - 1: what follows a break or continue only where it was not taken."""
        for k in range(first, number):
            do(k)
            if self.rounds and (left := truth(self.rounds[-1].left.value)) != FALSE:  # type: ignore[arg-type]
                if k + 1 < number:
                    self.branch(negation(left), lambda k=k: self._rest(number, do, k + 1))  # type: ignore[misc]
                return

    def _rest(self, number: int, do: Callable[[int], None], first: int) -> None:
        self.conditions.write(self.rounds[-1].left, _NO)
        self.sequence(number, do, first)

    def round(self, broken: Variable, body: Callable[[], None], sure: bool = False) -> None:
        """Do one round of a loop unless it is broken; `sure`: the loop's condition says already that it is not."""

        def go() -> None:
            if broken.value != _NO:
                self.conditions.write(broken, _NO)
            self.rounds.append(LoopRound(flag(), broken))
            try:
                _arm(body)
            finally:
                self.rounds.pop()

        if sure:
            go()
        else:
            self.branch(negation(truth(broken.value)), go)  # type: ignore[arg-type]

    def keep(self, formula: Formula) -> Formula:
        """Return a formula, or where it is long a bit of the IR that holds its value."""
        long = formula.exceeds(KEPT_FORMULA_PARTS, KEPT_FORMULA_DEPTH)
        return self._store_in_clbit(formula) if long else formula

    def _store_in_clbit(self, formula: Formula) -> Formula:
        """Set a new bit of the IR to a formula; returns the bit."""
        (clbit,) = self.builder.add_clbits(1)
        if not self.runtime_loops:  # where it may hold what an earlier round stored
            self.conditions.note_measured(clbit)
        self.builder.append(self.conditions.guard, Write(clbit, formula))
        return bit(clbit)

    def emit(
        self, operation: Gate | Reset | Measure | Barrier, qubits: tuple[int, ...], clbits: tuple[int, ...] = ()
    ) -> None:
        """Put an operation into the IR, under what holds here."""
        self.builder.append(self.conditions.guard, operation, qubits, clbits)

    def over(self, values: Sequence[object], body: Callable[[int], None]) -> None:
        """Run a loop whose rounds are counted: do `body(k)` for the place of each value."""
        try:
            count = len(values)
        except OverflowError:
            count = MAX_STEPS + 1
        if count > MAX_STEPS - self.steps:
            raise too_large(f"a loop of {count} rounds takes more than the {MAX_STEPS} steps a program may take")
        broken = flag()
        for k in range(count):
            self.step()
            if truth(broken.value) == TRUE:  # type: ignore[arg-type]
                break
            self.round(broken, lambda k=k: body(k))  # type: ignore[misc]

    def leave(self, breaks: bool) -> None:
        """`break`, or `continue`.

        Raises:
            Left: always.
        """
        if not self.rounds:
            raise wrong("break and continue need a loop around them")
        innermost = self.rounds[-1]
        self.conditions.write(innermost.left, _YES)
        if breaks:
            self.conditions.write(innermost.broken, _YES)
        raise LoopExit


def flag() -> Variable:
    """Return a bit of the reader's own, which is 0."""
    return Variable("", Type("bit"), _NO)


def _arm(action: Callable[[], None]) -> None:
    with suppress(LoopExit):
        action()


_NO: Final = Bits((FALSE,), scalar=True)
_YES: Final = Bits((TRUE,), scalar=True)
