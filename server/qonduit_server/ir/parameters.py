# SPDX-License-Identifier: Apache-2.0
"""Binding: the points of a sweep as values of the parameters of a circuit that was read with free inputs.

An expression is computed for all points at once, in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.exceptions import CircuitError

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
#: Begins the names of a template's parameters, as no name of an input does.
_MARK: Final = "\0"
#: How far Qiskit's value of an expression may be from that in double precision: it takes numbers below 2e-15 for 0.
_TOLERANCE: Final = 1e-12
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
            raise self._no_number(matrix, point, self._of.index(place))
        return found[:, self._of]

    def compare(self, matrix: NDArray[np.float64]) -> None:
        """Compare the values with those that Qiskit computes when it binds the expressions.

        Raises:
            ProgramError: INVALID_INPUT, an expression has no value, or Qiskit does not find it.
        """
        values = self.values(matrix)
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
                    raise self._no_number(matrix, point, place)

    def _no_number(self, matrix: NDArray[np.float64], point: int, place: int) -> ProgramError:
        values = zip(self.names[:_SHOWN], matrix[point], strict=False)
        at = ", ".join(f"{name} = {float(value)!r}" for name, value in values)
        shown = _shortened(str(self._expressions[place]))
        return ProgramError(
            "INVALID_INPUT", f"point {point}: a gate's parameter {shown} is not a finite real number at {at}"
        )


class Binder:
    """A circuit with parameters, prepared for binding many points.

    Args:
        circuit: read with free inputs.
        names: the names of the columns of `values` and `bind`; by default the circuit's parameters. Others have no
            effect.

    Attributes:
        names: likewise.
        slots: the parameters of gates that are expressions, in order. Those in bodies of branches and loops and in
            definitions of gates are not among them.
        plain: whether only the slots of standard gates depend on the parameters, so that `values` describes a point.
    """

    def __init__(self, circuit: Circuit, names: Sequence[str] | None = None) -> None:
        self.names = circuit.parameters if names is None else tuple(names)
        missing = set(circuit.parameters).difference(self.names)
        if missing:
            raise ProgramError("MISSING_INPUT", f"the program needs a value for {min(missing)!r}")
        self._circuit = circuit
        slots: list[Slot] = []
        #: The expressions of the slots.
        found: list[ParameterExpression] = []
        #: Those that Qiskit computes.
        hidden: list[ParameterExpression] = []
        self._template = _template(circuit.quantum, slots, found, hidden)
        self.slots = tuple(slots)
        self.plain = not hidden
        self._expressions = Expressions(found, self.names)
        self._hidden = Expressions(hidden, self.names)
        columns = {name: place for place, name in enumerate(self.names)}
        #: For each parameter of the template, its column among the points' values, which the slots' values follow.
        self._columns = [
            int(each.name[len(_MARK) :]) + len(columns) if each.name.startswith(_MARK) else columns[each.name]
            for each in self._template.parameters
        ]

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
        values = self._expressions.values(matrix)
        self._hidden.compare(matrix)
        return self._circuits(np.hstack((np.asarray(matrix, dtype=np.float64), values))[:, self._columns])

    def _circuits(self, rows: NDArray[np.float64]) -> Iterator[Circuit]:
        for row in rows.tolist():
            bound = self._template.assign_parameters(row, flat_input=True)
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


def _template(
    quantum: QuantumCircuit, slots: list[Slot], found: list[ParameterExpression], hidden: list[ParameterExpression]
) -> QuantumCircuit:
    """Return a circuit in which the parameters of standard gates are new ones, with the numbers of their slots.

    Collects the slots, their expressions, and the expressions that stay.
    """
    template = quantum.copy()
    if is_open(quantum.global_phase):
        hidden.append(quantum.global_phase)
    for place, instruction in enumerate(quantum.data):
        parameters = instruction.params
        if not any(map(is_open, parameters)):
            continue
        standard = instruction.is_standard_gate()
        if not standard:
            hidden += _inside(instruction.operation)
        changed = list(parameters)
        for number, parameter in enumerate(parameters):
            if isinstance(parameter, ParameterExpression) and parameter.parameters:
                changed[number] = Parameter(f"{_MARK}{len(slots)}")
                slots.append(Slot(place, number))
                found.append(parameter)
                if not standard:
                    hidden.append(parameter)
        if standard:
            operation = instruction.operation.to_mutable()
            operation.params = changed
            template.data[place] = instruction.replace(operation=operation)
    return template


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
            found += [each for each in instruction.params if isinstance(each, ParameterExpression) and is_open(each)]
            if not instruction.is_standard_gate():
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
