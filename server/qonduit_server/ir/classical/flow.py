# SPDX-License-Identifier: Apache-2.0
"""Branches and loops while a program is read.

The reader follows the one path of a known condition, and both paths of a measured condition, each under a guard.
`break` and `continue` set reader-internal bits that guard the rest of the iteration.
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
from qonduit_server.ir.noise import Channel

#: Maximum number of statements executed while reading.
MAX_STEPS: Final = 30_000
#: Maximum CPU seconds for reading, without parsing.
MAX_SECONDS: Final = 5.0
#: Sums of integers store longer formulas in a bit: each bit of a sum depends on all lower ones.
KEPT_FORMULA_PARTS: Final = 16
KEPT_FORMULA_DEPTH: Final = 20


class LoopExit(Exception):
    """Skips the rest of a block."""


@dataclass(frozen=True)
class LoopRound:
    """The current iteration of a loop: flags for the end of the iteration and of the loop."""

    left: Variable
    broken: Variable


class Flow:
    """The IR circuit under construction, and the reader's state within it."""

    def __init__(self) -> None:
        self._deadline = time.thread_time() + MAX_SECONDS
        #: Statements and loop iterations so far.
        self.steps = 0
        self.conditions = GuardedVariables(self._store_in_clbit)
        self.builder = Builder()
        #: The current iterations of the enclosing loops, innermost last.
        self.rounds: list[LoopRound] = []
        #: The guards at the entry of the enclosing subroutines; None where an IR loop lies between, because a return
        #: cannot leave it.
        self.call_guards: list[Formula | None] = []
        #: Qubits measured so far.
        self.measurements = 0
        #: Number of enclosing loops that stay loops in the IR.
        self.runtime_loops = 0

    def step(self, number: int = 1) -> None:
        """Count statements or loop iterations, and check the time limit.

        Raises:
            ProgramError: TOO_LARGE, the number of steps or the time exceeds its limit.
        """
        self.steps += number
        if self.steps > MAX_STEPS:
            raise too_large(f"reading the program takes more than {MAX_STEPS} steps")
        self.check_time()

    def check_time(self) -> None:
        """Reject a program whose reading exceeds the time limit."""
        if time.thread_time() > self._deadline:
            raise too_large(f"reading the program takes more than {MAX_SECONDS:.0f} seconds")

    def branch(
        self, condition: Formula, then: Callable[[], None], otherwise: Callable[[], None] = lambda: None
    ) -> None:
        """Run one of two actions; both, under guards, where the condition depends on measurements."""
        self.conditions.branch(condition, lambda: _arm(then), lambda: _arm(otherwise))

    def sequence(self, number: int, do: Callable[[int], None], first: int = 0) -> None:
        """Run steps `first`, ..., `number` - 1; those after a break or continue only where it was not taken."""
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
        """Run one iteration of a loop unless it is broken; `sure`: the loop's condition already implies that."""

        def iterate() -> None:
            if broken.value != _NO:
                self.conditions.write(broken, _NO)
            self.rounds.append(LoopRound(flag(), broken))
            try:
                _arm(body)
            finally:
                self.rounds.pop()

        if sure:
            iterate()
        else:
            self.branch(negation(truth(broken.value)), iterate)  # type: ignore[arg-type]

    def keep(self, formula: Formula) -> Formula:
        """Return a formula; for a long one, an IR bit that stores its value."""
        long = formula.exceeds(KEPT_FORMULA_PARTS, KEPT_FORMULA_DEPTH)
        return self._store_in_clbit(formula) if long else formula

    def _store_in_clbit(self, formula: Formula) -> Formula:
        """Store a formula in a new IR bit; return the bit."""
        (clbit,) = self.builder.add_clbits(1)
        if not self.runtime_loops:  # in a loop, an earlier iteration may have set it
            self.conditions.note_measured(clbit)
        self.builder.append(self.conditions.guard, Write(clbit, formula))
        return bit(clbit)

    def emit(
        self,
        operation: Gate | Reset | Measure | Barrier | Channel,
        qubits: tuple[int, ...],
        clbits: tuple[int, ...] = (),
    ) -> None:
        """Append an operation to the IR, under the current guard."""
        self.builder.append(self.conditions.guard, operation, qubits, clbits)

    def over(self, values: Sequence[object], body: Callable[[int], None]) -> None:
        """Run a counted loop: call `body(k)` for the index of each value."""
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
        """Execute `break` or `continue`.

        Raises:
            LoopExit: always.
        """
        if not self.rounds:
            raise wrong("break and continue need a loop around them")
        innermost = self.rounds[-1]
        self.conditions.write(innermost.left, _YES)
        if breaks:
            self.conditions.write(innermost.broken, _YES)
        raise LoopExit


def flag() -> Variable:
    """Return a reader-internal bit, initially 0."""
    return Variable("", Type("bit"), _NO)


def _arm(action: Callable[[], None]) -> None:
    with suppress(LoopExit):
        action()


_NO: Final = Bits((FALSE,), scalar=True)
_YES: Final = Bits((TRUE,), scalar=True)
