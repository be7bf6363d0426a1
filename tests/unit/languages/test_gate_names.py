# SPDX-License-Identifier: Apache-2.0
"""Errors of a noise model act after the same gates in every language."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cirq
import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Gate, Parameter

from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.translation_cache import TranslationCache
from qonduit_server.process.file_cache import FileCache
from tests.unit.ir.reference_simulator import distribution

Source = str | bytes


def model_of(*names: str) -> NoiseModel:
    return NoiseModel(gate_errors=[GateError(gates=[each], channel=NoiseChannel(bit_flip=0.1)) for each in names])


def read(language: str, source: Source, model: NoiseModel, languages: Languages | None = None) -> Circuit:
    text, binary = (source, b"") if isinstance(source, str) else ("", source)
    number = AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{language}")
    return (languages or Languages()).read(number, text, binary, {}, gate_names=gate_names(model))


def errors(language: str, source: Source, *names: str) -> list[int]:
    """Return the qubits of the channels that a model adds, in order."""
    model = model_of(*names)
    quantum = with_noise(read(language, source, model), model).quantum
    return [quantum.find_bit(each.qubits[0]).index for each in quantum.data if each.operation.name == "channel"]


def qpy_of(circuit: QuantumCircuit) -> bytes:
    out = io.BytesIO()
    qpy.dump(circuit, out, version=13)
    return out.getvalue()


def qiskit() -> bytes:
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(0.3, 1)
    circuit.ccx(0, 1, 2)
    circuit.cx(2, 1)
    circuit.measure(range(3), range(3))
    return qpy_of(circuit)


def cirq_json() -> str:
    a, b, c = cirq.LineQubit.range(3)
    gates = [cirq.H(a), cirq.CNOT(a, b), cirq.rz(0.3)(b), cirq.TOFFOLI(a, b, c), cirq.CNOT(c, b)]
    text: str = cirq.to_json(cirq.Circuit(*gates, cirq.measure(a, b, c, key="c")))
    return text


QASM = "h q[0]; {cx} q[0], q[1]; rz(0.3) q[1]; {ccx} q[0], q[1], q[2]; {cx} q[2], q[1];"
PROGRAMS: dict[str, Callable[[], Source]] = {
    "QASM2": lambda: (
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3];' + QASM.format(cx="cx", ccx="ccx") + "measure q->c;"
    ),
    "QASM3": lambda: (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;'
        + QASM.format(cx="ctrl @ x", ccx="ctrl(2) @ x")
        + "c = measure q;"
    ),
    "QRISP": lambda: (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c;' + QASM.format(cx="cx", ccx="ccx") + "c=measure q;"
    ),
    "BRAKET": lambda: "OPENQASM 3.0; qubit[3] q; bit[3] c;" + QASM.format(cx="cnot", ccx="ccnot") + "c = measure q;",
    "QUIL": lambda: (
        "DECLARE c BIT[3]\nH 0\nCNOT 0 1\nRZ(0.3) 1\nCCNOT 0 1 2\nCNOT 2 1\nMEASURE 0 c[0]\nMEASURE 1 c[1]\n"
    ),
    "CIRQ": cirq_json,
    "QISKIT": qiskit,
    "IONQ": lambda: json.dumps(
        {
            "qubits": 3,
            "circuit": [
                {"gate": "h", "target": 0},
                {"gate": "cnot", "control": 0, "target": 1},
                {"gate": "rz", "target": 1, "rotation": 0.3},
                {"gate": "cnot", "controls": [0, 1], "target": 2},
                {"gate": "cnot", "control": 2, "target": 1},
            ],
        }
    ),
}


@pytest.mark.parametrize("language", PROGRAMS)
@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["cx"], [0, 1, 2, 1]),
        (["h"], [0]),
        (["rz"], [1]),
        (["ccx"], [0, 1, 2]),
        (["h", "ccx", "cx"], [0, 0, 1, 0, 1, 2, 2, 1]),
        (["cnot"], [0, 1, 2, 1]),
    ],
)
def test_an_error_acts_after_the_same_gates_in_every_language(
    language: str, names: Sequence[str], places: Sequence[int]
) -> None:
    assert errors(language, PROGRAMS[language](), *names) == places


def defined_in_qiskit() -> bytes:
    inner = QuantumCircuit(2, name="g")
    inner.h(0)
    inner.cx(0, 1)
    outer = QuantumCircuit(2, name="f")
    outer.append(inner.to_gate(), [1, 0])
    outer.z(0)
    circuit = QuantumCircuit(2, 2)
    circuit.append(inner.to_gate(), [0, 1])
    circuit.append(outer.to_gate(), [0, 1])
    circuit.measure([0, 1], [0, 1])
    return qpy_of(circuit)


GATES = "gate g a, b { h a; cx a, b; } gate f a, b { g b, a; z a; }"
DEFINED: dict[str, Callable[[], Source]] = {
    "QASM2": lambda: (
        f'OPENQASM 2.0; include "qelib1.inc"; {GATES.replace("gate f", chr(10) + "gate f")} '
        "qreg q[2]; creg c[2]; g q[0], q[1]; f q[0], q[1]; measure q -> c;"
    ),
    "QASM3": lambda: (
        f'OPENQASM 3.0; include "stdgates.inc"; {GATES} qubit[2] q; bit[2] c; g q[0], q[1]; f q[0], q[1];c = measure q;'
    ),
    "BRAKET": lambda: (
        f"OPENQASM 3.0; {GATES.replace('cx', 'cnot')} qubit[2] q; bit[2] c; g q[0], q[1]; f q[0], q[1]; c = measure q;"
    ),
    "QUIL": lambda: (
        "DEFGATE g a b AS SEQUENCE:\n    H a\n    CNOT a b\nDEFGATE f a b AS SEQUENCE:\n    g b a\n    Z a\n"
        "DECLARE c BIT[2]\ng 0 1\nf 0 1\nMEASURE 0 c[0]\nMEASURE 1 c[1]\n"
    ),
    "QUIL with circuits": lambda: (
        "DEFCIRCUIT g a b:\n    H a\n    CNOT a b\nDEFCIRCUIT f a b:\n    g b a\n    Z a\n"
        "DECLARE c BIT[2]\ng 0 1\nf 0 1\nMEASURE 0 c[0]\nMEASURE 1 c[1]\n"
    ),
    "QISKIT": defined_in_qiskit,
}


@pytest.mark.parametrize("program", DEFINED)
@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["g"], [0, 1, 1, 0]),
        (["f"], [0, 1]),
        (["f", "g"], [0, 1, 0, 1]),
        (["cx"], [0, 1, 1, 0]),
        (["g", "h"], [0, 1, 1, 0]),
        (["z", "g"], [0, 1, 1, 0, 0]),
        (["f", "h"], [0, 0, 1]),
    ],
)
def test_a_gate_that_the_program_defines_is_matched_by_its_name_else_by_its_body(
    program: str, names: Sequence[str], places: Sequence[int]
) -> None:
    assert errors(program.split(" ")[0], DEFINED[program](), *names) == places


@pytest.mark.parametrize("program", DEFINED)
@pytest.mark.parametrize("names", [["f"], ["g"], ["f", "g"]])
def test_a_gate_that_is_kept_whole_does_the_same(program: str, names: Sequence[str]) -> None:
    language = program.split(" ")[0]
    whole = read(language, DEFINED[program](), model_of(*names))
    plain = read(language, DEFINED[program](), NoiseModel())

    assert any(type(each.operation).__name__ == "Gate" for each in whole.quantum.data) or language == "QASM2"
    assert distribution(whole) == pytest.approx(distribution(plain))


def test_a_gate_defined_by_a_matrix_is_matched_by_its_name() -> None:
    a, b = cirq.LineQubit.range(2)
    matrix = cirq.MatrixGate(np.array([[0, 1], [1, 0]]), name="flip")
    text = cirq.to_json(cirq.Circuit(matrix(b), cirq.H(a), cirq.measure(a, b, key="c")))

    assert errors("CIRQ", text, "flip", "h") == [1, 0]
    assert errors("QUIL", "DEFGATE FLIP:\n    0, 1\n    1, 0\nFLIP 1\nH 0\n", "FLIP", "h") == [1, 0]


def test_a_modified_gate_is_matched_by_its_body() -> None:
    definition = 'OPENQASM 3.0; include "stdgates.inc"; gate g a { s a; } qubit[2] q;'
    text = definition + "inv @ g q[0]; ctrl @ g q[0], q[1]; g q[1];"

    assert errors("QASM3", text, "g") == [1]
    assert errors("QASM3", text, "g", "sdg") == [0, 1]
    quil = "DEFGATE g a AS SEQUENCE:\n    S a\nDAGGER g 0\nCONTROLLED g 0 1\ng 1\n"
    assert errors("QUIL", quil, "g") == [1]
    assert errors("QUIL", quil, "g", "sdg") == [0, 1]


@pytest.mark.parametrize("written", ["u1(0.1)", "p(0.1)", "u2(0.1, 0.2)", "u3(0.1, 0.2, 0.3)", "U(0.1, 0.2, 0.3)"])
@pytest.mark.parametrize("name", ["u1", "p", "u2", "u3", "u", "U"])
def test_both_versions_of_openqasm_name_gates_as_they_are_written(written: str, name: str) -> None:
    same = name.lower() == written.split("(")[0].lower()
    two = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; {written} q[0];'
    three = f'OPENQASM 3.0; include "stdgates.inc"; qubit[1] q; {written} q[0];'

    assert errors("QASM2", two, name) == ([0] if same else [])
    assert errors("QASM3", three, name) == ([0] if same else [])


def test_an_identity_is_a_gate_in_every_language() -> None:
    (a,) = cirq.LineQubit.range(1)

    assert errors("CIRQ", cirq.to_json(cirq.Circuit(cirq.I(a), cirq.measure(a))), "id") == [0]
    assert errors("BRAKET", "OPENQASM 3.0; qubit[1] q; i q[0];", "id") == [0]
    assert errors("QUIL", "I 0\n", "id") == [0]


def test_a_gate_of_braket_without_a_name_in_openqasm_is_matched_by_its_own() -> None:
    text = "OPENQASM 3.0; qubit[2] q; ms(0.1, 0.2, 0.3) q[0], q[1]; rz(0.1) q[1];"

    assert errors("BRAKET", text, "ms", "rz") == [0, 1, 1]


def test_a_gate_with_parameters_is_kept_with_its_values_by_the_cache() -> None:
    text = (
        'OPENQASM 3.0; include "stdgates.inc"; gate g(x) a { rx(x) a; } qubit[2] q; bit[2] c;'
        "g(0.4) q[0]; g(2.0) q[1]; c = measure q;"
    )
    whole = read("QASM3", text, model_of("g"))
    data = serialization.dump(whole)

    assert data is None or distribution(serialization.load(data)) == pytest.approx(distribution(whole))


def test_the_cache_tells_programs_with_other_names_kept_whole_apart(tmp_path: Path) -> None:
    languages = Languages(TranslationCache(FileCache(tmp_path, 1 << 20)))
    text = DEFINED["QASM3"]()
    kinds = []
    for names in ((), ("g",), ("f",), ("g",)):
        quantum = read("QASM3", text, model_of(*names), languages).quantum
        kinds.append([each.operation.name for each in quantum.data][:-2])

    assert kinds == [["h", "cx", "h", "cx", "z"], ["g", "g", "z"], ["h", "cx", "f"], ["g", "g", "z"]]


def test_an_empty_gate_is_kept_too() -> None:
    text = 'OPENQASM 3.0; include "stdgates.inc"; gate idle a { } qubit[1] q; idle q[0];'

    assert errors("QASM3", text, "idle") == [0]
    (kept,) = read("QASM3", text, model_of("idle")).quantum.data
    assert Lowering("X/y", lambda operation: False).expand(kept.operation) == []


def test_parameters_of_a_gate_in_qpy_are_bound_before_it_is_kept() -> None:
    theta = Parameter("t")
    inner = QuantumCircuit(1, name="g")
    inner.rx(theta, 0)
    circuit = QuantumCircuit(1, 1)
    circuit.append(inner.to_gate(), [0])
    circuit.measure(0, 0)
    model = model_of("g")
    number = AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
    whole = Languages().read(number, "", qpy_of(circuit), {"t": 1.0}, gate_names=gate_names(model))

    assert isinstance(whole.quantum.data[0].operation, Gate)
    assert next(value for key, value in distribution(whole).items() if "1" in key) == pytest.approx(np.sin(0.5) ** 2)
