# SPDX-License-Identifier: Apache-2.0
"""Binding: the points of a sweep as values of the parameters of a circuit that was read with free inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.expressions import Expressions
from qonduit_server.ir.symbolic import is_open

#: Begins the names of a template's own parameters, as no name of an input does.
_MARK: Final = f"{uuid4().hex} "
#: How many points are checked at a time: 100,000 points of 1,000 angles would take 0.8 GB.
_BLOCK: Final = 512


@dataclass(frozen=True)
class Slot:
    """A parameter of a gate that is an expression over the circuit's parameters.

    Args:
        instruction: the gate's place in `quantum.data`.
        parameter: the parameter's place in the gate's `params`.
    """

    instruction: int
    parameter: int


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

    def derivatives(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the derivatives of the slots by the names: points x slots x names, see `Expressions.derivatives`."""
        return self._expressions.derivatives(matrix)

    def check(self, matrix: NDArray[np.float64]) -> None:
        """Reject points at which an expression of the circuit has no value.

        Args:
            matrix: points x names.

        Raises:
            ProgramError: INVALID_INPUT, see `Expressions.values`.
        """
        for first in range(0, len(matrix), _BLOCK):
            block = matrix[first : first + _BLOCK]
            self._expressions.values(block, first)
            self._hidden.compare(block, first)

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
