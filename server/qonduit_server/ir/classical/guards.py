# SPDX-License-Identifier: Apache-2.0
"""Guards: conditions on measured bits under which statements run, and the values of variables after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from qonduit_server.ir.classical import words
from qonduit_server.ir.classical.values import (
    STORED_FORMULA_DEPTH,
    STORED_FORMULA_PARTS,
    Bits,
    Value,
    Word,
    checked,
    wrong,
)
from qonduit_server.ir.classical.variables import Held, Slice, Variable, View
from qonduit_server.ir.formula import FALSE, TRUE, Formula, choice, conjunction, negation

#: Written variables, by identity, with their previous values.
Journal: TypeAlias = dict[int, tuple[Variable, Held]]


class GuardedVariables:
    """Writes variables, and reads both sides of a branch whose condition depends on measurements."""

    def __init__(self, store: Callable[[Formula], Formula]) -> None:
        #: Stores the value of a formula in an IR bit; returns that bit.
        self._store = store
        #: The condition under which the current statement runs.
        self.guard = TRUE
        self._journals: list[Journal] = []
        self._measured: set[int] = set()

    def note_measured(self, clbit: int) -> None:
        """Record that an IR bit is written under the current guard only, so it is 0 otherwise."""
        self._measured.add(clbit)

    def write(self, variable: Variable, value: Held) -> None:
        """Write a variable under the current guard."""
        _check_variable(variable)
        while isinstance(variable, Slice):
            value = variable.placed(value)
            variable = variable.whole
            _check_variable(variable)
        for journal in self._journals[-1:]:
            journal.setdefault(id(variable), (variable, variable.value))
        variable.value = value if isinstance(value, tuple) else self.shortened(value)

    def shortened(self, value: Value) -> Value:
        """Return the same value, with long formulas stored in IR bits."""
        if not isinstance(value, Bits | Word) or not any(map(_long, value.formulas)):
            return value
        return replace(value, formulas=tuple(self._store(each) if _long(each) else each for each in value.formulas))

    def write_bits(self, view: View, formulas: Sequence[Formula]) -> None:
        """Write some bits of a register under the current guard."""
        old = view.variable.value
        assert isinstance(old, Bits)
        changed = list(old.formulas)
        for place, formula in zip(view.places, formulas, strict=True):
            changed[place] = formula
        self.write(view.variable, Bits(tuple(changed), old.scalar))

    @contextmanager
    def under(self, guard: Formula) -> Iterator[None]:
        """Replace the guard instead of adding to it."""
        outer, self.guard = self.guard, guard
        try:
            yield
        finally:
            self.guard = outer

    @contextmanager
    def recorded(self) -> Iterator[Journal]:
        """Record written variables with their previous values, also in the enclosing journal."""
        journal: Journal = {}
        self._journals.append(journal)
        try:
            yield journal
        finally:
            self._journals.pop()
            if self._journals:
                for key, entry in journal.items():
                    self._journals[-1].setdefault(key, entry)

    def branch(self, condition: Formula, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Run one of two actions; both, under guards, where the condition depends on measurements."""
        if condition == TRUE or conjunction((self.guard, negation(condition))) == FALSE:
            then()
        elif condition == FALSE or conjunction((self.guard, condition)) == FALSE:
            otherwise()
        else:
            first = self._guarded(condition, then)
            second = self._guarded(negation(condition), otherwise)
            for variable, value, measured in first.values():
                before = variable.value
                other = second.pop(id(variable), (variable, before, frozenset()))[1]
                self.write(variable, _merged(condition, value, other, measured))
            for variable, value, measured in second.values():
                self.write(variable, _merged(negation(condition), value, variable.value, measured))

    def _guarded(
        self, condition: Formula, action: Callable[[], None]
    ) -> dict[int, tuple[Variable, Held, frozenset[int]]]:
        """Run an action under a further condition; return what it wrote, after restoring all variables."""
        outer, outer_measured = self.guard, self._measured
        self.guard, self._measured = conjunction((outer, condition)), set()
        with self.recorded() as journal:
            action()
        measured = frozenset(self._measured)
        self.guard, self._measured = outer, outer_measured | measured
        written = {}
        for key, (variable, before) in journal.items():
            written[key] = (variable, variable.value, measured)
            variable.value = before
        return written


def _check_variable(variable: Variable) -> None:
    if variable.constant:
        raise wrong(f"{variable.name!r} is constant")


def _long(formula: Formula) -> bool:
    return formula.exceeds(STORED_FORMULA_PARTS, STORED_FORMULA_DEPTH)


def _merged(condition: Formula, then: Held, otherwise: Held, measured: frozenset[int]) -> Held:
    """Return `then` where the condition is 1, else `otherwise`.

    `measured` are the bits first written under the condition.
    """
    if isinstance(then, tuple) or isinstance(otherwise, tuple):
        if not isinstance(then, tuple) or not isinstance(otherwise, tuple):
            raise wrong("an array cannot replace a number")
        return tuple(
            _merged(condition, a, b, measured)  # type: ignore[arg-type]
            for a, b in zip(then, otherwise, strict=True)
        )
    if isinstance(then, Bits) and isinstance(otherwise, Bits) and len(then.formulas) == len(otherwise.formulas):
        # A bit measured under the condition is 0 where the condition is false.
        return Bits(
            tuple(
                a if b == FALSE and a.kind == "bit" and a.number in measured else checked(choice(condition, a, b))
                for a, b in zip(then.formulas, otherwise.formulas, strict=True)
            ),
            then.scalar,
        )
    if then == otherwise and type(then) is type(otherwise):
        return then
    return words.select(condition, then, otherwise)
