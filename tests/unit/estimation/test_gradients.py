# SPDX-License-Identifier: Apache-2.0
"""Adjoint differentiation and parameter shift, against each other, finite differences and dense generators."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import AnnotatedOperation, ControlModifier, Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.quantum_info import SparsePauliOp, Statevector

from qonduit_server.errors import ProgramError
from qonduit_server.estimation import adjoint
from qonduit_server.estimation.adjoint import AdjointCircuit
from qonduit_server.estimation.angles import NotDifferentiable
from qonduit_server.estimation.exact_values import expectation
from qonduit_server.estimation.parameter_shift import parameter_shift
from qonduit_server.estimation.rotation_gates import GENERATORS
from qonduit_server.pauli_sums import PauliSum, parse
from tests.unit.estimation.dense_observables import random_sum

A, B, C = Parameter("a"), Parameter("b"), Parameter("c")
NAMES = ["a", "b", "c"]
POINT = [0.7, -1.3, 0.4]
#: Derivatives along it differ if those by any parameter do.
DIRECTION = np.array([0.8, -0.5, 0.3])


def values_at(circuit: QuantumCircuit, names: Sequence[str], point: Sequence[float], sums: Sequence[PauliSum]) -> Any:
    """The exact values of a bound circuit, by Qiskit's statevector."""
    named = dict(zip(names, point, strict=True))
    bound = circuit.assign_parameters({each: named[each.name] for each in circuit.parameters})
    bound = bound.remove_final_measurements(inplace=False)
    return expectation(Statevector(bound).data, sums)[0]


def finite_difference(circuit: QuantumCircuit, point: Sequence[float], sums: Sequence[PauliSum]) -> Any:
    """The derivatives along `DIRECTION`."""
    step = 1e-5
    plus, minus = (values_at(circuit, NAMES, point + sign * step * DIRECTION, sums) for sign in (1, -1))
    return (plus - minus) / (2 * step)


def shifted(circuit: QuantumCircuit, names: Sequence[str], point: Sequence[float], sums: Sequence[PauliSum]) -> Any:
    shift = parameter_shift(circuit, names)
    assert sorted(each.name for each in shift.circuit.parameters) == sorted(shift.names)
    found = np.array([values_at(shift.circuit, shift.names, each, sums) for each in shift.points(point)])
    assert len(found) == shift.num_evaluations
    return found[0], shift.gradients(point, found)


def scrambled(qubits: int, add: Callable[[QuantumCircuit], object]) -> QuantumCircuit:
    """The operation under test between gates that make all values depend on it."""
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.u(0.3 + qubit, 0.8 - qubit, 1.1, qubit)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    add(circuit)
    circuit.barrier()
    for qubit in range(qubits):
        circuit.u(1.3 - qubit, 0.2, 0.7 * qubit, qubit)
    for qubit in range(qubits - 1):
        circuit.cz(qubit, qubit + 1)
    return circuit


def custom_gate() -> Any:
    inner = QuantumCircuit(2, name="mine", global_phase=A)
    inner.rx(A + B, 0)
    inner.cx(0, 1)
    inner.ry(2 * B, 1)
    return inner.to_gate()


GATES: list[Callable[[QuantumCircuit], object]] = [
    lambda circuit: circuit.rx(A, 0),
    lambda circuit: circuit.ry(A * B, 1),
    lambda circuit: circuit.rz(2 * A - B / 3 + 0.5, 2),
    lambda circuit: circuit.p(A.sin() + B**2, 0),
    lambda circuit: circuit.u(A, B, C, 1),
    lambda circuit: circuit.append(qk.U2Gate(A, B), [2]),
    lambda circuit: circuit.append(qk.U3Gate(A, 0.3, A), [0]),
    lambda circuit: circuit.append(qk.U1Gate(A), [0]),
    lambda circuit: circuit.r(A, B, 1),
    lambda circuit: circuit.rxx(A, 0, 2),
    lambda circuit: circuit.ryy(A, 2, 1),
    lambda circuit: circuit.rzz(A, 1, 0),
    lambda circuit: circuit.rzx(A, 0, 1),
    lambda circuit: circuit.rzx(A, 2, 0),
    lambda circuit: circuit.crx(A, 0, 1),
    lambda circuit: circuit.cry(A, 2, 0),
    lambda circuit: circuit.crz(A, 1, 2),
    lambda circuit: circuit.cp(A, 0, 2),
    lambda circuit: circuit.append(qk.CRXGate(A, ctrl_state=0), [1, 0]),
    lambda circuit: circuit.append(qk.CPhaseGate(A, ctrl_state=0), [1, 0]),
    lambda circuit: circuit.cu(A, B, C, A, 0, 2),
    lambda circuit: circuit.append(qk.CU1Gate(A), [0, 1]),
    lambda circuit: circuit.append(qk.CU3Gate(A, B, C), [0, 1]),
    lambda circuit: circuit.append(qk.XXPlusYYGate(A, B), [0, 1]),
    lambda circuit: circuit.append(qk.XXMinusYYGate(A, B), [2, 1]),
    lambda circuit: circuit.mcp(A, [0, 1], 2),
    lambda circuit: circuit.append(qk.RYGate(A).control(2, annotated=False), [0, 1, 2]),
    lambda circuit: circuit.append(custom_gate(), [2, 0]),
    lambda circuit: circuit.append(custom_gate().inverse(), [1, 0]),
    lambda circuit: (circuit.rx(A, 0), circuit.ry(A, 0), circuit.rz(B, 0), circuit.rx(-A, 1), circuit.cx(1, 2)),
    lambda circuit: (circuit.ccx(0, 1, 2), circuit.rx(C, 2), circuit.swap(0, 2), circuit.t(1), circuit.sx(0)),
    lambda circuit: (circuit.append(qk.GlobalPhaseGate(A), []), circuit.rx(B, 0)),
    lambda circuit: circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"]), time=A), [0, 2]),
    lambda circuit: circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["XY", "ZZ"]), time=A).definition, [1, 2]),
    lambda circuit: circuit.append(qk.RXGate(A).power(2), [0]),
    lambda circuit: (circuit.mcx([0, 1], 2), circuit.unitary(np.eye(4)[::-1], [0, 2]), circuit.rx(A, 2)),
    lambda circuit: None,
]


