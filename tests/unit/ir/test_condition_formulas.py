# SPDX-License-Identifier: Apache-2.0
"""Conditions become formulas that are true for exactly the values that satisfy Qiskit's expressions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr, types

from qonduit_server.ir.condition_formulas import bits_of_expression, condition_formula
from qonduit_server.ir.formula import Formula, bit

#: Bits 0 and 1 are the first register, bits 2 to 4 the second.
FIRST, SECOND = ClassicalRegister(2, "first"), ClassicalRegister(3, "second")
PLACES = {clbit: place for place, clbit in enumerate((*FIRST, *SECOND))}
WIDE = types.Uint(3)


def read(clbit: Clbit) -> Formula:
    return bit(PLACES[clbit])


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (expr.less, operator.lt),
        (expr.less_equal, operator.le),
        (expr.greater, operator.gt),
        (expr.greater_equal, operator.ge),
        (expr.equal, operator.eq),
        (expr.not_equal, operator.ne),
    ],
)
def test_comparisons(made: Callable[[Any, Any], expr.Expr], meant: Callable[[int, int], bool]) -> None:
    both = condition_formula(made(expr.cast(FIRST, WIDE), SECOND), read)
    known = [condition_formula(made(SECOND, number), read) for number in range(8)]
    for outcome in range(32):
        first, second = outcome & 3, outcome >> 2
        assert both.value(outcome) == meant(first, second)
        assert [formula.value(outcome) for formula in known] == [meant(second, number) for number in range(8)]


@pytest.mark.parametrize(
    ("made", "meant"),
    [
        (expr.bit_and, operator.and_),
        (expr.bit_or, operator.or_),
        (expr.bit_xor, operator.xor),
    ],
)
def test_logic_on_bits(made: Callable[[Any, Any], expr.Expr], meant: Callable[[int, int], int]) -> None:
    formulas = bits_of_expression(made(expr.cast(FIRST, WIDE), SECOND), read)
    for outcome in range(32):
        value = sum(formula.value(outcome) << place for place, formula in enumerate(formulas))
        assert value == meant(outcome & 3, outcome >> 2)


@pytest.mark.parametrize(("register", "shift"), [(FIRST, 0), (SECOND, 2)])
def test_registers_are_compared_with_numbers(register: ClassicalRegister, shift: int) -> None:
    for number in range(1 << register.size):
        formula = condition_formula((register, number), read)
        for outcome in range(32):
            assert formula.value(outcome) == ((outcome >> shift) % (1 << register.size) == number)
    assert condition_formula((register, 1 << register.size), read).value(31) == 0
