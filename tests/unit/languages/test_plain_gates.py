# SPDX-License-Identifier: Apache-2.0
"""The fast path for plain OpenQASM 3 gates agrees with ANTLR, and reads a megabyte in less than a minute."""

from __future__ import annotations

import time

import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.languages import plain_gates
from qonduit_server.languages.openqasm3 import openqasm3_reader

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\n'
GATES = "h q[0];\ncx q[0], q[1];\n rz(-3*pi/4) q[2]; U(0.5,1e-3,.25) q[0];\n\nx q; // all\n  ry(2) q[1];\n"


def operations(text: str) -> list[tuple[str, tuple[float, ...], tuple[int, ...]]]:
    quantum = openqasm3_reader.read(text).quantum
    return [
        (
            each.operation.name,
            tuple(each.operation.params),
            tuple(quantum.find_bit(qubit).index for qubit in each.qubits),
        )
        for each in quantum.data
    ]


def test_the_fast_path_agrees_with_antlr(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEADER + GATES + "c = measure q;\nif (c[0]) { x q[1]; }\n" + GATES + "reset q[0];" + GATES
    short, runs = plain_gates.take_out(text.replace("// all", ""))
    assert (len(runs), len(short) < len(text)) == (3, True)
    fast = operations(text)
    monkeypatch.setattr(plain_gates, "_SHORTEST_RUN", 10**9)
    assert fast == operations(text)


@pytest.mark.parametrize(
    "text",
    [
        "gate g a { x a; x a; x a; x a; x a; x a; } g q[0];",
        "for int i in [0:1] { x q[0]; x q[1]; x q[0]; x q[1]; x q[2]; x q[0]; } x q[1];",
        "for int i in {0, 1} x q[0]; x q[1]; x q[2]; x q[1]; x q[2]; x q[1];",
        "c[0] = measure q[0]; if (c[0]) x q[0]; x q[1]; x q[2]; x q[1]; x q[2]; x q[1];",
        "pragma a; x q[0]; x q[0]; x q[0]; x q[0]; x q[0];\nx q[1];",
        "reset q[0]; barrier q[0]; reset q[0]; barrier q[0]; reset q[1]; end; x q[0]; x q[0]; x q[0]; x q[0];",
        "/* ; x q[0]; x q[0]; x q[0]; x q[0]; x q[0]; */ x q[1];",
        "bit a; bit b; bit d; bit e; bit f; int g; int h1;",
        "for int i in {0, 1} { x q[0]; }; x q[0]; x q[0]; x q[0]; x q[0]; x q[0];",
    ],
)  # fmt: skip
def test_similar_statements_keep_their_meaning(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def outcome() -> object:
        try:
            return operations(HEADER + text)
        except ProgramError as error:
            return (error.reason, error.line, error.column)

    fast = outcome()
    monkeypatch.setattr(plain_gates, "_SHORTEST_RUN", 10**9)
    assert fast == outcome()


@pytest.mark.parametrize("wrong", ["foo q[0];", "h q[9];", "cx q[1], q[1];", "rz(1) r[0];", "rz q[0];"])
def test_their_errors_have_a_position(wrong: str) -> None:
    with pytest.raises(ProgramError) as caught:
        openqasm3_reader.read(HEADER + GATES + "  " + wrong)
    assert (caught.value.line, caught.value.column) == (HEADER.count("\n") + GATES.count("\n") + 1, 3)


def test_a_megabyte_of_them_is_read() -> None:
    line = "rz(0.123456789) q[2];\nh q[1];\ncx q[0], q[1];\n"
    began = time.thread_time()
    circuit = openqasm3_reader.read(HEADER + line * (2**20 // len(line)))
    assert len(circuit.quantum.data) > 65_000
    assert time.thread_time() - began < 30.0  # ANTLR takes a minute on an idle core; this takes a few seconds


def test_a_megabyte_of_anything_else_is_refused_at_once() -> None:
    began = time.thread_time()
    with pytest.raises(ProgramError, match=str(openqasm3_reader.MAX_TOKENS)) as caught:
        openqasm3_reader.read(HEADER + "c[0] = measure q[1];\n" * (2**20 // 21))
    assert (caught.value.reason, caught.value.line > 4) == ("TOO_LARGE", True)
    assert time.thread_time() - began < 5.0


def test_pragmas_end_runs() -> None:
    gates = "x q; h q; " * 4
    code = f"qubit q;\n{gates}\n#pragma a ; b (\n{gates}\npragma c\n{gates}"
    rest, runs = plain_gates.take_out(code)
    assert len(rest) == len(code)
    # Statements directly after a pragma stay in place.
    assert sorted(len(each) for each in runs.values()) == [6, 6, 7]
    assert "#pragma a ; b (" in rest
