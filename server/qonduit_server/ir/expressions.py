# SPDX-License-Identifier: Apache-2.0
"""Expressions of Qiskit, computed in double precision for all points of a sweep at once, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.circuit.exceptions import CircuitError

from qonduit_server.errors import ProgramError

#: The operand of a step: a column's number, a constant, or None for the last result.
_Operand: TypeAlias = int | tuple[float] | None
#: Names of Qiskit's operations on the two operands of a step; the second one was pushed last.
_BINARY: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": np.divide,
    "POW": np.float_power,
    "RSUB": lambda a, b: b - a,
    "RDIV": lambda a, b: np.divide(b, a),
    "RPOW": lambda a, b: np.float_power(b, a),
}
_UNARY: Final[Mapping[str, Callable[[Any], Any]]] = {
    "SIN": np.sin,
    "COS": np.cos,
    "TAN": np.tan,
    "ASIN": np.arcsin,
    "ACOS": np.arccos,
    "ATAN": np.arctan,
    "EXP": np.exp,
    "LOG": np.log,
    "ABS": np.abs,
    "SIGN": np.sign,
    "CONJ": lambda a: a,
}
#: The partial derivatives of a function by its operands, from these and its value.
_PARTIALS: Final[Mapping[np.ufunc, Callable[..., tuple[Any, ...]]]] = {
    np.add: lambda a, b, f: (1.0, 1.0),
    np.subtract: lambda a, b, f: (1.0, -1.0),
    np.multiply: lambda a, b, f: (b, a),
    np.divide: lambda a, b, f: (1 / b, -f / b),
    np.float_power: lambda a, b, f: (b * np.float_power(a, b - 1), f * np.log(a)),
    np.sin: lambda a, f: (np.cos(a),),
    np.cos: lambda a, f: (-np.sin(a),),
    np.tan: lambda a, f: (1 + f * f,),
    np.arcsin: lambda a, f: (1 / np.sqrt(1 - a * a),),
    np.arccos: lambda a, f: (-1 / np.sqrt(1 - a * a),),
    np.arctan: lambda a, f: (1 / (1 + a * a),),
    np.exp: lambda a, f: (f,),
    np.log: lambda a, f: (1 / a,),
    np.absolute: lambda a, f: (np.where(a == 0, np.nan, np.sign(a)),),
    np.sign: lambda a, f: (np.where(a == 0, np.nan, 0.0),),
}
#: How far Qiskit's value of an expression may be from that in double precision: it takes numbers below 2e-15 for 0.
_TOLERANCE: Final = 1e-12
#: How many numbers of an error's point are shown.
_SHOWN: Final = 5


class Expressions:
    """Expressions over parameters, computed for many points at once.

    Args:
        expressions: expressions of Qiskit, or numbers.
        names: the parameters, in the order of a point's values; each that an expression depends on.
    """

    def __init__(self, expressions: Sequence[ParameterExpression | float], names: Sequence[str]) -> None:
        columns = {name: place for place, name in enumerate(names)}
        self.names = tuple(names)
        self._expressions = list(expressions)
        programs: dict[object, int] = {}
        self._programs: list[_Program] = []
        self._of: list[int] = []
        for each in expressions:
            program = _Program(each, columns)
            # Not by the expressions themselves: the hash of some raises an error in Qiskit 2.6.
            place = programs.setdefault((program.constant, *program.steps), len(self._programs))
            if place == len(self._programs):
                self._programs.append(program)
            self._of.append(place)
        #: The programs that are parameters, and their columns.
        copied = [(place, each.column) for place, each in enumerate(self._programs) if each.column is not None]
        self._copies, self._copied = [place for place, _ in copied], [column for _, column in copied]
        self._computed = [(place, each) for place, each in enumerate(self._programs) if each.column is None]

    def values(self, matrix: NDArray[np.float64], first: int = 0) -> NDArray[np.float64]:
        """Return the values of the expressions.

        Args:
            matrix: points x names.
            first: the number of the first point, for messages.

        Returns:
            Points x expressions.

        Raises:
            ProgramError: INVALID_INPUT, a value is not finite, or an expression has none; the message names the point.
        """
        matrix = _checked(matrix, self.names, first)
        found = np.empty((len(matrix), len(self._programs)))
        if self._copies:
            found[:, self._copies] = matrix[:, self._copied]
        columns = matrix.T
        with np.errstate(all="ignore"):
            for place, program in self._computed:
                found[:, place] = program.run(columns)
        finite = np.isfinite(found)
        if not finite.all():
            point, place = (int(each) for each in np.argwhere(~finite)[0])
            raise self._no_number(matrix, point, self._of.index(place), first=first)
        return found[:, self._of]

    def derivatives(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the expressions by the parameters.

        Args:
            matrix: points x names.

        Returns:
            Points x expressions x names.

        Raises:
            ProgramError: INVALID_INPUT, as for `values`; or an expression has no derivative at a point.
        """
        matrix = _checked(matrix, self.names)
        found = np.zeros((len(matrix), len(self._programs), len(self.names)))
        columns = [_Dual(column, {place: 1.0}) for place, column in enumerate(matrix.T)]
        with np.errstate(all="ignore"):
            for place, program in enumerate(self._programs):
                result = program.run(columns)
                for column, slope in result.slopes.items() if isinstance(result, _Dual) else ():
                    found[:, place, column] = slope
        finite = np.isfinite(found)
        if not finite.all():
            point, place, _ = (int(each) for each in np.argwhere(~finite)[0])
            raise self._no_number(matrix, point, self._of.index(place), "has no derivative")
        return found[:, self._of]

    def compare(self, matrix: NDArray[np.float64], first: int = 0) -> None:
        """Compare the values with those that Qiskit computes when it binds the expressions.

        The arguments are those of `values`.

        Raises:
            ProgramError: INVALID_INPUT, an expression has no value, or Qiskit does not find it.
        """
        values = self.values(matrix, first)
        for place, expression in enumerate(self._expressions):
            if not isinstance(expression, ParameterExpression):
                continue
            columns = [(each, self.names.index(each.name)) for each in expression.parameters]
            for point, row in enumerate(np.asarray(matrix, dtype=np.float64).tolist()):
                wanted = values[point, place]
                try:
                    found = expression.bind({each: row[column] for each, column in columns}).numeric()
                except (CircuitError, ArithmeticError, TypeError, ValueError):
                    found = math.nan
                if not abs(found - wanted) <= _TOLERANCE * max(1.0, abs(wanted)):
                    raise self._no_number(matrix, point, place, first=first)

    def _no_number(
        self,
        matrix: NDArray[np.float64],
        point: int,
        place: int,
        what: str = "is not a finite real number",
        first: int = 0,
    ) -> ProgramError:
        values = zip(self.names[:_SHOWN], matrix[point], strict=False)
        at = ", ".join(f"{name} = {float(value)!r}" for name, value in values)
        shown = _shortened(str(self._expressions[place]))
        return ProgramError("INVALID_INPUT", f"point {first + point}: a gate's parameter {shown} {what} at {at}")


