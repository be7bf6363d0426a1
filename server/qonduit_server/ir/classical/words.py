# SPDX-License-Identifier: Apache-2.0
"""Bitwise arithmetic of integers that depend on too many measured bits for a table of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from qonduit_server.ir.classical.values import (
    Value,
    Word,
    apply,
    as_word,
    checked,
    extended,
    needs_words,
    of_formula,
    word,
)
from qonduit_server.ir.formula import FALSE, TRUE, Formula, choice, conjunction, disjunction, negation, parity
from qonduit_server.ir.limits import MAX_FORMULA_DEPTH, too_large

#: Maximum number of bits of an intermediate result.
MAX_WORD_BITS: Final = 256
#: Maximum number of bits of the smaller factor if neither is known: the product takes a sum for each bit.
MAX_FACTOR_BITS: Final = 8
#: A comparison of at most this many parts is one formula; a longer one is the sign of a difference with stored bits.
MAX_COMPARISON_PARTS: Final = 1000

#: Returns a formula; for a long one, an IR bit that stores its value.
Keep: TypeAlias = Callable[[Formula], Formula]
_Bitwise: TypeAlias = Callable[[Iterable[Formula]], Formula]
_BITWISE: Final[dict[str, _Bitwise]] = {"&": conjunction, "|": disjunction, "^": parity}


def binary(sign: str, left: Value, right: Value, keep: Keep, division_rounds_down: bool) -> Value | None:
    """Apply a binary operator to two integers; return None where this is not possible bit by bit."""
    first, second = as_word(left), as_word(right)
    if first is None or second is None:
        return None
    match sign:
        case "+":
            return _word(_sum(first, second, FALSE, keep))
        case "-":
            return _word(_sum(first, _inverted(second), TRUE, keep))
        case "*":
            return _product(first, second, keep)
        case "<":
            return of_formula(_less(first, second, keep))
        case ">=":
            return of_formula(negation(_less(first, second, keep)))
        case ">":
            return of_formula(_less(second, first, keep))
        case "<=":
            return of_formula(negation(_less(second, first, keep)))
        case "&" | "|" | "^":
            width = max(len(first.formulas), len(second.formulas))
            pairs = zip(extended(first, width), extended(second, width), strict=True)
            return _word([checked(_BITWISE[sign](pair)) for pair in pairs])
    if isinstance(right, int):
        return _by_known(sign, first, right, keep, division_rounds_down)
    return None


def _by_known(sign: str, left: Word, right: int, keep: Keep, division_rounds_down: bool) -> Value | None:
    if sign == "<<" and 0 <= right <= MAX_WORD_BITS:
        return _word((FALSE,) * right + left.formulas)
    if sign == ">>" and right >= 0:
        return _word(left.formulas[right:] or left.formulas[-1:])
    if right > 0 and (sign == "%" or (sign == "/" and division_rounds_down)):
        quotient, remainder = _divided(left, right, keep)
        return remainder if sign == "%" else quotient
    return None


def negative(value: Value, keep: Keep) -> Value:
    """Return -value."""
    found = binary("-", 0, value, keep, False) if needs_words(value) else None
    return apply(lambda v: -v, value) if found is None else found


def inverted(value: Value) -> Value:
    """Return ~value of an integer: -value - 1."""
    whole = as_word(value) if needs_words(value) else None
    return apply(lambda v: ~v, value) if whole is None else _word(_inverted(whole).formulas)


def ones(value: Value, keep: Keep) -> Value | None:
    """Return the number of 1 bits; None for a value that is not an integer or may be negative."""
    whole = as_word(value)
    if whole is None or whole.formulas[-1] != FALSE:
        return None
    counts = [_word((formula, FALSE)) for formula in whole.formulas]
    while len(counts) > 1:
        counts = [
            _word(_sum(_as_word(counts[k]), _as_word(counts[k + 1]), FALSE, keep)) if k + 1 < len(counts) else counts[k]
            for k in range(0, len(counts), 2)
        ]
    return counts[0]


def select(condition: Formula, then: Value, otherwise: Value) -> Value:
    """Return `then` where a condition holds, else `otherwise`."""
    test = of_formula(condition)
    if needs_words(test, then, otherwise):
        first, second = as_word(then), as_word(otherwise)
        if first is not None and second is not None:
            width = max(len(first.formulas), len(second.formulas))
            pairs = zip(extended(first, width), extended(second, width), strict=True)
            return _word([checked(choice(condition, a, b)) for a, b in pairs])
    return apply(lambda c, a, b: a if c else b, test, then, otherwise)


def _word(formulas: Sequence[Formula]) -> Value:
    found = word(formulas)
    if isinstance(found, Word) and len(found.formulas) > MAX_WORD_BITS:
        raise too_large(f"a number that depends on measurements has more than {MAX_WORD_BITS} bits")
    return found


def _as_word(value: Value) -> Word:
    found = as_word(value)
    assert found is not None
    return found


def _inverted(value: Word) -> Word:
    return Word(tuple(negation(formula) for formula in value.formulas))


def _sum(left: Word, right: Word, carry: Formula, keep: Keep) -> list[Formula]:
    """Add two numbers and a bit, from the lowest bits to the highest."""
    width = max(len(left.formulas), len(right.formulas)) + 1
    bits = []
    for a, b in zip(extended(left, width), extended(right, width), strict=True):
        bits.append(keep(checked(parity((a, b, carry)))))
        carry = keep(checked(_majority(a, b, carry)))
    return bits


def _majority(a: Formula, b: Formula, c: Formula) -> Formula:
    """Return the majority of three bits; `c`, which may be the longest, occurs once."""
    a, b, c = sorted((a, b, c), key=lambda each: each.kind == "constant")
    if c.kind == "constant":
        return disjunction((a, b)) if c.number else conjunction((a, b))
    return disjunction((conjunction((a, b)), conjunction((c, disjunction((a, b))))))


def _product(left: Word, right: Word, keep: Keep) -> Value | None:
    """Multiply: add the left number, shifted, for each bit of the right one."""
    left, right = sorted((left, right), key=_summands, reverse=True)
    if _summands(right) > MAX_FACTOR_BITS and any(formula.kind != "constant" for formula in right.formulas):
        return None
    total: Value = 0
    last = len(right.formulas) - 1
    for place, factor in enumerate(right.formulas):
        part = Word((FALSE,) * place + tuple(conjunction((factor, formula)) for formula in left.formulas))
        whole = _as_word(total)
        if factor == FALSE:
            continue
        if place == last:  # the highest bit counts as negative
            total = _word(_sum(whole, _inverted(part), TRUE, keep))
        else:
            total = _word(_sum(whole, part, FALSE, keep))
    return total


def _summands(value: Word) -> int:
    return sum(formula != FALSE for formula in value.formulas) if _known(value) else len(value.formulas) - 1


def _known(value: Word) -> bool:
    return all(formula.kind == "constant" for formula in value.formulas)


def _less(left: Word, right: Word, keep: Keep) -> Formula:
    """Compare halves, then their halves, so that the formula is not deep; subtract where it is long."""
    width = max(len(left.formulas), len(right.formulas))
    pairs = list(zip(extended(left, width), extended(right, width), strict=True))
    pairs[-1] = pairs[-1][::-1]  # a number whose highest bit is 1 is negative

    def less(low: int, high: int) -> Formula:
        if high - low == 1:
            a, b = pairs[low]
            return conjunction((negation(a), b))
        middle = (low + high) // 2
        same = conjunction(negation(parity(pair)) for pair in pairs[middle:high])
        return disjunction((less(middle, high), conjunction((same, less(low, middle)))))

    found = less(0, width)
    if found.exceeds(MAX_COMPARISON_PARTS, MAX_FORMULA_DEPTH):
        return _sum(left, _inverted(right), TRUE, keep)[-1]
    return found


def _divided(left: Word, right: int, keep: Keep) -> tuple[Value, Value]:
    """Divide by a known positive number, rounding down; return the quotient and the remainder."""
    # The highest bit counts as negative: -1 is a quotient of -1 with a remainder of right - 1.
    quotient = [left.formulas[-1]]
    remainder: Value = select(left.formulas[-1], right - 1, 0)
    for formula in reversed(left.formulas[:-1]):
        twice = Word((formula, *_as_word(remainder).formulas))
        more = keep(negation(_less(twice, _as_word(right), keep)))
        rest = _sum(twice, _inverted(_as_word(right)), TRUE, keep)
        quotient.insert(0, more)
        chosen = _as_word(select(more, Word(tuple(rest)), twice))
        # A remainder is not negative, and is less than the divisor.
        remainder = word([keep(each) for each in chosen.formulas[: (right - 1).bit_length()]] + [FALSE])
    return _word(quotient), remainder
