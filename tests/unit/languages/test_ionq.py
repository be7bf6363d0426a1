# SPDX-License-Identifier: Apache-2.0
"""IonQ's JSON: gates as its documentation defines them, in both gatesets and in every request format."""

from __future__ import annotations

import cmath
import contextlib
import copy
import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.quantum_info import Operator, SparsePauliOp

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.ionq_reader import read


def program(*gates: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"circuit": list(gates), **fields})


def unitary(circuit: Circuit) -> Operator:
    """Return the unitary of the gates; qubit 0 is the lowest bit."""
    gates = QuantumCircuit(circuit.quantum.num_qubits)
    for each in circuit.quantum.data:
        if each.operation.name != "measure":
            gates.append(each.operation, [circuit.quantum.find_bit(qubit).index for qubit in each.qubits])
    return Operator(gates)


def refused(text: str, reason: str, message: str = ".") -> ProgramError:
    began = time.thread_time()
    with pytest.raises(ProgramError, match=message) as caught:
        read(text)
    assert time.thread_time() - began < 5.0
    assert caught.value.reason == reason
    return caught.value


def pauli(letters: str, angle: float) -> np.ndarray[Any, Any]:
    """Return exp(-i angle / 2 P), with the last letter on qubit 0."""
    matrix = SparsePauliOp(letters).to_matrix()
    return np.asarray(math.cos(angle / 2) * np.eye(len(matrix)) - 1j * math.sin(angle / 2) * matrix)


ROOT_OF_X = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
QIS = {
    "x": qk.XGate().to_matrix(), "not": qk.XGate().to_matrix(), "y": qk.YGate().to_matrix(),
    "z": np.diag([1, -1]), "h": np.array([[1, 1], [1, -1]]) / math.sqrt(2), "s": np.diag([1, 1j]),
    "si": np.diag([1, -1j]), "t": np.diag([1, cmath.exp(1j * math.pi / 4)]),
    "ti": np.diag([1, cmath.exp(-1j * math.pi / 4)]), "v": ROOT_OF_X, "vi": ROOT_OF_X.conj().T,
}  # fmt: skip
ANGLE = 0.7
ROTATIONS = {"rx": "X", "ry": "Y", "rz": "Z", "xx": "XX", "yy": "YY", "zz": "ZZ"}


@pytest.mark.parametrize("name", [*QIS, *ROTATIONS, "swap"])
def test_gates_alone_and_under_controls(name: str) -> None:
    want = QIS[name] if name in QIS else pauli(ROTATIONS[name], ANGLE) if name in ROTATIONS else None
    want = qk.SwapGate().to_matrix() if want is None else want
    size = int(math.log2(len(want)))
    fields: dict[str, Any] = {"gate": name, "targets": list(range(size))}
    if name in ROTATIONS:
        fields["rotation"] = ANGLE
    assert unitary(read(program(fields))).equiv(Operator(want))
    controlled = np.eye(4 * len(want), dtype=complex)
    controlled[3 * len(want) :, 3 * len(want) :] = want
    both = read(program({**fields, "controls": [size + 1, size]}))
    assert unitary(both).equiv(Operator(controlled))


def test_cnot_takes_one_control_or_more() -> None:
    single = {"gate": "cnot", "control": 1, "target": 0}
    assert unitary(read(program(single))).equiv(Operator(qk.CXGate().to_matrix()).reverse_qargs())
    double = read(program({"gate": "cnot", "controls": [0, 2], "target": 1}))
    assert double.quantum.data[0].operation.name == "ccx"
    refused(program({"gate": "cnot", "target": 1}), "SYNTAX_ERROR", "control")


