# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 2: accepted and refused programs; refusals are quick and give the position."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.openqasm2_reader import read

HEADER = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def refused(text: str, reason: str) -> ProgramError:
    """Return the error of a refused program; check that it is quick."""
    began = time.thread_time()
    with pytest.raises(ProgramError) as caught:
        read(text)
    assert time.thread_time() - began < 2.0  # far more than a refusal takes, far less than expanding the program
    assert caught.value.reason == reason
    return caught.value


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(register.name, len(register.bits)) for register in circuit.registers]


def test_registers_keep_name_size_and_order() -> None:
    circuit = read(HEADER + "creg b[2]; qreg q[3]; creg a[1]; measure q[2] -> a[0]; measure q[0] -> b[1];")
    assert registers(circuit) == [("b", 2), ("a", 1)]
    assert circuit.key(0b110) == "0x1 0x2"
    assert circuit.quantum.num_qubits == 3


@pytest.mark.parametrize(
    "statement",
    [
        "u0(1) q[0];",
        "u1(0.1) q[0];",
        "u2(0.1,0.2) q[0];",
        "u3(0.1,0.2,0.3) q[0];",
        "u(0.1,0.2,0.3) q[0];",
        "p(0.1) q[0];",
        "sx q[0];",
        "sxdg q[0];",
        "cu3(0.1,0.2,0.3) q[0],q[1];",
        "cu(0.1,0.2,0.3,0.4) q[0],q[1];",
        "cu1(0.1) q[0],q[1];",
        "csx q[0],q[1];",
        "rxx(0.1) q[0],q[1];",
        "ryy(0.1) q[0],q[1];",
        "rzz(0.1) q[0],q[1];",
        "rccx q[0],q[1],q[2];",
        "rc3x q[0],q[1],q[2],q[3];",
        "c3x q[0],q[1],q[2],q[3];",
        "c3sqrtx q[0],q[1],q[2],q[3];",
        "c4x q[0],q[1],q[2],q[3],q[4];",
        "U(0.1,0.2,0.3) q[0];",
        "CX q[0],q[1];",
        "barrier q;",
        "opaque magic(a) x,y;",
    ],
)
def test_gates_that_programs_use_without_definition(statement: str) -> None:
    read(HEADER + "qreg q[5];" + statement)


@pytest.mark.parametrize("name", ["rzz", "sxdg", "ryy", "c3sqrtx", "p"])
def test_a_program_may_define_a_gate_that_others_use_without_definition(name: str) -> None:
    circuit = read(f"{HEADER}gate {name}(t) a,b {{ x a; }} qreg q[2]; {name}(0.1) q[0],q[1];")
    (instruction,) = circuit.quantum.data
    assert [inner.operation.name for inner in instruction.operation.definition.data] == ["x"]


def test_registers_may_be_named_like_gates() -> None:
    circuit = read(HEADER + "qreg h[2]; creg x[1]; creg z[1]; h h; if(z==1) x h[0]; measure h[0] -> x[0];")
    assert registers(circuit) == [("x", 1), ("z", 1)]
    assert [instruction.operation.name for instruction in circuit.quantum.data] == ["h", "h", "if_else", "measure"]


def test_errors_have_line_and_column() -> None:
    error = refused(HEADER + "qreg q[2];\n  h q[5];", "SYNTAX_ERROR")
    assert (error.line, error.column) == (4, 7)
    assert error.message.startswith("line 4, column 7: ")


def test_unknown_gates_and_unknown_registers_have_different_errors() -> None:
    error = refused(HEADER + "qreg q[2];\nfoo q[0];", "UNKNOWN_GATE")
    assert (error.line, error.column) == (4, 1)
    assert "foo" in error.message
    assert "gate" in error.message
    refused(HEADER + "qreg q[2];\nh r[0];", "SYNTAX_ERROR")
    assert "qelib1.inc" in refused("OPENQASM 2.0;\nqreg q[1];\nh q[0];", "UNKNOWN_GATE").message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("OPENQASM 3.0;\nqubit q;", "QASM3"),
        ("// a comment\nOPENQASM 3;\nqubit q;", "QASM3"),
        ("OPENQASM 4.0;\nqubit q;", "2.0 or 3.0"),
        ("from qiskit import QuantumCircuit\n", "Python"),
        ('{"cirq_type": "Circuit"}', "JSON"),
        ("DECLARE ro BIT[2]\nH 0\nCNOT 0 1\n", "Quil"),
        ("H 0\nCNOT 0 1\n", "Quil"),
    ],
)
def test_another_language_is_named(text: str, hint: str) -> None:
    assert hint in refused(text, "WRONG_LANGUAGE").message