class _Program:
    """An expression as steps of a stack machine."""

    def __init__(self, expression: ParameterExpression | float, columns: Mapping[str, int]) -> None:
        #: A function, its number of operands, and these.
        self.steps: list[tuple[Callable[..., Any], int, _Operand, _Operand]] = []
        self.constant = 0.0
        #: The column that the expression is, if it is a parameter.
        self.column: int | None = None
        self._columns = columns
        if not isinstance(expression, ParameterExpression) or not expression.parameters:
            self.constant = float(expression)
            return
        if isinstance(expression, Parameter):
            self.column = columns[expression.name]
            self.steps = [(_BINARY["ADD"], 2, self.column, (0.0,))]
            return
        for step in expression._qpy_replay:  # noqa: SLF001 - what QPY writes; Qiskit has no public way to walk it
            name = str(step.op).rpartition(".")[2]
            binary = _BINARY.get(name)
            if binary is not None:
                self.steps.append((binary, 2, self._operand(step.lhs), self._operand(step.rhs)))
            elif name in _UNARY:
                self.steps.append((_UNARY[name], 1, self._operand(step.lhs), None))
            else:
                raise ProgramError(
                    "UNSUPPORTED_CONSTRUCT", f"a gate's parameter contains {name}, which cannot be bound: simplify it"
                )

    def _operand(self, operand: object) -> _Operand:
        if operand is None:
            return None
        if isinstance(operand, Parameter):
            return self._columns[operand.name]
        number = complex(operand)  # type: ignore[call-overload]
        if number.imag:
            raise ProgramError("UNSUPPORTED_CONSTRUCT", f"a gate's parameter contains the complex number {number}")
        return (number.real,)

    def run(self, columns: Sequence[Any]) -> Any:
        """Compute the expression for points, given by column: arrays, or dual numbers."""
        if not self.steps:
            return self.constant
        stack: list[Any] = []

        def value(operand: _Operand) -> Any:
            if operand is None:
                return stack.pop()
            return operand[0] if isinstance(operand, tuple) else columns[operand]

        for function, operands, left, right in self.steps:
            if operands == 1:
                stack.append(function(value(left)))
            else:
                second = value(right)
                stack.append(function(value(left), second))
        (result,) = stack
        return result


class _Dual(NDArrayOperatorsMixin):
    """The value of an expression for all points, with its derivatives by the columns that it depends on."""

    def __init__(self, value: Any, slopes: Mapping[int, Any]) -> None:
        self.value = value
        self.slopes = slopes

    def __array_ufunc__(self, function: np.ufunc, _method: str, *inputs: Any, **_: object) -> _Dual:
        """Apply a function of NumPy by the chain rule."""
        values = [each.value if isinstance(each, _Dual) else each for each in inputs]
        found = function(*values)
        slopes: dict[int, Any] = {}
        for each, partial in zip(inputs, _PARTIALS[function](*values, found), strict=True):
            if isinstance(each, _Dual):
                for column, slope in each.slopes.items():
                    slopes[column] = slopes.get(column, 0.0) + partial * slope
        return _Dual(found, slopes)


def _checked(matrix: NDArray[np.float64], names: Sequence[str], first: int = 0) -> NDArray[np.float64]:
    """Return a matrix of points; reject one of a wrong shape or with numbers that are not finite."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ProgramError("INVALID_INPUT", f"a point has {len(names)} values, got an array of shape {matrix.shape}")
    finite = np.isfinite(matrix)
    if not finite.all():
        point, place = (int(each) for each in np.argwhere(~finite)[0])
        raise ProgramError(
            "INVALID_INPUT",
            f"point {first + point}: {names[place]!r} must be a finite number, got {matrix[point, place]}",
        )
    return matrix


def _shortened(text: str) -> str:
    return text if len(text) < 60 else text[:60] + "..."