@pytest.mark.parametrize("place", range(len(GATES)))
def test_gradients_are_those_of_finite_differences(place: int) -> None:
    circuit = scrambled(3, GATES[place])
    sums = [random_sum(3, 20, 1), parse("Z0*Z1 - 2*X2 + 1"), parse("3")]
    values, gradients, *_ = AdjointCircuit(circuit, NAMES).gradients(POINT, sums)
    np.testing.assert_allclose(values, values_at(circuit, NAMES, POINT, sums), atol=1e-12)
    np.testing.assert_allclose(gradients @ DIRECTION, finite_difference(circuit, POINT, sums), atol=2e-8)
    value, shift = shifted(circuit, NAMES, POINT, sums)
    np.testing.assert_allclose(value, values, atol=1e-12)
    np.testing.assert_allclose(shift, gradients, atol=1e-12)


def test_measurements_at_the_end_are_ignored() -> None:
    circuit = scrambled(2, GATES[0])
    expected = AdjointCircuit(circuit, NAMES).gradients(POINT, [parse("X0*Y1")])
    circuit.measure_all()
    for one, other in zip(AdjointCircuit(circuit, NAMES).gradients(POINT, [parse("X0*Y1")]), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_initial_states_are_prepared() -> None:
    circuit = QuantumCircuit(2)
    circuit.reset(0)
    circuit.initialize([0.6, 0, 0, 0.8], [0, 1])
    circuit.rx(A, 0)
    prepared = QuantumCircuit(2)
    prepared.prepare_state([0.6, 0, 0, 0.8], [0, 1])
    prepared.rx(A, 0)
    found, expected = (
        AdjointCircuit(each, ["a"]).gradients([0.4], [parse("Z0 + Y0*X1")]) for each in (circuit, prepared)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert abs(found[1][0, 0]) > 0.1


def test_every_generator_is_the_derivative_of_its_gate() -> None:
    for kind, generator in GENERATORS.items():
        plus, at, minus = (kind(0.4 + shift).to_matrix() for shift in (1e-5, 0, -1e-5))
        np.testing.assert_allclose((plus - minus) / 2e-5, 1j * generator @ at, atol=1e-9, err_msg=str(kind))


def test_array_elements_are_parameters_of_their_names() -> None:
    vector = ParameterVector("t", 3)
    circuit = QuantumCircuit(1)
    circuit.rx(vector[2], 0)
    circuit.rx(2 * vector[0], 0)
    names = ["t[0]", "t[1]", "t[2]", "unused"]
    values, gradients, *_ = AdjointCircuit(circuit, names).gradients([0.1, 5.0, 0.3, 9.0], [parse("Z0")])
    np.testing.assert_allclose(values, [np.cos(0.5)])
    np.testing.assert_allclose(gradients, [[-2 * np.sin(0.5), 0, -np.sin(0.5), 0]], atol=1e-14)


def test_many_observables_take_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, sums = scrambled(3, GATES[4]), [random_sum(3, 5, seed) for seed in range(7)]
    found = AdjointCircuit(circuit, NAMES).gradients(POINT, sums)
    monkeypatch.setattr(adjoint, "_MEMORY", 300)
    again = AdjointCircuit(circuit, NAMES).gradients(POINT, sums)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_points_an_angle_and_four_for_controlled_rotations() -> None:
    circuit = QuantumCircuit(2)
    circuit.u(A, B, 0.3, 0)
    circuit.crx(A, 0, 1)
    circuit.rx(0.5, 0)
    shift = parameter_shift(circuit, NAMES)
    assert shift.num_evaluations == 1 + 2 + 2 + 4
    np.testing.assert_allclose(shift.points(POINT)[0], [0.7, -1.3, 0.7])
    assert shift.circuit.count_ops() == {"u": 1, "crx": 1, "rx": 1}


def test_shifted_circuits_keep_channels_measurements_and_resets() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.rx(A, 0)
    with circuit.if_test((0, 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    assert parameter_shift(circuit, ["a"]).circuit.count_ops() == circuit.count_ops()


def test_errors_of_shifted_values_add_up() -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(2 * A, 0)
    circuit.ry(A, 0)
    shift = parameter_shift(circuit, ["a"])
    errors = np.array([[9.0], [0.1], [0.2], [0.3], [0.4]])
    expected = np.sqrt(4 * (0.05**2 + 0.1**2) + 0.15**2 + 0.2**2)
    np.testing.assert_allclose(shift.standard_errors([0.3], errors), [[expected]])


def conditional() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):
        circuit.rx(A, 1)
    return circuit


def measured_within() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(A, 0)
    circuit.measure(0, 0)
    circuit.rx(A, 0)
    return circuit


def reset_within() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(A, 0)
    circuit.reset(0)
    return circuit


def opaque() -> QuantumCircuit:
    from qiskit.circuit import Gate

    circuit = QuantumCircuit(1)
    circuit.append(Gate("secret", 1, [A]), [0])
    return circuit


def annotated() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(AnnotatedOperation(qk.RXGate(A), ControlModifier(1)), [0, 1])
    return circuit


def initialized_late() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(A, 0)
    circuit.initialize([0, 1], 0)
    return circuit


def rotation_vector() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rv(A, B, 0.1, 0)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (conditional(), "the program has operations conditioned on measured bits: use parameter shift"),
        (measured_within(), "the program has measurements within a circuit"),
        (reset_within(), "the program has resets within a circuit"),
        (opaque(), "the operation 'secret' has no derivative"),
        (rotation_vector(), "the gate 'rv' has no definition with parameters"),
        (annotated(), "the operation 'annotated' is no gate: expand it in the program"),
        (initialized_late(), "the program resets a qubit that gates have acted on: use parameter shift"),
    ],
)
def test_circuits_without_derivative_are_refused_with_the_construct(circuit: QuantumCircuit, message: str) -> None:
    with pytest.raises(NotDifferentiable, match=message) as raised:
        AdjointCircuit(circuit, NAMES)
    assert raised.value.reason == "NOT_DIFFERENTIABLE"
    assert raised.value.category == "PROGRAM"


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (conditional(), "'if_else' has parameters and depends on measured bits"),
        (opaque(), "the operation 'secret' has no derivative"),
    ],
)
def test_shifts_of_gates_under_conditions_are_refused(circuit: QuantumCircuit, message: str) -> None:
    with pytest.raises(NotDifferentiable, match=message):
        parameter_shift(circuit, NAMES)


