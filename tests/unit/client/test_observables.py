# SPDX-License-Identifier: Apache-2.0
"""Observables of SDKs become the terms that their own matrices have."""

from __future__ import annotations

from typing import Any

import cirq
import numpy as np
import pennylane as qml
import pytest
from braket.circuits import observables as braket_observables
from qiskit.quantum_info import Pauli, SparseObservable, SparsePauliOp, random_pauli_list

from qonduit.v1.estimator_pb2 import Observable, PauliTerms
from qonduit_client.observables import observables_of
from qonduit_server import pauli_sums

_X, _Y, _Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
_PAULIS = {(0, 0): np.eye(2), (1, 0): _X, (1, 1): _Y, (0, 1): _Z}


def _matrix(terms: PauliTerms, qubits: int) -> np.ndarray[Any, Any]:
    """Return the matrix of packed terms as the server reads them; qubit 0 is the lowest bit of an index."""
    found = np.zeros((1 << qubits, 1 << qubits), dtype=complex)
    sums = pauli_sums.from_masks(terms.coefficients, terms.x_masks, terms.z_masks, terms.num_qubits)
    for coefficient, x, z in zip(sums.coefficients, sums.x_masks, sums.z_masks, strict=True):
        product = np.eye(1)
        for qubit in range(qubits):
            product = np.kron(_PAULIS[x >> qubit & 1, z >> qubit & 1], product)
        found += coefficient * product
    return found


def _only(value: object, **options: Any) -> PauliTerms:
    (observable,) = observables_of(value, **options)
    assert observable.WhichOneof("form") == "terms"
    return observable.terms


def _reversed(matrix: Any, qubits: int) -> np.ndarray[Any, Any]:
    """Return the matrix of an SDK whose first qubit is the highest bit, with the first qubit as the lowest bit."""
    axes = [*range(qubits)][::-1]
    tensor = np.asarray(matrix).reshape([2] * 2 * qubits).transpose([*axes, *(qubits + axis for axis in axes)])
    return tensor.reshape(1 << qubits, 1 << qubits)


@pytest.mark.parametrize("qubits", [1, 3, 9])
def test_sums_of_qiskit_keep_their_matrix(qubits: int) -> None:
    paulis = random_pauli_list(qubits, 12, seed=qubits, phase=False)
    operator = SparsePauliOp(paulis, np.random.default_rng(3).normal(size=12))
    np.testing.assert_allclose(_matrix(_only(operator), qubits), operator.to_matrix(), atol=1e-12)


@pytest.mark.parametrize(
    "value", [Pauli("-XYZ"), SparseObservable("XYZ"), SparsePauliOp(["XYI", "IZZ"], [1j, 2]) @ Pauli("YXI")]
)
def test_other_operators_of_qiskit_keep_their_matrix(value: Any) -> None:
    if isinstance(value, SparsePauliOp):
        value = (value + value.adjoint()).simplify()
    expected = SparsePauliOp.from_sparse_observable(value) if isinstance(value, SparseObservable) else value
    np.testing.assert_allclose(_matrix(_only(value), 3), expected.to_matrix(), atol=1e-12)


def test_imaginary_parts_of_equal_products_cancel() -> None:
    operator = SparsePauliOp(["X", "X"], [1 + 1j, 2 - 1j])
    np.testing.assert_allclose(_matrix(_only(operator), 1), 3 * _X)


def test_sums_of_cirq_take_the_order_of_the_circuit() -> None:
    a, b, c = cirq.NamedQubit("a"), cirq.NamedQubit("b"), cirq.NamedQubit("c")
    circuit = cirq.Circuit(cirq.CNOT(c, b), cirq.H(a))
    for value in (
        1.5 * cirq.X(a) * cirq.Y(c) - 0.5 * cirq.Z(b) + 0.25,
        cirq.X(a) * cirq.Y(c),
        cirq.Z(b),
        -2 * cirq.X(c),
    ):
        sums = cirq.PauliSum.from_pauli_strings([value]) if isinstance(value, cirq.PauliString) else value
        expected = _reversed(sums.matrix([a, b, c]), 3)
        np.testing.assert_allclose(_matrix(_only(value, program=circuit), 3), expected, atol=1e-12)
        np.testing.assert_allclose(
            _matrix(_only(value, qubits=[c, a, b]), 3), _reversed(sums.matrix([c, a, b]), 3), atol=1e-12
        )


def test_line_qubits_of_cirq_have_their_numbers() -> None:
    first, third = cirq.LineQubit(0), cirq.LineQubit(2)
    assert _only(2 * cirq.X(first) * cirq.Z(third)) == PauliTerms(
        coefficients=[2], x_masks=b"\x01", z_masks=b"\x04", num_qubits=3
    )


