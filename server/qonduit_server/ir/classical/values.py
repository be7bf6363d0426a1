# SPDX-License-Identifier: Apache-2.0
"""Classical values while a program is read: known numbers, and values that depend on measured bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from qonduit_server.errors import ProgramError
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, choice, conjunction, constant, negation, parity
from qonduit_server.ir.limits import MAX_FORMULA_DEPTH, MAX_FORMULA_PARTS, too_large
from qonduit_server.ir.symbolic import is_symbolic

#: Maximum number of measured bits that a value may depend on; Boolean logic and words have no such limit.
MAX_TABLE_BITS: Final = 12
#: Maximum size of a variable's formulas. Longer ones are stored in a bit, so that repeated computation does not grow
#: them exponentially.
STORED_FORMULA_PARTS: Final = 1000
STORED_FORMULA_DEPTH: Final = 60
#: Angles of this many bits or more are stored in radians.
MAX_ANGLE_BITS: Final = 53
#: Maximum number of bits of an integer.
MAX_INTEGER_BITS: Final = 4096
#: Number of bits of an integer declared without a size.
INTEGER_BITS: Final = 64

Number: TypeAlias = bool | int | float | complex


@dataclass(frozen=True)
class Bits:
    """Bits, lowest first; each a formula over measured bits."""

    formulas: tuple[Formula, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Table:
    """A number for each assignment of some measured bits: `values[k]` where `bits[i]` is bit i of k."""

    bits: tuple[int, ...]
    values: tuple[Number, ...]


@dataclass(frozen=True)
class Word:
    """A whole number in two's complement, lowest bit first; each bit is a formula over measured bits.

    Sums, comparisons and bitwise logic accept it however many measured bits it depends on.
    """

    formulas: tuple[Formula, ...]


Value: TypeAlias = bool | int | float | complex | Bits | Table | Word


@dataclass(frozen=True)
class Type:
    """A classical type; `width` is 0 where the program gives none."""

    kind: str
    width: int = 0


def unsupported(message: str) -> ProgramError:
    """Return the error of a construct that this reader does not support."""
    return ProgramError("UNSUPPORTED_CONSTRUCT", message)


def wrong(message: str) -> ProgramError:
    """Return the error of a program that its language does not allow."""
    return ProgramError("SYNTAX_ERROR", message)


def checked(formula: Formula) -> Formula:
    """Return the formula; reject one that is too long: shared parts are computed at each occurrence."""
    if formula.exceeds(MAX_FORMULA_PARTS, MAX_FORMULA_DEPTH):
        raise too_large(
            f"an expression of measured bits has more than {MAX_FORMULA_PARTS} parts, "
            f"or is nested more than {MAX_FORMULA_DEPTH} deep"
        )
    return formula


def apply(function: Callable[..., Number], *values: Value) -> Value:
    """Apply a function to known numbers, or to measured ones for every assignment of their bits."""
    numbers = [number(value) for value in values]
    if not any(isinstance(each, Table) for each in numbers):
        return _compute(function, numbers)
    bits = sorted(set().union(*(each.bits for each in numbers if isinstance(each, Table))))
    return _tabulate(bits, lambda row: _compute(function, [_at(each, bits, row) for each in numbers]))


def _tabulate(bits: Sequence[int], value: Callable[[int], Number]) -> Value:
    if len(bits) > MAX_TABLE_BITS:
        raise too_large(
            f"a value depends on more than {MAX_TABLE_BITS} measured bits: only sums, differences, comparisons and "
            "bitwise logic of whole numbers may, products with a known or small one, and remainders by a known one"
        )
    values = tuple(value(row) for row in range(1 << len(bits)))
    return values[0] if all(each == values[0] for each in values) else Table(tuple(bits), values)


def _at(value: Value, bits: Sequence[int], row: int) -> Number:
    if not isinstance(value, Table):
        assert not isinstance(value, Bits | Word)
        return value
    place = sum((row >> bits.index(own) & 1) << k for k, own in enumerate(value.bits))
    return value.values[place]


def _compute(function: Callable[..., Number], numbers: Sequence[object]) -> Number:
    try:
        result = function(*numbers)
    except ZeroDivisionError:
        raise wrong("division by zero") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise wrong(f"an expression cannot be evaluated: {error}") from None
    if isinstance(result, int) and result.bit_length() > MAX_INTEGER_BITS:
        raise too_large(f"an integer has more than {MAX_INTEGER_BITS} bits")
    return result


def number(value: Value) -> Value:
    """Return bits as an unsigned number and a word as its value; other values unchanged."""
    if not isinstance(value, Bits | Word):
        return value
    weights = [1 << place for place in range(len(value.formulas))]
    if isinstance(value, Word):
        weights[-1] = -weights[-1]
    bits = sorted(measured_bits(value))
    if not bits:
        return sum(formula.number * weight for formula, weight in zip(value.formulas, weights, strict=True))
    spread = _spread(bits)

    def worth(row: int) -> int:
        outcome = spread(row)
        return sum(weight for formula, weight in zip(value.formulas, weights, strict=True) if formula.value(outcome))

    return _tabulate(bits, worth)


def measured_bits(*values: Value) -> set[int]:
    """Return the measured bits that values depend on."""
    found: set[int] = set()
    for value in values:
        if isinstance(value, Table):
            found.update(value.bits)
        elif isinstance(value, Bits | Word):
            found.update(*(formula.bits for formula in value.formulas))
    return found


def needs_words(*values: Value) -> bool:
    """Return whether a value is a word, or the values depend on too many measured bits for a table."""
    return any(isinstance(each, Word) for each in values) or len(measured_bits(*values)) > MAX_TABLE_BITS


def word(formulas: Sequence[Formula]) -> Value:
    """Return bits in two's complement as a number if all are known, else as a word of minimal width."""
    end = len(formulas)
    while end > 1 and formulas[end - 1] == formulas[end - 2]:
        end -= 1
    found = Word(tuple(formulas[:end]))
    return found if measured_bits(found) else number(found)