def test_parameters_without_a_value_are_refused() -> None:
    with pytest.raises(NotDifferentiable, match="the circuit has the parameter 'a', which has no value"):
        AdjointCircuit(measured_last(), ["b"])


def measured_last() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(A, 0)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize(("expression", "value"), [(1 / A, 0.0), (A.log(), -1.0), (A.exp() * 0.1, 1e6)])
def test_angles_without_a_finite_real_value_are_an_error_of_the_program(expression: Any, value: float) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(expression, 0)
    with pytest.raises(ProgramError, match="has no finite real value at this point"):
        AdjointCircuit(circuit, ["a"]).gradients([value], [parse("Z0")])


def test_gradients_take_the_memory_of_five_states() -> None:
    circuit, qubits = QuantumCircuit(18), 18
    for qubit in range(qubits):
        circuit.ry(A * (qubit + 1), qubit)
    circuit.cx(0, 17)
    own = AdjointCircuit(circuit, ["a"])
    observable = parse("X0*Y3*Z17 + Y9")
    tracemalloc.start()
    own.gradients([0.3], [observable])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * (16 << qubits)


def test_fourteen_qubits_and_fifty_six_parameters_take_less_than_ten_times_lightning() -> None:
    """PennyLane's lightning.qubit takes 0.02 s, this 0.016 s on the same machine."""
    vector, qubits = ParameterVector("t", 56), 14
    circuit = QuantumCircuit(qubits)
    for layer in range(2):
        for qubit in range(qubits):
            circuit.ry(vector[28 * layer + qubit], qubit)
            circuit.rz(vector[28 * layer + 14 + qubit], qubit)
        for qubit in range(qubits):
            circuit.cx(qubit, (qubit + 1) % qubits)
    own = AdjointCircuit(circuit, [each.name for each in vector])
    observable = random_sum(qubits, 60, 1)
    times = []
    for _ in range(3):
        began = time.process_time()
        own.gradients(np.linspace(0, 1, 56).tolist(), [observable])
        times.append(time.process_time() - began)
    assert min(times) < 0.2
