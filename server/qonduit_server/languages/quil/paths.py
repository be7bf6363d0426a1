# SPDX-License-Identifier: Apache-2.0
"""Paths through a Quil program: under which measurements each is taken, and what memory holds on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from qonduit_server.errors import ProgramError
from qonduit_server.hub.formula import FALSE, TRUE, Formula, choice, conjunction, disjunction, negation, parity
from qonduit_server.hub.limits import too_large
from qonduit_server.languages.evaluation.values import checked
from qonduit_server.languages.quil.classical_memory import MAX_CASES, Held

#: Formulas of which all hold.
_Cube: TypeAlias = tuple[Formula, ...]
#: A formula with more parts than this is put into a bit of its own, for what is made of it.
MAX_PARTS: Final = 48


@dataclass(frozen=True)
class Guard:
    """A condition as a choice of cubes, so that it is seen where two exclude each other or make a whole."""

    cubes: tuple[_Cube, ...]

    @cached_property
    def parts(self) -> int:
        """How many formulas it is made of."""
        return sum(len(cube) for cube in self.cubes)

    @cached_property
    def formula(self) -> Formula:
        return checked(disjunction(conjunction(cube) for cube in self.cubes))

    def restricted(self, condition: Formula) -> Guard:
        """This and a condition."""
        cubes: list[_Cube] = []
        for cube in self.cubes:
            rest = given(condition, cube)
            if rest == TRUE:
                cubes.append(cube)
            elif rest != FALSE:
                new = rest.parts if rest.kind == "and" else (rest,)
                cubes.append((*cube, *(each for each in new if each not in cube)))
        return Guard(tuple(cubes))

    def excludes(self, other: Guard) -> bool:
        """Whether it is plain that both never hold."""
        return all(any(negation(each) in second for each in first) for first in self.cubes for second in other.cubes)

    def joined(self, other: Guard) -> Guard:
        """This or another."""
        cubes = list(self.cubes)
        waiting = list(other.cubes)
        while waiting:
            new = waiting.pop()
            for place, old in enumerate(cubes):
                wider = _wider(old, new)
                if wider is not None:
                    del cubes[place]
                    waiting.append(wider)
                    break
            else:
                cubes.append(new)
        return Guard(tuple(cubes))

    def told_from(self, other: Guard) -> Formula:
        """What holds here and, where one of both holds, not there."""
        shared = set(self.cubes[0]).intersection(*self.cubes, *other.cubes)
        return checked(disjunction(conjunction(each for each in cube if each not in shared) for cube in self.cubes))


ALWAYS: Final = Guard(((),))
NEVER: Final = Guard(())


def given(condition: Formula, cube: Sequence[Formula]) -> Formula:
    """What is left of a condition where some formulas hold."""
    if not cube or condition.kind == "constant":
        return condition
    if condition in cube:
        return TRUE
    if negation(condition) in cube:
        return FALSE
    match condition.kind:
        case "not":
            return negation(given(condition.parts[0], cube))
        case "and":
            return conjunction(given(part, cube) for part in condition.parts)
        case "or":
            return disjunction(given(part, cube) for part in condition.parts)
        case "xor":
            return parity(given(part, cube) for part in condition.parts)
    return condition


def _wider(first: _Cube, second: _Cube) -> _Cube | None:
    """One cube for two, where there is one."""
    one, other = set(first), set(second)
    if one <= other:
        return first
    if other <= one:
        return second
    left, right = one - other, other - one
    if len(left) == len(right) == 1 and negation(*left) == next(iter(right)):
        return tuple(each for each in first if each in other)
    return None


@dataclass
class Path:
    """A way through the program up to some place.

    Args:
        guard: when it is taken, within the loop it is in.
        memory: what elements of memory hold, as far as it is not what they held at first.
    """

    guard: Guard
    memory: dict[int, Held]

    def fork(self, condition: Formula) -> tuple[Path | None, Path | None]:
        """The path where a condition holds, and where it does not."""
        yes, no = self.guard.restricted(condition), self.guard.restricted(negation(condition))
        if not yes.cubes:
            return None, self
        if not no.cubes:
            return self, None
        return Path(yes, dict(self.memory)), Path(no, self.memory)


#: What an element holds that a path does not say, and whether a bit is 0 wherever a guard holds.
Initial: TypeAlias = Callable[[int], Held]
Unset: TypeAlias = Callable[[int, Guard], bool]


def merged(first: Path, second: Path, initial: Initial, unset: Unset, spend: Callable[[], None]) -> Path:
    """One path for two that exclude each other; `spend` is called for each element that they differ in."""
    chooses: Formula | None = None
    memory: dict[int, Held] = {}
    for cell in {**first.memory, **second.memory}:
        a = first.memory[cell] if cell in first.memory else initial(cell)
        b = second.memory[cell] if cell in second.memory else initial(cell)
        if a == b:
            memory[cell] = a
            continue
        if isinstance(a, Formula) and isinstance(b, Formula):
            if b == FALSE and a.kind == "bit" and unset(a.number, second.guard):
                memory[cell] = a
                continue
            if a == FALSE and b.kind == "bit" and unset(b.number, first.guard):
                memory[cell] = b
                continue
        spend()
        chooses = first.guard.told_from(second.guard) if chooses is None else chooses
        memory[cell] = _chosen(chooses, a, b)
    return Path(first.guard.joined(second.guard), memory)


def _chosen(condition: Formula, a: Held, b: Held) -> Held:
    if a is None or b is None:
        return None
    if isinstance(a, Formula) and isinstance(b, Formula):
        return checked(choice(condition, a, b))
    assert isinstance(a, tuple)
    assert isinstance(b, tuple)
    found: dict[int | float, list[Formula]] = {}
    for held, where in ((a, condition), (b, negation(condition))):
        for number, formula in held:
            found.setdefault(number, []).append(conjunction((where, formula)))
    if len(found) > MAX_CASES:
        raise too_large(f"a number depends on measurements in more than {MAX_CASES} ways")
    return tuple((number, checked(disjunction(formulas))) for number, formulas in found.items())


def is_long(formula: Formula, most: int) -> bool:
    """Whether a formula has more parts than this."""
    stack, parts = [formula], 0
    while stack and parts <= most:
        parts += 1
        stack.extend(stack.pop().parts)
    return parts > most


def constant_of(held: Held) -> int | float | None:
    """The number that memory holds, if it is known."""
    if isinstance(held, tuple) and len(held) == 1:
        return held[0][0]
    return None


def unset_number(cell: int, read: Callable[[Mapping[int, Held], int], Held]) -> Held:
    """What an element holds at first; None for a number that was not given."""
    try:
        return read({}, cell)
    except ProgramError:
        return None
