# SPDX-License-Identifier: Apache-2.0
"""Constants, functions and operators of OpenQASM 3, applied to values."""

from __future__ import annotations

import cmath
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Final

from qonduit_server.ir.classical import words
from qonduit_server.ir.classical.values import (
    MAX_INTEGER_BITS,
    Bits,
    Number,
    Table,
    Value,
    Word,
    apply,
    as_bits,
    checked,
    equal,
    needs_words,
    of_formula,
    padded,
    truth,
    wrong,
)
from qonduit_server.ir.formula import FALSE, Formula, conjunction, disjunction, negation, parity
from qonduit_server.ir.limits import too_large
from qonduit_server.ir.symbolic import Symbolic

CONSTANTS: Final[dict[str, float]] = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent < 0:
            return float(base) ** exponent
        if abs(base) > 1 and base.bit_length() * exponent > 2 * MAX_INTEGER_BITS:
            raise too_large(f"an integer has more than {MAX_INTEGER_BITS} bits")
    return base**exponent


def _divided(left: Number, right: Number) -> Number:
    # An integer where the division is exact; otherwise a fraction, which integer variables truncate.
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _shifted(left: Number, right: Number) -> Number:
    if not isinstance(left, int) or not isinstance(right, int) or right < 0:
        raise wrong("<< needs whole numbers")
    if right > MAX_INTEGER_BITS:
        raise too_large(f"an integer has more than {MAX_INTEGER_BITS} bits")
    return left << right


def _whole(function: Callable[[int, int], int]) -> Callable[[Number, Number], Number]:
    def on_whole(left: Number, right: Number) -> Number:
        if not isinstance(left, int) or not isinstance(right, int):
            raise wrong("a bitwise operation needs whole numbers or bits")
        return function(left, right)

    return on_whole


def _analytic(name: str, function: Callable[..., Number]) -> Callable[..., Number]:
    """Return a function that also takes a free input."""

    def applied(*values: Any) -> Number:
        if len(values) == 1 and isinstance(values[0], Symbolic):
            return values[0].apply(name)  # type: ignore[return-value]
        return function(*values)

    return applied


FUNCTIONS: Final[dict[str, Callable[..., Number]]] = {
    "arccos": _analytic("arccos", math.acos),
    "arcsin": _analytic("arcsin", math.asin),
    "arctan": _analytic("arctan", math.atan),
    "ceiling": math.ceil,
    "floor": math.floor,
    "cos": _analytic("cos", math.cos),
    "sin": _analytic("sin", math.sin),
    "tan": _analytic("tan", math.tan),
    "exp": _analytic("exp", lambda value: cmath.exp(value) if isinstance(value, complex) else math.exp(value)),
    "log": _analytic("log", math.log),
    "ln": _analytic("log", math.log),
    "sqrt": _analytic("sqrt", lambda value: cmath.sqrt(value) if isinstance(value, complex) else math.sqrt(value)),
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: _power(a, b),
    "real": lambda value: complex(value).real,
    "imag": lambda value: complex(value).imag,
}
_ARITHMETIC: Final[dict[str, Callable[..., Number]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
    "%": operator.mod,
    "**": _power,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "&": _whole(operator.and_),
    "|": _whole(operator.or_),
    "^": _whole(operator.xor),
    "<<": _shifted,
    ">>": _whole(lambda a, b: a >> min(b, MAX_INTEGER_BITS) if b >= 0 else 0),
}
_JOINS: Final[dict[str, Callable[[Sequence[Formula]], Formula]]] = {
    "&": conjunction,
    "|": disjunction,
    "^": parity,
}


def _rounded_down(left: Number, right: Number) -> Number:
    return left // right if isinstance(left, int) and isinstance(right, int) else left / right


def _unchanged(formula: Formula) -> Formula:
    return formula


def binary(
    sign: str, left: Value, right: Value, division_rounds_down: bool = False, keep: words.Keep = _unchanged
) -> Value:
    """Apply a binary operator; operations on bits stay bitwise logic where possible.

    Args:
        sign: as OpenQASM 3 writes it.
        left: the first operand.
        right: the second operand.
        division_rounds_down: whether / of two integers rounds down.
        keep: stores long formulas of sums in bits; see `words.Keep`.
    """
    if sign == "/" and division_rounds_down:
        found = _on_words(sign, left, right, keep, True)
        return apply(_rounded_down, left, right) if found is None else found
    if sign in ("&&", "||"):
        join = conjunction if sign == "&&" else disjunction
        return of_formula(checked(join((truth(left), truth(right)))))
    if sign in ("==", "!="):
        same = equal(left, right)
        return same if sign == "==" else of_formula(negation(truth(same)))
    if isinstance(left, Bits) or isinstance(right, Bits):
        if sign in _JOINS and not isinstance(left, Table | Word) and not isinstance(right, Table | Word):
            width = max(len(each.formulas) for each in (left, right) if isinstance(each, Bits))
            rows = [
                padded(each, width) if isinstance(each, Bits) else as_bits(each, width).formulas
                for each in (left, right)
            ]
            return Bits(
                tuple(checked(_JOINS[sign](pair)) for pair in zip(*rows, strict=True)),
                scalar=all(not isinstance(each, Bits) or each.scalar for each in (left, right)),
            )
        if sign in ("<<", ">>") and isinstance(left, Bits) and isinstance(right, int) and not left.scalar:
            width = len(left.formulas)
            by = min(max(right, 0), width)
            if sign == "<<":
                return Bits((FALSE,) * by + left.formulas[: width - by])
            return Bits(left.formulas[by:] + (FALSE,) * by)
    function = _ARITHMETIC.get(sign)
    if function is None:
        raise wrong(f"{sign} is not a binary operator")
    found = _on_words(sign, left, right, keep, False)
    return apply(function, left, right) if found is None else found


def _on_words(sign: str, left: Value, right: Value, keep: words.Keep, division_rounds_down: bool) -> Value | None:
    """Compute bit by bit where this is necessary and possible; else return None."""
    return words.binary(sign, left, right, keep, division_rounds_down) if needs_words(left, right) else None
