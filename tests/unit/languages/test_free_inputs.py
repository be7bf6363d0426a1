# SPDX-License-Identifier: Apache-2.0
"""Programs read with free inputs, then bound, are the programs that are read with the values."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.parameters import bind
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.languages.python import source_runner
from qonduit_server.languages.python.source_runner import PythonSource
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.translation_cache import TranslationCache
from qonduit_server.process.file_cache import FileCache
from tests.unit.ir.reference_simulator import distribution, registers
from tests.unit.languages.free_programs import MAKERS, Program
from tests.unit.languages.qiskit_samples import dumped

#: Programs of each language.
PROGRAMS = 15
QASM = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; '


def read(
    program: Program, inputs: Mapping[str, object], free: frozenset[str], languages: Languages | None = None
) -> Circuit:
    text, binary = (program.source, b"") if isinstance(program.source, str) else ("", program.source)
    language = AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{program.language}")
    return (languages or Languages()).read(language, text, binary, inputs, free=free)


def qasm(body: str, inputs: Mapping[str, object], *free: str) -> Circuit:
    return read(Program("QASM3", QASM + body, {}), inputs, frozenset(free))


def refused(program: Program, *free: str, **inputs: object) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        read(program, inputs, frozenset(free))
    return caught.value


def difference(found: QuantumCircuit, wanted: QuantumCircuit) -> float:
    """Return how far two unitary circuits are apart, without their global phase."""
    first, second = (Operator(each.remove_final_measurements(inplace=False)).data for each in (found, wanted))
    overlap = np.vdot(second, first)
    return float(np.abs(first - second * overlap / abs(overlap)).max())


def check_equal(found: Circuit, wanted: Circuit) -> None:
    assert registers(found) == registers(wanted)
    assert found.warnings == wanted.warnings
    assert found.parameters == ()
    assert not found.quantum.parameters
    if {"if_else", "reset", "measure"} & set(found.quantum.remove_final_measurements(inplace=False).count_ops()):
        first, second = distribution(found), distribution(wanted)
        assert max(abs(first.get(key, 0.0) - second.get(key, 0.0)) for key in first | second) < 1e-12
    else:
        assert difference(found.quantum, wanted.quantum) < 1e-12


@pytest.mark.parametrize("language", MAKERS)
def test_a_bound_program_is_the_program_read_with_its_values(language: str) -> None:
    for seed in range(PROGRAMS):
        program = MAKERS[language](seed)
        names = frozenset(program.values)
        symbolic = read(program, {}, names)
        assert symbolic.parameters == tuple(sorted({each.name for each in symbolic.quantum.parameters}))
        assert set(symbolic.parameters) <= names
        check_equal(bind(symbolic, program.values), read(program, program.values, frozenset()))


@pytest.mark.parametrize("language", MAKERS)
def test_some_inputs_may_be_free_and_others_known(language: str) -> None:
    program = MAKERS[language](3)
    values = dict(program.values)
    free = frozenset(list(values)[:1])
    known = {name: value for name, value in values.items() if name not in free}
    symbolic = read(program, known, free)
    assert set(symbolic.parameters) <= free
    check_equal(bind(symbolic, values), read(program, values, free))


@pytest.mark.parametrize(
    "body",
    [
        "input float x; if (x > 0.5) { h q[0]; }",
        "input float x; int n = int(x); h q[0];",
        "input float x; for int k in [0:x] { h q[0]; }",
        "input float x; h q[x];",
        "input float x; rx(x % 2) q[0];",
        "input angle[8] x; rx(x) q[0];",
        "input int x; rx(x) q[0];",
        "input bool x; rx(x) q[0];",
        "input bit[2] x; if (x[0]) { h q[0]; }",
        "input complex x; rx(real(x)) q[0];",
        "input float x; pow(x) @ rx(0.3) q[0];",
        "input float x; pow(0.5) @ rx(x) q[0];",
        "input float x; while (x < 1) { x = x + 1; h q[0]; }",
        "input float x; switch (int(x)) { case 1 { h q[0]; } }",
        "input float x; rx(floor(x)) q[0];",
        "input float x; rx(mod(x, 2)) q[0];",
        "input float x; bool b = x == 1.0; h q[0];",
        "input float x; float y = x; bit c; c = measure q[0]; if (c) { y = 2.0; } rx(y) q[1];",
        "input float x; rx(x) q[0]; for int k in [0:2000] { x = x * x + 1; } rx(x) q[1];",
    ],
)
def test_what_needs_the_value_is_not_read_without_it(body: str) -> None:
    with pytest.raises(NotSymbolic):
        qasm(body, {}, "x")
    value: object = "01" if "bit[" in body else 1.0
    qasm(body.replace("[0:2000]", "[0:2]"), {"x": value})


@pytest.mark.parametrize(
    ("language", "source", "name"),
    [
        ("QUIL", "DECLARE x REAL\nRX(SQRT(x)) 0\n", "x"),
        ("QUIL", "DECLARE x REAL\nRX(x^2.5) 0\n", "x"),
        ("QUIL", "DECLARE x REAL\nRX(x/0) 0\n", "x"),
        ("QUIL", "DECLARE x REAL\nRX(CIS(x)) 0\n", "x"),
        ("QUIL", "DECLARE x INTEGER\nRX(x) 0\n", "x"),
        ("QUIL", "DECLARE x REAL\nDECLARE b BIT\nGT b x 0.5\nJUMP-UNLESS @A b\nX 0\nLABEL @A\n", "x"),
        ("QUIL", "DECLARE x REAL\nDEFGATE M(%a):\n    CIS(%a), 0\n    0, 1\n\nM(x) 0\n", "x"),
        ("QUIL", "DECLARE x REAL\nCAN(x, 0, 0) 0 1\n", "x"),
    ],
)
def test_what_needs_the_value_in_quil(language: str, source: str, name: str) -> None:
    with pytest.raises(NotSymbolic):
        read(Program(language, source, {}), {}, frozenset((name,)))


def test_a_name_that_is_no_input_is_refused_with_those_that_are() -> None:
    program = Program("QASM3", QASM + "input float x; input array[float, 2] a; rx(x + a[0] + a[1]) q[0];", {})
    for name in ("y", "a[2]", "a[00]"):
        error = refused(program, name, x=1.0, a=[1.0, 2.0])
        assert error.reason == "UNKNOWN_INPUT"
        assert repr(name) in error.message
        assert "its inputs are a, x" in error.message
    error = refused(Program("QASM2", 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; h q[0];', {}), "x")
    assert error.reason == "UNKNOWN_INPUT"
    assert "it has no inputs" in error.message
    # With a value, that is for one point of a sweep, the name is refused too.
    assert refused(program, "y", x=1.0, a=[1.0, 2.0], y=0.5).reason == "UNKNOWN_INPUT"
    assert (
        "input 'y' is not one of the program's"
        in read(program, {"x": 1.0, "a": [1.0, 2.0], "y": 0.5}, frozenset()).warnings
    )


def test_a_missing_value_of_another_input_is_missing_at_each_point() -> None:
    program = Program("QASM3", QASM + "input float x; input float y; rx(x + y) q[0];", {})
    with pytest.raises(NotSymbolic):
        read(program, {}, frozenset("x"))
    assert refused(program, "x", x=0.5).reason == "MISSING_INPUT"


def test_elements_of_arrays_are_given_one_by_one() -> None:
    body = "input array[float, 2, 2] a; rx(a[0][1]) q[0]; ry(a[1][0]) q[0];"
    values = {f"a[{row}][{column}]": 0.1 * row + 0.7 * column for row in range(2) for column in range(2)}
    check_equal(qasm(body, values), qasm(body, {"a": [[0.0, 0.7], [0.1, 0.8]]}))
    symbolic = qasm(body, {}, *values)
    assert symbolic.parameters == ("a[0][1]", "a[1][0]")
    check_equal(bind(symbolic, values), qasm(body, values))
    with pytest.raises(ProgramError, match=r"a\[1\]\[1\]"):
        qasm(body, {name: value for name, value in values.items() if name != "a[1][1]"})
    quil = Program("QUIL", "DECLARE t REAL[2]\nRX(t[1]) 0\nRZ(t) 0\n", {})
    assert read(quil, {}, frozenset(("t[0]", "t[1]"))).parameters == ("t[0]", "t[1]")
    assert read(quil, {"t": [0.1, 0.2]}, frozenset(("t[1]",))).parameters == ("t[1]",)


def test_a_point_gives_whole_numbers_and_booleans_as_numbers() -> None:
    body = (
        "input array[int[8], 2] n; input bool b; input bit[2] w; "
        "for int k in [0:n[1]] { h q[0]; } if (b) { x q[n[0]]; } if (w[1]) { y q[0]; }"
    )
    values = {"n[0]": 1.0, "n[1]": 3.0, "b": 1.0, "w": 2.0}
    with pytest.raises(NotSymbolic):
        qasm(body, {}, *values)
    assert dict(qasm(body, values, *values).quantum.count_ops()) == {"h": 4, "x": 1, "y": 1}
    for name, value in (("n[1]", 2.5), ("b", 0.5), ("w", 4.0)):
        with pytest.raises(ProgramError) as caught:
            qasm(body, values | {name: value}, *values)
        assert caught.value.reason == "INVALID_INPUT"


def test_a_circuit_need_not_use_all_elements_of_a_vector() -> None:
    vector, circuit = ParameterVector("v", 3), QuantumCircuit(1)
    circuit.rx(vector[1], 0)
    program = Program("QISKIT", dumped(circuit, 17), {})
    assert read(program, {}, frozenset(f"v[{k}]" for k in range(3))).parameters == ("v[1]",)
    assert refused(program, "v[1]", "v[3]").reason == "UNKNOWN_INPUT"


def test_an_expression_with_a_complex_number_is_left_to_qiskit() -> None:
    x, circuit = Parameter("x"), QuantumCircuit(1)
    circuit.rx(x * (1 + 1j), 0)
    program = Program("QISKIT", dumped(circuit, 17), {})
    with pytest.raises(NotSymbolic, match="complex number"):
        read(program, {}, frozenset("x"))
    assert refused(program, x=0.3).reason == "SYNTAX_ERROR"


def test_free_inputs_are_part_of_the_key_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qonduit_server.languages.registry._COSTLY_SECONDS", 0.0)
    for language, maker in MAKERS.items():
        program = maker(1)
        names = frozenset(program.values)
        languages = Languages(TranslationCache(FileCache(tmp_path / language, 1 << 20)))
        first = read(program, {}, names, languages)
        written = len(list((tmp_path / language).glob("??/*")))
        assert written == 1
        again = read(program, {}, names, languages)
        assert again.parameters == first.parameters
        assert again is not first
        wanted = read(program, program.values, names)
        check_equal(bind(again, program.values), wanted)
        check_equal(read(program, program.values, frozenset(), languages), wanted)
        assert len(list((tmp_path / language).glob("??/*"))) == written + 1


def test_a_circuit_with_parameters_is_never_written() -> None:
    circuit = qasm("input float x; rx(x) q[0];", {}, "x")
    for language in AssemblerLanguage.values():
        with pytest.raises(ProgramError) as caught:
            Languages().write(language, circuit)
        assert caught.value.reason in ("UNSUPPORTED_CONSTRUCT", "UNSUPPORTED_LANGUAGE")


# ---- Python source

SOURCE = """
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
x = Parameter("x")
circuit = QuantumCircuit(2)
for k in range(int(inputs["n"])):
    circuit.rx(k * x, inputs.get('first', 0))
