# SPDX-License-Identifier: Apache-2.0
"""Binding: the points of a sweep as values of the parameters of a circuit that was read with free inputs.

An expression is computed for all points at once, in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.symbolic import is_open

_Column: TypeAlias = "NDArray[np.float64] | float"
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
#: How many numbers of an error's point are shown.
_SHOWN: Final = 5


@dataclass(frozen=True)
class Slot:
    """A parameter of a gate that is an expression over the circuit's parameters.

    Args:
        instruction: the gate's place in `quantum.data`.
        parameter: the parameter's place in the gate's `params`.
    """

    instruction: int
    parameter: int


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

    def values(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of the expressions.

        Args:
            matrix: points x names.

        Returns:
            Points x expressions.

        Raises:
            ProgramError: INVALID_INPUT, a value is not finite, or an expression has none; the message names the point.
        """
        matrix = _checked(matrix, self.names)
        found = np.empty((len(matrix), len(self._programs)))
        columns = matrix.T
        with np.errstate(all="ignore"):
            for place, program in enumerate(self._programs):
                found[:, place] = program.run(columns)
        finite = np.isfinite(found)
        if not finite.all():
            point, place = (int(each) for each in np.argwhere(~finite)[0])
            expression = self._expressions[self._of.index(place)]
            values = zip(self.names[:_SHOWN], matrix[point].tolist(), strict=False)
            at = ", ".join(f"{name} = {value!r}" for name, value in values)
            shown = _shortened(str(expression))
            raise ProgramError(
                "INVALID_INPUT", f"point {point}: a gate's parameter {shown} is not a finite real number at {at}"
            )
        return found[:, self._of]