def test_native_gates_count_in_turns() -> None:
    def native(gate: dict[str, Any]) -> Operator:
        return unitary(read(program(gate, gateset="native")))

    turn = cmath.exp(2j * math.pi * 0.15)
    assert native({"gate": "gpi", "target": 0, "phase": 0.15}).equiv(Operator([[0, turn.conjugate()], [turn, 0]]))
    half = np.array([[1, -1j * turn.conjugate()], [-1j * turn, 1]]) / math.sqrt(2)
    assert native({"gate": "gpi2", "target": 0, "phase": 0.15}).equiv(Operator(half))
    assert native({"gate": "zz", "targets": [0, 1], "angle": 0.1}).equiv(Operator(pauli("ZZ", 0.2 * math.pi)))
    assert native({"gate": "zz", "targets": [0, 1]}).equiv(Operator(pauli("ZZ", math.pi / 2)))

    def tilted(phase: float) -> np.ndarray[Any, Any]:
        angle = 2 * math.pi * phase
        return np.array([[0, cmath.exp(-1j * angle)], [cmath.exp(1j * angle), 0]])

    for angle, fields in ((0.25, {}), (0.1, {"angle": 0.1})):
        axes = np.kron(tilted(0.3), tilted(0.1))  # target 0 is the lower qubit
        want = math.cos(math.pi * angle) * np.eye(4) - 1j * math.sin(math.pi * angle) * axes
        assert native({"gate": "ms", "targets": [0, 1], "phases": [0.1, 0.3], **fields}).equiv(Operator(want))


def test_pauli_exponentials() -> None:
    def evolved(terms: list[str], weights: list[float], size: int) -> tuple[Operator, Operator, Circuit]:
        fields = {"terms": terms, "coefficients": weights, "time": 0.4}
        circuit = read(program({"gate": "pauliexp", "targets": list(range(size)), **fields}))
        values, vectors = np.linalg.eigh(SparsePauliOp(terms, weights).to_matrix())
        return unitary(circuit), Operator((vectors * np.exp(-0.4j * values)) @ vectors.conj().T), circuit

    for terms in (["XYZ"], ["XX", "YY", "ZZ"], ["IZ", "ZI"], ["II", "XI", "XX"]):
        got, want, circuit = evolved(terms, [0.3 + k / 5 for k in range(len(terms))], len(terms[0]))
        assert got.equiv(want)
        assert not circuit.warnings
    got, want, circuit = evolved(["XX", "ZI", "IY"], [0.3, 0.9, -0.4], 2)
    assert got.equiv(want)
    assert "exactly" in circuit.warnings[0]
    many = {"gate": "pauliexp", "targets": list(range(8)), "terms": ["X" * 8, "Z" + "I" * 7], "time": 1}
    refused(program({**many, "coefficients": [1, 1]}), "UNSUPPORTED_CONSTRUCT", "commute")


def test_one_register_holds_all_qubits() -> None:
    circuit = read(program({"gate": "x", "target": 1}, qubits=4))
    assert [(each.name, len(each.bits)) for each in circuit.registers] == [("meas", 4)]
    assert circuit.quantum.num_qubits == 4
    assert read(program({"gate": "x", "target": 1})).quantum.num_qubits == 2
    assert read(program()).registers == ()
    assert read(program(), {"a": 1}).warnings == ("input 'a' is not one of the program's",)


BELL = {"qubits": 2, "circuit": [{"gate": "h", "target": 0}, {"gate": "cnot", "control": 0, "target": 1}]}


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        (BELL, ()),
        ({"format": "ionq.circuit.v0", "gateset": "qis", **BELL}, ()),
        ({"type": "ionq.circuit.v1", "input": BELL, "shots": 100, "backend": "simulator"}, ("shots", "backend")),
        ({"target": "simulator", "shots": 5, "input": {"format": "ionq.circuit.v0", **BELL}}, ("target", "shots")),
        ({"lang": "json", "body": BELL, "name": "b", "noise": {"model": "ideal"}}, ("name", "noise")),
        (
            {"input": {"gateset": "qis", "qubits": 2, "circuits": [{"circuit": BELL["circuit"], "name": "a"}]}},
            ("name",),
        ),
    ],
)
def test_fields_around_a_circuit(sent: dict[str, Any], ignored: tuple[str, ...]) -> None:
    circuit = read(json.dumps(sent))
    assert [each.operation.name for each in circuit.quantum.data] == ["h", "cx", "measure", "measure"]
    assert len(circuit.warnings) == len(ignored)
    for name, warning in zip(ignored, circuit.warnings, strict=True):
        assert f"'{name}'" in warning