def as_word(value: Value) -> Word | None:
    """Return an integer as a word; None where a value may not be an integer."""
    if isinstance(value, Word):
        return value
    if isinstance(value, Bits):
        return Word((*value.formulas, FALSE))
    numbers = value.values if isinstance(value, Table) else (value,)
    if not all(isinstance(each, int) for each in numbers):
        return None
    width = 1 + max(int(each).bit_length() for each in numbers)  # type: ignore[arg-type]
    return Word(as_bits(value, width).formulas)


def extended(value: Word, width: int) -> tuple[Formula, ...]:
    """Return the lowest bits of a word, sign-extended."""
    return (value.formulas + value.formulas[-1:] * (width - len(value.formulas)))[:width]


def _spread(bits: Sequence[int]) -> Callable[[int], int]:
    """Return row k of a table as an outcome in which those bits have their values."""
    return lambda row: sum((row >> place & 1) << own for place, own in enumerate(bits))


def truth(value: Value) -> Formula:
    """Return a condition."""
    if isinstance(value, Bits | Word):
        return negation(conjunction(negation(formula) for formula in value.formulas))
    if isinstance(value, Table):
        return _formula(value.bits, tuple(bool(each) for each in value.values))
    return constant(value)


def _formula(bits: tuple[int, ...], truths: tuple[bool, ...]) -> Formula:
    """Return a truth table as a formula, by splitting on its last bit."""
    if all(truths):
        return TRUE
    if not any(truths):
        return FALSE
    half = len(truths) // 2
    return choice(bit(bits[-1]), _formula(bits[:-1], truths[half:]), _formula(bits[:-1], truths[:half]))


def of_formula(formula: Formula) -> Value:
    """Return a condition as a value, known if it is constant."""
    return bool(formula.number) if formula.kind == "constant" else Bits((formula,), scalar=True)


def as_bits(value: Value, width: int, scalar: bool = False) -> Bits:
    """Return a value as `width` bits; higher bits are cut off."""
    if isinstance(value, Bits):
        if len(value.formulas) != width:
            raise wrong(f"{width} bits are needed, but there are {len(value.formulas)}")
        return Bits(value.formulas, scalar)
    if isinstance(value, Word):
        return Bits(extended(value, width), scalar)
    if isinstance(value, Table):
        rows = [_whole(each) for each in value.values]
        return Bits(
            tuple(_formula(value.bits, tuple(bool(row >> k & 1) for row in rows)) for k in range(width)), scalar
        )
    whole = _whole(value)
    return Bits(tuple(constant(whole >> k & 1) for k in range(width)), scalar)


