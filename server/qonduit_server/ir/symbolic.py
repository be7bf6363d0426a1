# SPDX-License-Identifier: Apache-2.0
"""Numbers whose values are not known while a program is read: the free inputs of a sweep.

A reader computes with a `Symbolic` as with a number. What needs the number itself (a comparison, a conversion, a
remainder) raises `NotSymbolic`: such a program is read once for each point, with values.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from qiskit.circuit import ParameterExpression

#: Maximum number of operations in an expression: a loop such as x = x * x doubles it in every iteration.
_MAX_OPERATIONS: Final = 200
_SERIALS: Final = itertools.count()


class NotSymbolic(Exception):
    """Reading needs the value of a free input: not an error of the program, which is read with values instead."""


def _refuse(self: Symbolic, *_: object) -> NoReturn:
    raise NotSymbolic("the value of a free input decides what the circuit is")


class Symbolic:
    """A real number as an expression over free inputs.

    Args:
        expression: its value.
        operations: how many operations it consists of.
    """

    __slots__ = ("_serial", "expression", "operations")

    def __init__(self, expression: ParameterExpression, operations: int = 0) -> None:
        if operations > _MAX_OPERATIONS:
            raise NotSymbolic(f"an expression over free inputs has more than {_MAX_OPERATIONS} operations")
        self.expression = expression
        self.operations = operations
        self._serial = next(_SERIALS)

    def __repr__(self) -> str:
        # Readers use this text as part of a key, so it must differ between different numbers.
        return f"Symbolic #{self._serial}"

    def __hash__(self) -> int:
        return hash((Symbolic, self._serial))

    def _with(self, other: object) -> tuple[Any, int]:
        """Return an operand, and the number of operations of a result."""
        if isinstance(other, Symbolic):
            return other.expression, self.operations + other.operations + 1
        if isinstance(other, complex) and not other.imag:
            other = other.real
        if not isinstance(other, int | float):
            raise NotSymbolic("a free input is combined with a number that is not real")
        try:
            return float(other), self.operations + 1
        except OverflowError:
            raise NotSymbolic("a free input is combined with a number that is too large") from None

    def __add__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(self.expression + operand, operations)

    def __radd__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(operand + self.expression, operations)

    def __sub__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(self.expression - operand, operations)

    def __rsub__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(operand - self.expression, operations)

    def __mul__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(self.expression * operand, operations)

    def __rmul__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(operand * self.expression, operations)

    def __truediv__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(self.expression / operand, operations)

    def __rtruediv__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(operand / self.expression, operations)

    def __pow__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(self.expression**operand, operations)

    def __rpow__(self, other: object) -> Symbolic:
        operand, operations = self._with(other)
        return Symbolic(operand**self.expression, operations)

    def __neg__(self) -> Symbolic:
        return Symbolic(-self.expression, self.operations + 1)

    def __pos__(self) -> Symbolic:
        return self

    def apply(self, function: str) -> Symbolic:
        """Return a function of the number.

        Args:
            function: one of sin, cos, tan, arcsin, arccos, arctan, exp, log and sqrt.
        """
        if function == "sqrt":
            return self**0.5
        return Symbolic(getattr(self.expression, function)(), self.operations + 1)

    # What needs the number itself.
    __bool__ = __int__ = __float__ = __complex__ = __index__ = __round__ = __trunc__ = __floor__ = __ceil__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = __abs__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __invert__ = _refuse


def symbol(name: str) -> Symbolic:
    """Return a free input as a number."""
    from qiskit.circuit import Parameter

    return Symbolic(Parameter(name))


def is_symbolic(number: object) -> bool:
    """Return whether a number of a reader is a free input, or depends on one."""
    return isinstance(number, Symbolic)


def expression_of(number: object) -> Any:
    """Return what a gate holds as its parameter: the expression of a symbolic number, any other number unchanged."""
    return number.expression if isinstance(number, Symbolic) else number


def is_open(number: object) -> bool:
    """Return whether a gate's parameter is an expression over free inputs."""
    return bool(getattr(number, "parameters", ()))
