# SPDX-License-Identifier: Apache-2.0
"""Circuits with parameters, and the circuits of the points that they are bound to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit

from qonduit_server.errors import ProgramError
from qonduit_server.ir.parameters import Binder, bind
from qonduit_server.ir.symbolic import NotSymbolic
from tests.unit.ir.open_circuits import X, circuit_of, nested, read


@pytest.mark.parametrize(
    ("expression", "bad"),
    [
        (1 / X, 0.0),
        (X.log(), -1.0),
        (X**0.5, -0.25),
        (X.arcsin(), 1.5),
        (X.exp(), 1000.0),
        (X * 1e200 * X, 1e200),
    ],
)
def test_a_point_without_a_value_is_refused_by_its_number(expression: ParameterExpression, bad: float) -> None:
    quantum = QuantumCircuit(1)
    quantum.rx(expression, 0)
    binder = Binder(circuit_of(quantum))
    matrix = np.array([[0.5], [0.25], [bad], [bad]])
    for action in (binder.values, binder.bind):
        with pytest.raises(ProgramError, match=rf"point 2: .* at x = {re.escape(repr(bad))}") as caught:
            action(matrix)
        assert caught.value.reason == "INVALID_INPUT"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    circuit = read("rx(x) q[0]; ry(y) q[0];")
    with pytest.raises(ProgramError, match="point 1: 'y' must be a finite number"):
        Binder(circuit).bind(np.array([[0.1, 0.2], [0.3, bad]]))
    with pytest.raises(ProgramError, match="must be a finite number"):
        bind(circuit, {"x": 0.1, "y": bad})
    with pytest.raises(ProgramError, match=r"a point has 2 values, got an array of shape \(2, 3\)"):
        Binder(circuit).values(np.zeros((2, 3)))


def test_a_value_that_is_missing_is_named() -> None:
    circuit = read("rx(x) q[0]; ry(y) q[0];")
    with pytest.raises(ProgramError, match="'y'") as caught:
        bind(circuit, {"x": 0.1})
    assert caught.value.reason == "MISSING_INPUT"
    assert not bind(circuit, {"x": 0.1, "y": 0.2, "more": 0.3}).quantum.parameters


def test_definitions_bodies_and_phases_are_bound() -> None:
    circuit = nested()
    binder = Binder(circuit)
    assert not binder.plain
    (bound,) = binder.bind(np.array([[0.3, 0.7]]))
    assert bound.parameters == ()
    assert bound.quantum.global_phase == 0.3

    def check(block: QuantumCircuit) -> None:
        assert not block.parameters
        for instruction in block.data:
            operation = instruction.operation
            assert not any(isinstance(each, ParameterExpression) and each.parameters for each in operation.params)
            for body in getattr(operation, "blocks", ()):
                check(body)
            if operation.name in ("own", "cown"):
                check(operation.definition)

    check(bound.quantum)
    assert bound.quantum.data[2].operation.definition.global_phase == 0.6
    assert circuit.quantum.parameters  # unchanged
    with pytest.raises(ProgramError, match="point 1"):  # of an expression in a body
        binder.bind(np.array([[0.3, 0.7], [0.3, 0.0]]))


def test_slots_are_the_places_of_expressions() -> None:
    circuit = read("h q[0]; rx(x) q[0]; u3(0.3, 2 * y, x * y) q[1]; c = measure q;")
    binder = Binder(circuit, ("y", "x"))
    assert binder.plain
    assert [(each.instruction, each.parameter) for each in binder.slots] == [(1, 0), (2, 1), (2, 2)]
    np.testing.assert_allclose(binder.values(np.array([[2.0, 3.0], [0.5, 0.1]])), [[3.0, 4.0, 6.0], [0.1, 1.0, 0.05]])
    first, second = binder.bind(np.array([[2.0, 3.0], [0.5, 0.1]]))
    assert [each.params for each in first.quantum.data[1:3]] == [[3.0], [0.3, 4.0, 6.0]]
    assert [each.params for each in second.quantum.data[1:3]] == [[0.1], [0.3, 1.0, 0.05]]
    assert first.registers == circuit.registers
    assert not Binder(circuit_of(QuantumCircuit(1, global_phase=X))).plain
    circuit = read("rx(2 * x) q[0]; ry(x * y) q[1];")
    assert Binder(circuit).derivatives(np.array([[3.0, 5.0]])).tolist() == [[[2.0, 0.0], [5.0, 3.0]]]


def test_inputs_may_have_any_name() -> None:
    names = ("0", "\x000", "a[0]", "slot 0", "π", "x y")
    quantum = QuantumCircuit(1)
    for name in names:
        quantum.rx(Parameter(name) * 2, 0)
    (bound,) = Binder(circuit_of(quantum), names).bind(np.arange(6.0)[None])
    assert [each.params for each in bound.quantum.data] == [[2.0 * k] for k in range(6)]


def test_a_circuit_without_parameters_is_bound_to_itself() -> None:
    circuit = read("h q[0];")
    assert circuit.parameters == ()
    assert bind(circuit, {"x": 0.1}) is circuit
    assert [each.quantum for each in Binder(circuit, ("x", "y")).bind(np.zeros((2, 2)))] == [circuit.quantum] * 2


def test_small_numbers_are_computed_in_double_precision() -> None:
    # Qiskit takes numbers below 2e-15 for 0.
    circuit = read("rx(x * x * 1000000000.0 * 1000000000.0) q[0];")
    (bound,) = Binder(circuit, ("x",)).bind(np.array([[1e-9]]))
    assert bound.quantum.data[0].params == [pytest.approx(1.0, abs=1e-12)]
    circuit = read("ctrl(2) @ rx(x * x * 1000000000.0 * 1000000000.0) q[0], q[1], r;".replace("ctrl", "qubit r; ctrl"))
    binder = Binder(circuit, ("x",))
    next(binder.bind(np.array([[1e-3]])))
    with pytest.raises(ProgramError, match="point 1"):
        binder.bind(np.array([[1e-3], [1e-9]]))


@pytest.mark.parametrize(
    ("written", "computed"),
    [
        ("x / 1e-20", lambda x: x / 1e-20),
        ("x * 1e20 * 1e-20", lambda x: x * 1e20 * 1e-20),
        ("(x * 1e-8) * (x * 1e-8) * 1e16 * 1e-10 * 1e-10", lambda x: (x * 1e-8) * (x * 1e-8) * 1e16 * 1e-10 * 1e-10),
        ("x * 1e-9 + 3 - 3", lambda x: x * 1e-9 + 3 - 3),
    ],
)
def test_what_qiskit_simplifies_to_another_number_is_not_read(written: str, computed: Callable[[float], float]) -> None:
    try:
        circuit = read(f"rx({written}) q[0];")
    except NotSymbolic:
        return
    (bound,) = Binder(circuit, ("x",)).bind(np.array([[0.7]]))
    assert bound.quantum.data[0].params[0] == pytest.approx(computed(0.7), rel=1e-6)