X = {"gate": "x", "target": 0}


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("", "SYNTAX_ERROR", "line 1, column 1"),
        ("[" * 10**5, "TOO_LARGE", "nested"),
        ("[]", "SYNTAX_ERROR", "object"),
        ("{}", "SYNTAX_ERROR", "circuit"),
        ('{"cirq_type": "Circuit"}', "WRONG_LANGUAGE", "CIRQ"),
        (program(X, qubits=10**9), "TOO_LARGE", "4096"),
        (program(X, qubits=0), "SYNTAX_ERROR", "0 qubits"),
        (program({"gate": "x", "target": 10**9}), "TOO_LARGE", "4095"),
        (program({"gate": "x", "target": -1}), "TOO_LARGE", "between"),
        (program({"gate": "x", "target": 2}, qubits=2), "SYNTAX_ERROR", "uses number 2"),
        (program({"gate": "x", "target": "0"}), "SYNTAX_ERROR", "gate 1: targets"),
        (program({"gate": "x", "target": True}), "SYNTAX_ERROR", "whole"),
        (program({"gate": "x", "target": 0, "targets": [0]}), "SYNTAX_ERROR", "not both"),
        (program({"gate": "x", "targets": [0, 1]}), "SYNTAX_ERROR", "1 targets, not 2"),
        (program({"gate": "x", "target": 0, "control": 0}), "SYNTAX_ERROR", "twice"),
        (program({"gate": "z", "target": 0, "rotation": 0.3}), "UNSUPPORTED_CONSTRUCT", "'rotation'"),
        (program({"gate": "rx", "target": 0}), "SYNTAX_ERROR", "rotation"),
        (program({"gate": "rx", "target": 0, "rotation": "pi"}), "SYNTAX_ERROR", "finite number"),
        (program({"gate": "rx", "target": 0, "rotation": math.nan}), "SYNTAX_ERROR", "NaN"),
        (program({"gate": "frobnicate", "target": 0}), "UNKNOWN_GATE", "known are"),
        (program({"gate": "gpi", "target": 0, "phase": 0}), "UNKNOWN_GATE", "native"),
        (program({"gate": "x", "target": 0}, gateset="native"), "UNKNOWN_GATE", "qis"),
        (program({"gate": "gpi", "target": 0, "phase": 0, "control": 1}, gateset="native"), "SYNTAX_ERROR", "controls"),
        (program({"gate": "ms", "targets": [0, 1], "phases": [0]}, gateset="native"), "SYNTAX_ERROR", "phases"),
        (program({"gate": "x", "target": 0, "controls": list(range(1, 30))}), "TOO_LARGE", "controls"),
        (program(X, gateset=[]), "SYNTAX_ERROR", "gateset"),
        (program(X, format="qasm2"), "UNSUPPORTED_CONSTRUCT", "format"),
        (json.dumps({"input": {"circuits": [BELL, BELL]}}), "UNSUPPORTED_CONSTRUCT", "2 circuits"),
        (json.dumps({"input": {"input": {"input": {"input": BELL}}}}), "SYNTAX_ERROR", "wrapped"),
    ],
    ids=lambda value: value[:60],
)
def test_refusals(text: str, reason: str, message: str) -> None:
    refused(text, reason, message)


TYPICAL: Any = {
    "input": {
        "qubits": 4,
        "gateset": "qis",
        "circuit": [
            {"gate": "h", "target": 0},
            {"gate": "rx", "targets": [1], "rotation": 0.3, "controls": [0, 2]},
            {"gate": "pauliexp", "targets": [1, 2], "terms": ["XX", "ZZ"], "coefficients": [1, 0.5], "time": 0.2},
        ],
    },
    "shots": 100,
}
VALUES = st.sampled_from([None, True, -1, 0, 3, 10**30, 0.5, 1e308, "", "x", "ms", "XY", [], [0], [[]], {}, {"a": 1}])


def _spots(node: Any) -> list[tuple[Any, Any]]:
    entries = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [spot for key, value in entries for spot in ((node, key), *_spots(value))]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), VALUES), min_size=1, max_size=3))
def test_changed_programs_are_read_or_refused(changes: list[tuple[int, Any]]) -> None:
    tree = copy.deepcopy(TYPICAL)
    for number, value in changes:
        spots = _spots(tree) or [(tree, "circuit")]
        container, key = spots[number % len(spots)]
        container[key] = copy.deepcopy(value)
    with contextlib.suppress(ProgramError):
        read(json.dumps(tree))
