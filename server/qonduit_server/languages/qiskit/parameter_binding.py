# SPDX-License-Identifier: Apache-2.0
"""Binds the parameters of Qiskit's circuits to a job's inputs."""

from __future__ import annotations

from collections.abc import Mapping

from qiskit.circuit import Parameter, ParameterVectorElement, QuantumCircuit
from qiskit.circuit.exceptions import CircuitError

from qonduit_server.errors import ProgramError
from qonduit_server.ir.symbolic import is_symbolic
from qonduit_server.languages.program_inputs import SweptInputs, mismatch, missing, number
from qonduit_server.languages.signatures import Inputs


def bound(circuit: QuantumCircuit, inputs: Inputs) -> tuple[QuantumCircuit, set[str]]:
    """Return a circuit with bound parameters, and the names of the used inputs.

    Free inputs stay parameters. An element of a vector takes its value from its own name, as in "a[0]", or from the
    list under the vector's name.

    Raises:
        ProgramError: MISSING_INPUT or INVALID_INPUT; SYNTAX_ERROR, an expression is undefined for these numbers.
    """
    used: set[str] = set()
    values = {parameter: _value(parameter, inputs, used) for parameter in circuit.parameters}
    if isinstance(inputs, SweptInputs):
        # The circuit need not use all elements of a vector.
        vectors = {each.vector for each in values if isinstance(each, ParameterVectorElement)}
        used.update(element.name for vector in vectors for element in vector)
        values = {parameter: value for parameter, value in values.items() if not is_symbolic(value)}
    return (assigned(circuit, values) if values else circuit), used


def assigned(circuit: QuantumCircuit, values: Mapping[Parameter, float]) -> QuantumCircuit:
    """Return a circuit with some of its parameters replaced by numbers."""
    try:
        return circuit.assign_parameters(values)
    except (CircuitError, ArithmeticError, ValueError, TypeError) as error:
        raise ProgramError("SYNTAX_ERROR", f"an expression with parameters has no value: {error}") from None


def _value(parameter: Parameter, inputs: Inputs, used: set[str]) -> float:
    name = parameter.name
    if name in inputs:
        used.add(name)
        return number(name, inputs[name])
    if isinstance(parameter, ParameterVectorElement) and parameter.vector.name in inputs:
        name = parameter.vector.name
        used.add(name)
        given = inputs[name]
        if not isinstance(given, list) or len(given) != len(parameter.vector):
            raise mismatch(name, f"a list of {len(parameter.vector)} numbers", given)
        return number(parameter.name, given[parameter.index])
    raise missing(name)