class Binder:
    """A circuit with parameters, prepared for binding many points.

    Args:
        circuit: read with free inputs.
        names: the names of the columns of `values` and `bind`; by default the circuit's parameters. Others have no
            effect.

    Attributes:
        names: likewise.
        slots: the parameters of gates, in order; those in bodies of branches and loops and in definitions of gates are
            not among them.
        plain: whether only the slots depend on the parameters, so that `values` describes a point.
    """

    def __init__(self, circuit: Circuit, names: Sequence[str] | None = None) -> None:
        self.names = circuit.parameters if names is None else tuple(names)
        missing = set(circuit.parameters).difference(self.names)
        if missing:
            raise ProgramError("MISSING_INPUT", f"the program needs a value for {min(missing)!r}")
        self._circuit = circuit
        quantum = circuit.quantum
        columns = {name: place for place, name in enumerate(self.names)}
        self._parameters: list[Parameter] = list(quantum.parameters)
        self._columns = [columns[each.name] for each in self._parameters]
        slots = []
        found: list[ParameterExpression] = []
        hidden: list[ParameterExpression] = []
        self.plain = not is_open(quantum.global_phase)
        for place, instruction in enumerate(quantum.data):
            parameters = instruction.params
            if not any(map(_has_parameters, parameters)):
                continue
            operation = instruction.operation
            if getattr(operation, "_standard_gate", None) is None:
                self.plain = False
                hidden += _inside(operation)
            for number, parameter in enumerate(parameters):
                if is_open(parameter) and isinstance(parameter, ParameterExpression):
                    slots.append(Slot(place, number))
                    found.append(parameter)
        if is_open(quantum.global_phase):
            hidden.append(quantum.global_phase)
        self.slots = tuple(slots)
        self._expressions = Expressions(found, self.names)
        self._hidden = Expressions(hidden, self.names) if hidden else None

    def values(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of the slots.

        Args:
            matrix: points x names.

        Returns:
            Points x slots.

        Raises:
            ProgramError: INVALID_INPUT, see `Expressions.values`.
        """
        return self._expressions.values(matrix)

    def bind(self, matrix: NDArray[np.float64]) -> Iterator[Circuit]:
        """Yield the circuit of each point, without parameters.

        Args:
            matrix: points x names.

        Raises:
            ProgramError: INVALID_INPUT, before the first circuit; see `Expressions.values`.
        """
        matrix = _checked(matrix, self.names)
        self._expressions.values(matrix)
        if self._hidden is not None:
            self._hidden.values(matrix)
        return self._circuits(matrix)

    def _circuits(self, matrix: NDArray[np.float64]) -> Iterator[Circuit]:
        quantum = self._circuit.quantum
        for row in matrix[:, self._columns].tolist():
            bound = quantum.assign_parameters(row, flat_input=True)
            yield replace(self._circuit, quantum=bound, parameters=())


def bind(circuit: Circuit, values: Mapping[str, float]) -> Circuit:
    """Return a circuit with values for its parameters; other names have no effect.

    Raises:
        ProgramError: MISSING_INPUT, a parameter has no value; INVALID_INPUT, see `Expressions.values`.
    """
    if not circuit.parameters:
        return circuit
    binder = Binder(circuit, list(values))
    (bound,) = binder.bind(np.array([list(values.values())], dtype=np.float64))
    return bound


def _has_parameters(parameter: object) -> bool:
    """Return whether a parameter of an operation is an expression, or a body that contains some."""
    return is_open(parameter)


def _inside(operation: Any) -> list[ParameterExpression]:
    """Return the expressions in the bodies of an operation, and in its definition."""
    found: list[ParameterExpression] = []
    definition = None if hasattr(operation, "blocks") else operation.definition
    for body in (*getattr(operation, "blocks", ()), *(() if definition is None else (definition,))):
        if is_open(body.global_phase):
            found.append(body.global_phase)
        for instruction in body.data:
            if not any(map(is_open, instruction.params)):
                continue
            found += [each for each in instruction.params if is_open(each) and isinstance(each, ParameterExpression)]
            if getattr(instruction.operation, "_standard_gate", None) is None:
                found += _inside(instruction.operation)
    return found


class _Program:
    """An expression as steps of a stack machine."""

    def __init__(self, expression: ParameterExpression | float, columns: Mapping[str, int]) -> None:
        #: A function, its number of operands, and these: a column's number, a constant, or None for the last result.
        self.steps: list[tuple[Callable[..., Any], int, object, object]] = []
        self.constant = 0.0
        self._columns = columns
        if not isinstance(expression, ParameterExpression) or not expression.parameters:
            self.constant = float(expression)
            return
        if isinstance(expression, Parameter):
            self.steps = [(_BINARY["ADD"], 2, columns[expression.name], 0.0)]
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

    def _operand(self, operand: object) -> object:
        if operand is None:
            return None
        if isinstance(operand, Parameter):
            return self._columns[operand.name]
        return float(operand)  # type: ignore[arg-type]

    def run(self, columns: NDArray[np.float64]) -> _Column:
        """Compute the expression for points, given by column."""
        if not self.steps:
            return self.constant
        stack: list[Any] = []

        def value(operand: object) -> Any:
            if operand is None:
                return stack.pop()
            return columns[operand] if type(operand) is int else operand

        for function, operands, left, right in self.steps:
            if operands == 1:
                stack.append(function(value(left)))
            else:
                second = value(right)
                stack.append(function(value(left), second))
        (result,) = stack
        found: _Column = result
        return found


def _checked(matrix: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """Return a matrix of points; reject one of a wrong shape or with numbers that are not finite."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ProgramError("INVALID_INPUT", f"a point has {len(names)} values, got an array of shape {matrix.shape}")
    finite = np.isfinite(matrix)
    if not finite.all():
        point, place = (int(each) for each in np.argwhere(~finite)[0])
        raise ProgramError(
            "INVALID_INPUT", f"point {point}: {names[place]!r} must be a finite number, got {matrix[point, place]}"
        )
    return matrix


def _shortened(text: str) -> str:
    return text if len(text) < 60 else text[:60] + "..."