circuit.measure_all()
"""


def test_a_python_source_runs_once_if_it_does_not_ask_for_a_free_input() -> None:
    languages = Languages(sandbox=PythonSource({"QISKIT": sys.executable}))

    def text(source: str, inputs: Mapping[str, object], *free: str) -> Circuit:
        language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
        return languages.read(language, source, b"", inputs, free=frozenset(free))

    symbolic = text(SOURCE, {"n": 3}, "x")
    assert symbolic.parameters == ("x",)
    check_equal(bind(symbolic, {"x": 0.3}), text(SOURCE, {"n": 3, "x": 0.3}, "x"))
    with pytest.raises(NotSymbolic, match="asks for the value"):
        text(SOURCE, {"x": 0.3}, "n")
    with pytest.raises(NotSymbolic, match="asks for the value"):
        text(SOURCE, {"n": 3}, "x", "first")
    with pytest.raises(ProgramError, match="no parameter 'y': its inputs are x") as caught:
        text(SOURCE, {"n": 3}, "x", "y")
    assert caught.value.reason == "UNKNOWN_INPUT"
    with pytest.raises(NotSymbolic):  # an error, which a run with values reports
        text(SOURCE.replace("range", "rang"), {"n": 3}, "x")


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("q.rx(Parameter('x'))", False),
        ("n = inputs['n']; m = inputs.get(\"m\", 3); k = inputs[ 'k' ]", False),
        ("n = inputs['x']", True),
        ("n = inputs.get('x', Parameter('x'))", True),
        ("n = 2 if 'x' in inputs else 3", True),
        ("n = inputs[name]", True),
        ("n = inputs['n' + 'x']", True),
        ("n = inputs['\\x78']", True),
        ("given = inputs", True),
        ("n = len(inputs) + inputs['n']", True),
        ("globals()['inputs']", True),
    ],
)
def test_whether_a_python_source_may_ask_for_an_input(source: str, asks: bool) -> None:
    assert source_runner.may_ask_for(source, {"x"}) is asks