@pytest.mark.parametrize(
    "value",
    [
        2 * braket_observables.X(0) @ braket_observables.Y(1),
        braket_observables.X(1) @ (3 * braket_observables.Z(0)),
        braket_observables.H(1) @ braket_observables.Z(0),
        braket_observables.I(0),
        2 * braket_observables.Hermitian(np.array([[1, 2j], [-2j, 3]]), targets=[0]),
        braket_observables.Hermitian(np.array([[1, 2j], [-2j, 3]]), targets=[1]),
        braket_observables.Hermitian(np.diag([1.0, 2, 3, 5]), targets=[1, 0]),
        braket_observables.Z(0) @ braket_observables.Hermitian(np.array([[1, 2], [2, 3]]), targets=[1]),
    ],
)
def test_observables_of_braket_keep_their_matrix(value: Any) -> None:
    targets = [int(qubit) for qubit in value.targets]
    matrix = value.to_matrix()  # contains the coefficient
    if len(targets) == 1:
        matrix = np.kron(matrix, np.eye(2))
        targets += [1 - targets[0]]
    matrix = _reversed(matrix, 2)
    if targets == [1, 0]:
        swap = np.eye(4)[[0, 2, 1, 3]]
        matrix = swap @ matrix @ swap
    np.testing.assert_allclose(_matrix(_only(value), 2), matrix, atol=1e-12)


def test_sums_of_braket_add_their_terms() -> None:
    value = 2 * braket_observables.X(0) @ braket_observables.Y(1) - 3 * braket_observables.Z(0)
    expected = 2 * np.kron(_Y, _X) - 3 * np.kron(np.eye(2), _Z)
    np.testing.assert_allclose(_matrix(_only(value), 2), expected, atol=1e-12)
    np.testing.assert_allclose(_matrix(_only(2 * value), 2), 2 * expected, atol=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        qml.Hamiltonian([0.5, -2], [qml.X(0) @ qml.Y(1), qml.Z(0)]),
        0.3 * qml.X(0) @ qml.Y(1) + qml.I(0),
        qml.prod(qml.X(0), qml.X(0), qml.Z(1)),
        qml.Hermitian(np.array([[1, 2j], [-2j, 3]]), 1),
        qml.Projector([0, 1], wires=[0, 1]),
        qml.Hadamard(0) @ qml.Z(1),
        qml.pauli.PauliSentence({qml.pauli.PauliWord({0: "X", 1: "Z"}): 2.0}),
    ],
)
def test_operators_of_pennylane_keep_their_matrix(value: Any) -> None:
    own = value.to_mat([0, 1]) if isinstance(value, qml.pauli.PauliSentence) else qml.matrix(value, wire_order=[0, 1])
    np.testing.assert_allclose(_matrix(_only(value), 2), _reversed(own, 2), atol=1e-12)


def test_operators_of_pennylane_take_the_order_of_the_tape() -> None:
    tape = qml.tape.QuantumScript([qml.CNOT(["b", "a"])])
    assert list(tape.wires) == ["b", "a"]
    expected = PauliTerms(coefficients=[1], x_masks=b"\x02", z_masks=b"\x01", num_qubits=2)
    assert _only(qml.X("a") @ qml.Z("b"), program=tape) == expected


def test_text_and_dictionaries_need_no_sdk() -> None:
    observables = observables_of(["X0*Z1", {"X0*X1": 1.5, "": -0.25, "Z0 - Z1": 2}, {((0, "X"), (9, "Y")): 2}])
    assert observables[0] == Observable(expression="X0*Z1")
    sums = pauli_sums.parse(observables[1].expression)
    assert sums == pauli_sums.parse("1.5*X0*X1 - 0.25 + 2*Z0 - 2*Z1")
    assert observables[2].terms == PauliTerms(coefficients=[2], x_masks=b"\x02\x01", z_masks=b"\x02\x00", num_qubits=10)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "3 is not an observable"),
        (SparsePauliOp(["X"], [1j]), "coefficient of X0 must be real"),
        (1j * cirq.X(cirq.LineQubit(0)), "coefficient of X0 must be real"),
        (cirq.X(cirq.NamedQubit("a")), "has no number: pass qubits="),
        (cirq.H(cirq.LineQubit(0)), "not supported as an observable"),
        (braket_observables.X(), "has no targets"),
        (qml.Projector([0] * 7, wires=range(7)), "7 qubits"),
        ({}, "empty dictionary"),
        ({"X0": 1j}, "finite real number"),
        ({(0, 1): 1}, "expected a product"),
    ],
)
def test_other_values_are_refused(value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        observables_of(value)


def test_a_qubit_outside_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match="not a qubit of the program"):
        observables_of(qml.X("c"), qubits=["a", "b"])