def angle_bits(value: Value, width: int) -> Bits:
    """Return an angle as `width` bits; the highest bit is half a turn."""
    return as_bits(apply(lambda v: round(_real(v) / math.tau * (1 << width)) % (1 << width), value), width)


def _whole(value: Number) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, complex) or not math.isfinite(value) or value != int(value):
        raise wrong("only a whole number can be taken as bits")
    return int(value)


def equal(left: Value, right: Value) -> Value:
    """Return whether two values are equal. Bits compare as unsigned numbers of any width."""
    if isinstance(right, Bits) and not isinstance(left, Bits):
        left, right = right, left
    if isinstance(left, Bits) and not isinstance(right, Table | Word):
        if isinstance(right, float) and right.is_integer():
            right = int(right)
        if isinstance(right, int):
            if right < 0 or right >> len(left.formulas):
                return False
            right = as_bits(right, len(left.formulas))
        if isinstance(right, Bits):
            width = max(len(left.formulas), len(right.formulas))
            pairs = zip(padded(left, width), padded(right, width), strict=True)
            return of_formula(conjunction(negation(parity(pair)) for pair in pairs))
    if needs_words(left, right):
        first, second = as_word(left), as_word(right)
        if first is not None and second is not None:
            width = max(len(first.formulas), len(second.formulas))
            pairs = zip(extended(first, width), extended(second, width), strict=True)
            return of_formula(checked(conjunction(negation(parity(pair)) for pair in pairs)))
    return apply(lambda a, b: a == b, left, right)


def padded(value: Bits, width: int) -> tuple[Formula, ...]:
    """Return the bits of a value, zero-extended."""
    return value.formulas + (FALSE,) * (width - len(value.formulas))


def coerce(kind: Type, value: Value) -> Value:
    """Return a value converted to a variable's type."""
    width = kind.width
    match kind.kind:
        case "bit":
            return as_bits(truth_bit(value) if not width else value, width or 1, scalar=not width)
        case "bool":
            return of_formula(truth(value))
        case ("int" | "uint") as sign if needs_words(value) and (whole := as_word(value)) is not None:
            return _cut(whole, width or INTEGER_BITS, sign == "int")
        case "int":
            return apply(lambda v: _signed(_truncated(v), width or INTEGER_BITS), value)
        case "uint":
            return apply(lambda v: _truncated(v) & (1 << (width or INTEGER_BITS)) - 1, value)
        case "float":
            return apply(_float, value)
        case "angle":
            if isinstance(value, Bits):
                size = len(value.formulas)
                return apply(lambda v: int(_real(v)) * math.tau / (1 << size), value)
            return apply(lambda v: _angle(_float(v), width), value)
        case "complex":
            return apply(complex, value)
    return value


def _cut(value: Word, width: int, signed: bool) -> Value:
    """Return a word converted to an integer of `width` bits."""
    if signed or value.formulas[-1] != FALSE or len(value.formulas) > width:
        return word(extended(value, width) + (() if signed else (FALSE,)))
    return word(value.formulas)


def truth_bit(value: Value) -> Value:
    """Return a value as a single bit."""
    if isinstance(value, Bits) and len(value.formulas) == 1:
        return value
    return Bits((truth(value),), scalar=True)


def _truncated(value: Number) -> int:
    return int(_real(value))


def _real(value: Number) -> bool | int | float:
    if isinstance(value, complex):
        raise wrong("a complex number cannot be taken as a real one")
    return value


def _float(value: Number) -> float:
    known: float = value if is_symbolic(value) else float(_real(value))  # type: ignore[assignment]
    return known


def _signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def _angle(value: float, width: int) -> float:
    if is_symbolic(value) and not 0 < width < MAX_ANGLE_BITS:
        return value
    if not math.isfinite(value):
        raise wrong("an angle is not a finite number")
    if 0 < width < MAX_ANGLE_BITS:
        return round(value / math.tau * (1 << width)) % (1 << width) * math.tau / (1 << width)
    return value