def test_constructs_have_a_position() -> None:
    circuit = read(HEADER + "qreg q[1]; creg c[1];\n// if (c) reset\nmeasure q -> c;\nif(c==1) x q[0];\nreset q;\n")
    begin = HEADER.count("\n")
    assert circuit.lines == {"conditionals": begin + 4, "reset": begin + 5}


def test_only_the_standard_include_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.inc"
    secret.write_text("gate leak a { x a; }  // TOP SECRET")
    for name in (f'"{secret}"', '"/dev/zero"', '"other.inc"', '"../qelib1.inc"', '"/dev/zero'):
        error = refused(f"OPENQASM 2.0;\ninclude {name};\nqreg q[1];", "UNSUPPORTED_CONSTRUCT")
        assert error.line == 2
        assert "SECRET" not in error.message
        assert str(secret) not in error.message


def test_an_include_in_a_comment_is_ignored() -> None:
    read(HEADER + '// include "other.inc"\n/* include "x" */ qreg q[1];')


@pytest.mark.parametrize(
    "text",
    [
        "qreg q[1000000000];",
        "qreg q[" + "9" * 5000 + "];",
        "creg c[1000000000];",
        "qreg q[ 1000000000 ];",
        "".join(f"qreg q{k}[4000];" for k in range(50)),
        "gate g0 a { x a; x a; } "
        + " ".join(f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}" for k in range(1, 41))
        + " qreg q[1]; g40 q[0];",
        "gate g0 a { x a; } " + " ".join(f"gate g{k} a {{ g{k - 1} a; }}" for k in range(1, 500)) + " qreg q[1];",
        "qreg q[1]; U(" + "(" * 5000 + "1" + ")" * 5000 + ",0,0) q[0];",
        "qreg q[1]; U(" + "-" * 200_000 + "1,0,0) q[0];",
        "qreg q[4000]; " + "h q; " * 80,
    ],
    ids=["qreg", "digits", "creg", "spaces", "sum", "doubling", "chain", "brackets", "signs", "broadcast"],
)
def test_bombs_are_refused(text: str) -> None:
    refused(HEADER + text, "TOO_LARGE")


@pytest.mark.parametrize(
    "text",
    [
        "hello world",
        "qreg q[2]",
        "qreg q[2]; h q[0",
        "qreg q[2]; measure q ->",
        "\x00",
        "qreg q[-1];",
        "gate g a { g a; }",
    ],
)
def test_nonsense_is_a_syntax_error_or_unknown(text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        read(HEADER + text)
    assert caught.value.reason in ("SYNTAX_ERROR", "UNKNOWN_GATE")


def test_a_deep_expression_that_is_within_bounds_is_read() -> None:
    read(HEADER + "qreg q[1]; U(" + "(" * 50 + "1" + ")" * 50 + ",0,0) q[0];")


def test_parameters_are_counted_and_finite() -> None:
    error = refused(HEADER + "qreg q[1];\nrx q[0];", "SYNTAX_ERROR")
    assert (error.line, error.column) == (4, 1)
    refused(HEADER + "qreg q[1];\nrx(1/0) q[0];", "SYNTAX_ERROR")
    refused(HEADER + "qreg q[1];\nrx(10^400) q[0];", "SYNTAX_ERROR")
    refused(HEADER + "qreg q[1];\nrx(" + "2^" * 5000 + "2) q[0];", "TOO_LARGE")


@pytest.mark.parametrize("angle", ["1/a", "ln(-a)", "(a+1)^a^99999"])
def test_gates_that_cannot_be_computed_are_refused(angle: str) -> None:
    gates = f"gate inner(a) p {{ rx({angle}) p; }} gate outer(a) p {{ inner(a) p; }} "
    refused(HEADER + gates + "qreg q[1]; outer(0) q[0]; outer(9) q[0];", "SYNTAX_ERROR")
