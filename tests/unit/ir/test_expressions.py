# SPDX-License-Identifier: Apache-2.0
"""Expressions over parameters, and the symbolic numbers of readers that they come from."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterExpression

from qonduit_server.errors import ProgramError
from qonduit_server.ir.expressions import Expressions
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic, symbol

X, Y = Parameter("x"), Parameter("y")

#: Each expression, and what it is for x and y.
EXPRESSIONS: list[tuple[ParameterExpression, Callable[[float, float], float]]] = [
    (X, lambda x, y: x),
    (-X, lambda x, y: -x),
    (2 * X + 1, lambda x, y: 2 * x + 1),
    (1 - X, lambda x, y: 1 - x),
    (2 / X, lambda x, y: 2 / x),
    (X / Y - Y / (X + 3), lambda x, y: x / y - y / (x + 3)),
    (X**2 - Y**3, lambda x, y: x**2 - y**3),
    (2.5**X, lambda x, y: 2.5**x),
    ((X * X + 1) ** (Y / 2), lambda x, y: (x * x + 1) ** (y / 2)),
    (X.sin() * Y.cos() + X.tan(), lambda x, y: math.sin(x) * math.cos(y) + math.tan(x)),
    ((X / 9).arcsin() - (Y / 9).arccos() + X.arctan(), lambda x, y: math.asin(x / 9) - math.acos(y / 9) + math.atan(x)),
    (X.exp() + (X * X).log(), lambda x, y: math.exp(x) + math.log(x * x)),
    (abs(X) * 3 + X.conjugate(), lambda x, y: abs(x) * 3 + x),
    ((X + Y) * ((X - Y) / (X * Y)), lambda x, y: (x + y) * ((x - y) / (x * y))),
    (X - X + Y, lambda x, y: y),
    (2 - (3 - X), lambda x, y: x - 1),
    (X.subs({X: 2 * Y}) + X, lambda x, y: 2 * y + x),
]


def test_expressions_are_computed_for_all_points_at_once() -> None:
    matrix = np.random.default_rng(5).uniform(-4, 4, (50, 2))
    found = Expressions([each for each, _ in EXPRESSIONS], ("x", "y")).values(matrix)
    wanted = [[function(*row) for _, function in EXPRESSIONS] for row in matrix.tolist()]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_equal_expressions_are_told_apart_from_others() -> None:
    close = [X * (1 + 1e-14 * k) for k in range(3)] + [X + Y, Y + X, X + Y, math.pi * X, 3.14159265358979 * X]
    found = Expressions(close, ("x", "y")).values(np.array([[1.0, 2.0]]))
    assert found.tolist() == [[1.0, 1.0 + 1e-14, 1.0 + 2e-14, 3.0, 3.0, 3.0, math.pi, 3.14159265358979]]


def test_constants_are_told_apart_from_columns() -> None:
    z = Parameter("z")
    found = Expressions([2 + Y, z + Y, X * z, X * 2, X**2, X**z], ("x", "y", "z")).values(np.array([[3.0, 5.0, 7.0]]))
    assert found.tolist() == [[7.0, 12.0, 21.0, 6.0, 9.0, 2187.0]]


def test_derivatives_agree_with_differences() -> None:
    matrix = np.random.default_rng(6).uniform(0.1, 4, (20, 2))
    expressions = Expressions([*(each for each, _ in EXPRESSIONS), X - X + 1.5], ("x", "y"))
    found = expressions.derivatives(matrix)
    step = 1e-6
    for column in range(2):
        shift = np.eye(2)[column] * step
        wanted = (expressions.values(matrix + shift) - expressions.values(matrix - shift)) / (2 * step)
        np.testing.assert_allclose(found[:, :, column], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expression", [abs(X), X**0.5, X.sign()])
def test_a_point_without_a_derivative_is_refused(expression: ParameterExpression) -> None:
    with pytest.raises(ProgramError, match=r"point 1: .* has no derivative at x = 0\.0"):
        Expressions([expression], ("x",)).derivatives(np.array([[1.0], [0.0]]))


def test_columns_are_found_by_name() -> None:
    matrix = np.array([[1.0, 2.0, 3.0]])
    assert Expressions([X, Y], ("y", "unused", "x")).values(matrix).tolist() == [[3.0, 1.0]]
    assert Expressions([], ()).values(np.empty((4, 0))).shape == (4, 0)


def test_a_symbolic_number_never_stands_for_a_value() -> None:
    number: object = symbol("x")
    other = symbol("y")
    uses: list[Callable[[object], object]] = [
        bool, int, float, complex, round, abs, math.sin, math.floor, math.ceil, math.trunc, math.isfinite, range,
        lambda v: v == v, lambda v: v != 1, lambda v: v == 1.0, lambda v: v in (0, 1), lambda v: v < other,
        lambda v: v <= 2, lambda v: v % 2, lambda v: 2 % v, lambda v: v // 2, lambda v: divmod(v, 2), lambda v: v & 1,
        lambda v: v / 0, lambda v: 1 << v, lambda v: ~v, lambda v: v + 1j, lambda v: v * "a", lambda v: v + 10**400,
        lambda v: [0][v],
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(NotSymbolic):
            use(number)
    assert repr(symbol("x")) != repr(symbol("x"))


def test_arithmetic_of_symbolic_numbers_is_that_of_numbers() -> None:
    def compute(x: object) -> object:
        return -(((2 + x) * 3 - x / 4) ** 2 / (1 + 2**x) - (5 - x) * +x + 1 / x - (x - True) + x * complex(2, 0))  # type: ignore[operator]

    found = compute(symbol("x"))
    assert isinstance(found, Symbolic)
    values = Expressions([found.expression], ("x",)).values(np.array([[0.7], [-1.3]]))
    np.testing.assert_allclose(values[:, 0], [compute(0.7), compute(-1.3)], rtol=1e-14)
