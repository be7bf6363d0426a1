# SPDX-License-Identifier: Apache-2.0
"""Numbers whose values are not known while a program is read: the free inputs of a sweep.

A reader computes with a `Symbolic` as with a number. What needs the number itself (a comparison, a conversion, a
remainder) raises `NotSymbolic`: such a program is read once for each point, with values.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from qiskit.circuit import ParameterExpression

#: Maximum number of operations in an expression: a loop such as x = x * x doubles it in every iteration.
_MAX_OPERATIONS: Final = 1000
#: Qiskit takes numbers below 2e-15 in an expression for 0, and so x * 1e-20 for a constant.
_SMALLEST: Final = 1e-12
#: How many times an expression is compared with the numbers that it stands for, and how far they may be apart.
_SAMPLES: Final = 3
_TOLERANCE: Final = 1e-9
_SERIALS: Final = itertools.count()


class NotSymbolic(Exception):
    """Reading needs the value of a free input: not an error of the program, which is read with values instead."""


def _refuse(self: Symbolic, *_: object) -> NoReturn:
    raise NotSymbolic("the value of a free input decides what the circuit is")


class Symbolic:
    """A real number as an expression over free inputs.

    Args:
        expression: its value.
        samples: its value at a few points, by ordinary arithmetic; NaN where it has none.
        operations: how many operations it consists of.
    """

    __slots__ = ("_compared", "_samples", "_serial", "expression", "operations")

    def __init__(self, expression: ParameterExpression, samples: tuple[float, ...], operations: int = 0) -> None:
        if operations > _MAX_OPERATIONS:
            raise NotSymbolic(f"an expression over free inputs has more than {_MAX_OPERATIONS} operations")
        self.expression = expression
        self.operations = operations
        self._samples = samples
        self._compared = not operations
        self._serial = next(_SERIALS)

    def __repr__(self) -> str:
        # Readers use this text as part of a key, so it must differ between different numbers.
        return f"Symbolic #{self._serial}"

    def __hash__(self) -> int:
        return hash((Symbolic, self._serial))

    def _with(self, other: object, function: Callable[[Any, Any], Any], swapped: bool = False) -> Symbolic:
        """Apply an operator to this number and another one."""
        own, samples, operations = _operand(other)
        left, right = (own, self.expression) if swapped else (self.expression, own)
        pairs = zip(samples, self._samples, strict=True) if swapped else zip(self._samples, samples, strict=True)
        found = tuple([_computed(function, *pair) for pair in pairs])
        try:
            expression = function(left, right)
        except _faults() as error:
            raise NotSymbolic(f"an expression over free inputs has no value: {error}") from error
        return Symbolic(expression, found, self.operations + operations + 1)

    def __add__(self, other: object) -> Symbolic:
        return self._with(other, operator.add)

    def __radd__(self, other: object) -> Symbolic:
        return self._with(other, operator.add, swapped=True)

    def __sub__(self, other: object) -> Symbolic:
        return self._with(other, operator.sub)

    def __rsub__(self, other: object) -> Symbolic:
        return self._with(other, operator.sub, swapped=True)

    def __mul__(self, other: object) -> Symbolic:
        return self._with(other, operator.mul)

    def __rmul__(self, other: object) -> Symbolic:
        return self._with(other, operator.mul, swapped=True)

    def __truediv__(self, other: object) -> Symbolic:
        return self._with(other, operator.truediv)

    def __rtruediv__(self, other: object) -> Symbolic:
        return self._with(other, operator.truediv, swapped=True)

    def __pow__(self, other: object) -> Symbolic:
        return self._with(other, operator.pow)

    def __rpow__(self, other: object) -> Symbolic:
        return self._with(other, operator.pow, swapped=True)

    def __neg__(self) -> Symbolic:
        return Symbolic(-self.expression, tuple([-each for each in self._samples]), self.operations + 1)

    def __pos__(self) -> Symbolic:
        return self

    def apply(self, name: str) -> Symbolic:
        """Return a function of the number.

        Args:
            name: of the function: one of sin, cos, tan, arcsin, arccos, arctan, exp, log and sqrt.
        """
        if name == "sqrt":
            return self**0.5
        function = getattr(math, name.replace("arc", "a"))
        samples = tuple([_computed(function, each) for each in self._samples])
        return Symbolic(getattr(self.expression, name)(), samples, self.operations + 1)

    def compare(self) -> None:
        """Compare the expression with the number at the sample points.

        Raises:
            NotSymbolic: they differ, because Qiskit has simplified the expression to one with another value.
        """
        if self._compared:
            return
        for place, wanted in enumerate(self._samples):
            if math.isfinite(wanted):
                point = {each: _samples_of(each.name)[place] for each in self.expression.parameters}
                try:
                    found = self.expression.bind(point).numeric()
                except _faults():
                    found = math.nan
                if not abs(found - wanted) <= _TOLERANCE * max(1.0, abs(wanted)):
                    raise NotSymbolic("an expression over free inputs has numbers of too different sizes")
        self._compared = True

    # What needs the number itself.
    __bool__ = __int__ = __float__ = __complex__ = __index__ = __round__ = __trunc__ = __floor__ = __ceil__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = __abs__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __invert__ = _refuse


def _faults() -> tuple[type[Exception], ...]:
    """Return what Qiskit raises for an expression without a value."""
    from qiskit.exceptions import QiskitError

    return QiskitError, ArithmeticError, TypeError, ValueError


def _operand(number: object) -> tuple[Any, tuple[float, ...], int]:
    """Return an operand: what Qiskit computes with, its value at the sample points, and its number of operations."""
    if isinstance(number, Symbolic):
        return number.expression, number._samples, number.operations  # noqa: SLF001 - of the same class
    if isinstance(number, complex) and not number.imag:
        number = number.real
    if not isinstance(number, int | float):
        raise NotSymbolic("a free input is combined with a number that is not real")
    try:
        real = float(number)
    except OverflowError:
        real = math.inf
    if not math.isfinite(real) or 0 < abs(real) < _SMALLEST:
        raise NotSymbolic(f"a free input is combined with a number that is too large, or smaller than {_SMALLEST}")
    return real, (real,) * _SAMPLES, 0


def _computed(function: Callable[..., Any], *numbers: float) -> float:
    try:
        found = function(*numbers)
    except (ArithmeticError, ValueError):
        return math.nan
    return math.nan if isinstance(found, complex) else found


@lru_cache(maxsize=4096)
def _samples_of(name: str) -> tuple[float, ...]:
    """Return the sample points' values of a free input."""
    values = random.Random(name)
    return tuple([values.choice((-1, 1)) * values.uniform(0.1, 2.0) for _ in range(_SAMPLES)])


def symbol(name: str) -> Symbolic:
    """Return a free input as a number."""
    from qiskit.circuit import Parameter

    return Symbolic(Parameter(name), _samples_of(name))


def is_symbolic(number: object) -> bool:
    """Return whether a number of a reader is a free input, or depends on one."""
    return isinstance(number, Symbolic)


def expression_of(number: object) -> Any:
    """Return what a gate holds as its parameter: the expression of a symbolic number, any other number unchanged.

    Raises:
        NotSymbolic: Qiskit cannot express the number.
    """
    if not isinstance(number, Symbolic):
        return number
    number.compare()
    return number.expression


def is_open(number: object) -> bool:
    """Return whether a gate's parameter is an expression over free inputs."""
    return bool(getattr(number, "parameters", ()))
