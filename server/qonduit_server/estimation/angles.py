# SPDX-License-Identifier: Apache-2.0
"""The angles of a circuit's gates as functions of its parameters, with their analytic derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.circuit.exceptions import CircuitError

from qonduit_server.errors import ProgramError


class NotDifferentiable(ProgramError):
    """The circuit has no derivative, or none that the method can compute; the message names the construct."""

    def __init__(self, message: str) -> None:
        super().__init__("NOT_DIFFERENTIABLE", message)


class Angles:
    """Expressions of parameters. Those that are linear, most in practice, are evaluated as one matrix product.

    Args:
        expressions: one an angle, with at least one parameter each.
        names: the parameters in the order of points; a parameter that no expression has does not change anything.

    Raises:
        NotDifferentiable: an expression has no derivative, or a parameter that is not among the names.
    """

    def __init__(self, expressions: Sequence[ParameterExpression], names: Sequence[str]) -> None:
        columns = {name: column for column, name in enumerate(names)}
        entries: list[tuple[int, int, float | ParameterExpression]] = []
        for place, expression in enumerate(expressions):
            for parameter in sorted(expression.parameters, key=lambda each: str(each.name)):
                if parameter.name not in columns:
                    raise NotDifferentiable(f"the circuit has the parameter {parameter.name!r}, which has no value")
                derivative = _derivative(expression, parameter)
                entries.append((place, columns[parameter.name], derivative))
        varying = {place for place, _, derivative in entries if not isinstance(derivative, float)}
        self._varying = [(place, expressions[place]) for place in sorted(varying)]
        #: The derivatives of angles by parameters: those that are constant, and the others.
        self._slopes: NDArray[np.float64] = np.zeros((len(expressions), len(names)))
        self._curved: list[tuple[int, int, ParameterExpression]] = []
        self._names = tuple(names)
        self._linear: NDArray[np.float64] = np.zeros((len(expressions), len(names)))
        self._offsets: NDArray[np.float64] = np.zeros(len(expressions))
        for place, column, derivative in entries:
            if not isinstance(derivative, float):
                self._curved.append((place, column, derivative))
                continue
            self._slopes[place, column] = derivative
            if place not in varying:
                self._linear[place, column] = derivative
        zeros = dict.fromkeys(names, 0.0)
        for place, expression in enumerate(expressions):
            if place not in varying and not isinstance(expression, Parameter):
                self._offsets[place] = _value(expression, zeros)

    def values(self, point: Sequence[float]) -> NDArray[np.float64]:
        """Return the angles at a point.

        Raises:
            ProgramError: an expression has no finite real value there.
        """
        found = self._offsets + self._linear @ np.asarray(point, dtype=np.float64)
        if self._varying:
            named = dict(zip(self._names, point, strict=True))
            for place, expression in self._varying:
                found[place] = _value(expression, named)
        return np.asarray(found)

    def chain(self, point: Sequence[float], derivatives: NDArray[np.float64], power: int = 1) -> NDArray[np.float64]:
        """Return derivatives by the parameters, from those by the angles (rows: observables).

        With a power of 2, return the variances of the derivatives, from those of independent derivatives by the angles.
        """
        found: NDArray[np.float64] = derivatives @ self._slopes**power
        if self._curved:
            named = dict(zip(self._names, point, strict=True))
            for place, column, slope in self._curved:
                found[:, column] += _value(slope, named) ** power * derivatives[:, place]
        return found


def _derivative(expression: ParameterExpression, parameter: Parameter) -> float | ParameterExpression:
    try:
        derivative = expression.gradient(parameter)
        if isinstance(derivative, ParameterExpression) and derivative.parameters:
            return derivative
        return float(derivative)
    except (CircuitError, RuntimeError, TypeError, ValueError) as error:
        text = str(expression)[:200]
        raise NotDifferentiable(f"the angle {text} has no derivative by {parameter.name!r}: {error}") from error


def _value(expression: ParameterExpression, named: Mapping[str, float]) -> float:
    try:
        value: Any = float(expression.bind({each: named[each.name] for each in expression.parameters}))
    except (ArithmeticError, CircuitError, TypeError, ValueError) as error:
        raise _no_value(expression) from error
    if not math.isfinite(value):
        raise _no_value(expression)
    return float(value)


def _no_value(expression: ParameterExpression) -> ProgramError:
    return ProgramError(
        "INVALID_PARAMETER", f"the angle {str(expression)[:200]} has no finite real value at this point"
    )
