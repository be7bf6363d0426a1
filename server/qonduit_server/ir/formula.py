# SPDX-License-Identifier: Apache-2.0
"""Boolean functions of classical bits: the classical logic that every provider supports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal


@dataclass(frozen=True)
class Formula:
    """A Boolean function of numbered bits: the classical logic that every provider supports.

    Build it with the functions below. They simplify, so that obviously equivalent formulas are equal.
    """

    kind: Literal["constant", "bit", "not", "and", "or", "xor"]
    #: The constant's value (0 or 1) or the bit's number; 0 for the other kinds.
    number: int = 0
    parts: tuple[Formula, ...] = ()

    def __post_init__(self) -> None:
        # Computed once, from the hashes of the parts: building larger formulas looks up smaller ones.
        object.__setattr__(self, "_hash", hash((self.kind, self.number, self.parts)))

    def __hash__(self) -> int:
        known: int = self._hash  # type: ignore[attr-defined]
        return known

    def value(self, outcome: int) -> int:
        """Evaluate where bit k of `outcome` is bit k; returns 0 or 1."""
        match self.kind:
            case "constant":
                return self.number
            case "bit":
                return outcome >> self.number & 1
            case "not":
                return 1 - self.parts[0].value(outcome)
            case "and":
                return int(all(part.value(outcome) for part in self.parts))
            case "or":
                return int(any(part.value(outcome) for part in self.parts))
            case "xor":
                return sum(part.value(outcome) for part in self.parts) & 1

    @cached_property
    def bits(self) -> frozenset[int]:
        """The bits it depends on."""
        if self.kind == "bit":
            return frozenset((self.number,))
        return frozenset().union(*(part.bits for part in self.parts)) if self.parts else frozenset()

    def substitute(self, values: Callable[[int], Formula]) -> Formula:
        """Substitute a formula for each bit."""
        #: By identity: a repeated part is substituted once.
        done: dict[int, Formula] = {}

        def substituted(formula: Formula) -> Formula:
            known = done.get(id(formula))
            if known is None:
                known = done[id(formula)] = substitute(formula)
            return known

        def substitute(formula: Formula) -> Formula:
            match formula.kind:
                case "constant":
                    return formula
                case "bit":
                    return values(formula.number)
                case "not":
                    return negation(substituted(formula.parts[0]))
                case "and":
                    return conjunction(map(substituted, formula.parts))
                case "or":
                    return disjunction(map(substituted, formula.parts))
                case "xor":
                    return parity(map(substituted, formula.parts))

        return substituted(self)

    def exceeds(self, most_parts: int, most_depth: int) -> bool:
        """Return whether it has more parts, repeated ones included, or is nested deeper."""
        stack, parts = [(self, 1)], 0
        while stack:
            part, depth = stack.pop()
            parts += 1
            if parts > most_parts or depth > most_depth:
                return True
            stack.extend((inner, depth + 1) for inner in part.parts)
        return False


FALSE = Formula("constant", 0)
TRUE = Formula("constant", 1)


def constant(value: object) -> Formula:
    """Return TRUE or FALSE."""
    return TRUE if value else FALSE


def bit(number: int) -> Formula:
    """Return the value of one bit."""
    return Formula("bit", number)


def negation(part: Formula) -> Formula:
    """Return the formula that `part` is 0."""
    if part.kind == "constant":
        return constant(not part.number)
    return part.parts[0] if part.kind == "not" else Formula("not", 0, (part,))


def conjunction(parts: Iterable[Formula]) -> Formula:
    """Return the formula that all parts are 1."""
    kept: dict[Formula, None] = {}
    for part in parts:
        for inner in part.parts if part.kind == "and" else (part,):
            if inner.kind == "constant":
                if not inner.number:
                    return FALSE
            elif kept and negation(inner) in kept:
                return FALSE
            else:
                kept[inner] = None
    return _joined("and", tuple(kept), TRUE)


def disjunction(parts: Iterable[Formula]) -> Formula:
    """Return the formula that any part is 1."""
    kept: dict[Formula, None] = {}
    for part in parts:
        for inner in part.parts if part.kind == "or" else (part,):
            if inner.kind == "constant":
                if inner.number:
                    return TRUE
            elif kept and negation(inner) in kept:
                return TRUE
            else:
                kept[inner] = None
    return _joined("or", tuple(kept), FALSE)


def parity(parts: Iterable[Formula]) -> Formula:
    """Return the formula that an odd number of parts are 1."""
    odd: dict[Formula, None] = {}
    flip = 0
    for part in parts:
        for inner in part.parts if part.kind == "xor" else (part,):
            term = inner
            if term.kind == "not":
                term, flip = term.parts[0], flip ^ 1
            if term.kind == "constant":
                flip ^= term.number
            elif odd.pop(term, term) is term:
                odd[term] = None
    joined = _joined("xor", tuple(odd), FALSE)
    return negation(joined) if flip else joined


def choice(condition: Formula, then: Formula, otherwise: Formula) -> Formula:
    """Return the formula `then` where `condition` is 1, else `otherwise`."""
    if then == otherwise:
        return then
    if otherwise == negation(condition):  # otherwise each occurs twice, and grows with every choice
        return disjunction((then, otherwise))
    if then == TRUE:
        return disjunction((condition, otherwise))
    return disjunction((conjunction((condition, then)), conjunction((negation(condition), otherwise))))


def _joined(kind: Literal["and", "or", "xor"], parts: tuple[Formula, ...], empty: Formula) -> Formula:
    return empty if not parts else parts[0] if len(parts) == 1 else Formula(kind, 0, parts)
