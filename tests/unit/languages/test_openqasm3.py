# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 3: results of partial evaluation, and refused programs; refusals are quick and give the position."""

from __future__ import annotations

import math
import time

import pytest
from qiskit.quantum_info import Operator

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.openqasm3.openqasm3_reader import read
from qonduit_server.languages.signatures import NO_INPUTS, Inputs
from qonduit_server.providers import registry as providers

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def refused(text: str, reason: str, inputs: Inputs = NO_INPUTS) -> ProgramError:
    """Return the error of a refused program; check that it is quick."""
    began = time.thread_time()
    with pytest.raises(ProgramError) as caught:
        read(text, inputs)
    assert time.thread_time() - began < 5.0  # far more than a refusal takes, far less than expanding the program
    assert caught.value.reason == reason
    return caught.value


def names(text: str) -> list[str]:
    """Return the operations of the circuit read from a program."""
    return [instruction.operation.name for instruction in read(HEADER + text).quantum.data]


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(register.name, len(register.bits)) for register in circuit.registers]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("qubit q; for int i in [0:2] { x q; }", ["x"] * 3),
        ("qubit[3] q; for uint i in [2:-1:0] { x q[i]; }", ["x"] * 3),
        ("qubit q; for int i in {1, 5} { rx(i) q; }", ["rx", "rx"]),
        ("qubit q; int[8] i = 0; while (i < 3) { x q; i += 1; }", ["x"] * 3),
        ("qubit q; for int i in [0:9] { if (i == 1) { continue; } if (i == 3) { break; } x q; }", ["x", "x"]),
        ("qubit q; def f(qubit a, int n) { for int i in [1:n] { x a; } } f(q, 2);", ["x", "x"]),
        ("qubit[2] q; let r = q[1:-1:0]; cx r[0], r[1];", ["cx"]),
        ("qubit[2] q; h q; end; x q;", ["h", "h"]),
        ("qubit q; bit c = 1; if (c == 1) { x q; } else { y q; }", ["x"]),
        ("qubit q; const int n = 2; switch (n) { case 1 { x q; } case 2, 3 { y q; } default { z q; } }", ["y"]),
        ("qubit q; array[int[8], 2] a = {1, 2}; a[0] = 3; for int i in [1:a[0] - a[1]] { x q; }", ["x"]),
        ("qubit q; uint[3] u = 7; u += 2; for int i in [1:u] { x q; }", ["x"]),
        ("qubit q; box { x q; } delay[100ns] q;", ["x"]),
        ("qubit q; for int i in [1:mod(7, 4)] { x q; }", ["x"] * 3),
        ("qubit q; for int i in [1:7 % 4] { x q; }", ["x"] * 3),
        ("qubit q; for int i in [1:2 ** 3 - 5] { x q; }", ["x"] * 3),
        ("qubit[2] q; pow(2) @ x q[0]; inv @ s q[0]; ctrl @ x q[0], q[1];", ["x", "x", "sdg", "cx"]),
        ("qubit q; gate g(t) a { rx(t) a; ry(2 * t) a; } inv @ g(0.5) q;", ["ry", "rx"]),
        ("qubit q; gphase(1.5);", []),
        ("h $0; cx $0, $1;", ["h", "cx"]),
    ],
)
def test_constants_are_evaluated_while_reading(text: str, left: list[str]) -> None:
    assert names(text) == left


def test_registers_keep_name_size_and_order() -> None:
    circuit = read(HEADER + "bit b; qubit[3] q; bit[2] a; a[1] = measure q[0]; b = measure q[2];")
    assert registers(circuit) == [("b", 1), ("a", 2)]
    assert circuit.key(0b101) == "0x2 0x1"


def test_outputs_hide_other_registers() -> None:
    assert registers(read(HEADER + "qubit q; bit c; output bit r; c = measure q; r = measure q;")) == [("r", 1)]


def test_bits_are_computed_not_run() -> None:
    circuit = read(
        HEADER + 'qubit[2] q; bit[2] c; bit x; bit[3] k = "101"; c = measure q; x = c[0] ^ c[1]; c[0] = 1; k[1] = !x;'
    )
    keys = {circuit.key(outcome) for outcome in range(4)}
    assert [name for name, _ in registers(circuit)] == ["c", "x", "k"]
    assert keys == {"0x7 0x0 0x1", "0x5 0x1 0x1", "0x5 0x1 0x3", "0x7 0x0 0x3"}


def test_bits_are_shifted_as_the_number_that_they_are() -> None:
    circuit = read(
        HEADER + 'qubit q; bit[4] a = "0110"; bit[4] less = a >> 1; bit[4] more = a << 1; bit[4] no = a >> 4;'
    )
    assert circuit.key(0) == "0x0 0xc 0x3 0x6"


def test_a_value_that_was_measured_into_a_bit_outlives_the_bit() -> None:
    circuit = read(HEADER + "qubit[2] q; bit c; bit d; c = measure q[0]; d = c; c = measure q[1];")
    assert {circuit.key(outcome) for outcome in (0b000, 0b001, 0b100, 0b101)} == {
        "0x0 0x0",
        "0x1 0x0",
        "0x0 0x1",
        "0x1 0x1",
    }


@pytest.mark.parametrize(
    "text",
    [
        "if (c[0] == c[1]) { x q[2]; }",
        "if (c == 2) { x q[2]; }",
        'if (c == "10") { x q[2]; }',
        "if (!c[0] && c[1]) { x q[2]; }",
        "if (int[8](c) < 3) { x q[2]; }",
        "int[8] i = int[8](c); i = i * 2 + 1; if (i == 5) { x q[2]; }",
        "rx(c * 0.5) q[2];",
        "int i = 0; if (c[0]) { i = 3; } for int k in [0:1] { if (i > k) { x q[2]; } }",
        "bool b = c[0] || c[1]; if (b) { x q[2]; } else { y q[2]; }",
    ],
)
def test_measured_bits_guard_operations(text: str) -> None:
    left = names("qubit[3] q; bit[2] c; h q; c = measure q[0:1]; " + text)
    assert left[:5] == ["h", "h", "h", "measure", "measure"]
    assert set(left[5:]) == {"if_else"}


def test_a_loop_that_ends_by_a_measurement_stays_a_loop() -> None:
    left = names("qubit q; bit c = 1; while (c) { h q; c = measure q; }")
    # The first round is known to happen.
    assert left == ["h", "measure", "store", "while_loop"]


def test_changes_in_later_rounds_of_a_loop_are_kept_too() -> None:
    circuit = read(
        HEADER + "qubit q; bit c; bit a; bit b; c = measure q; "
        "while (c) { if (a) { b = 1; } a = 1; c = measure q; } if (b) { x q; }"
    )
    loop = circuit.quantum.data[-2].operation
    written = [each.operation.lvalue.var for each in loop.blocks[0].data if each.operation.name == "store"]
    homes = [register.bits[0] for register in circuit.registers]
    assert [circuit.quantum.clbits[home] in written for home in homes if isinstance(home, int)] == [True] * 3


def test_a_branch_that_cannot_be_reached_leaves_nothing() -> None:
    text = "qubit q; bit c = measure q; if (c) { if (!c) { x q; } else { y q; } }"
    circuit = read(HEADER + text)
    (inner,) = circuit.quantum.data[1].operation.blocks[0].data
    assert inner.operation.name == "y"


def test_measuring_into_an_element_leaves_the_others() -> None:
    left = names("qubit q; array[int[8], 2] a = {0, 2}; a[0] = measure q; for int i in [1:a[1]] { y q; }")
    assert left == ["measure", "y", "y"]


@pytest.mark.parametrize("sign", ["ctrl", "negctrl"])
def test_a_fraction_of_a_gate_under_control(sign: str) -> None:
    circuit = read(HEADER + f"qubit[2] q; {sign} @ pow(0.5) @ x q[0], q[1]; {sign} @ pow(0.5) @ x q[0], q[1];")
    whole = read(HEADER + f"qubit[2] q; {sign} @ x q[0], q[1];")
    assert Operator(circuit.quantum) == Operator(whole.quantum)


def test_gates_of_the_program_win_over_those_of_the_library() -> None:
    circuit = read(
        HEADER + "gate iswap a, b { x a; } gate swap a, b { y a; } qubit[2] q; iswap q[0], q[1]; swap q[0], q[1];"
    )
    assert [instruction.operation.name for instruction in circuit.quantum.data] == ["x", "y"]
    assert any("swap" in warning for warning in circuit.warnings)


def test_errors_have_line_and_column() -> None:
    error = refused(HEADER + "qubit[2] q;\n  h q[5];", "SYNTAX_ERROR")
    assert (error.line, error.column) == (4, 3)
    assert error.message.startswith("line 4, column 3: ")
    error = refused(HEADER + "qubit[2] q;\nh q[0;", "SYNTAX_ERROR")
    assert (error.line, error.column) == (4, 6)


def test_unknown_gates() -> None:
    error = refused(HEADER + "qubit q;\nfoo q;", "UNKNOWN_GATE")
    assert (error.line, "foo" in error.message) == (4, True)
    assert "stdgates.inc" in refused("OPENQASM 3.0;\nqubit q;\nh q;", "UNKNOWN_GATE").message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("OPENQASM 2.0;\nqreg q[1];", "QASM2"),
        ("import qiskit\n", "Python"),
        ('{"gates": []}', "JSON"),
        ("DECLARE ro BIT[2]\nH 0\n", "Quil"),
    ],
)
def test_another_language_is_named(text: str, hint: str) -> None:
    assert hint in refused(text, "WRONG_LANGUAGE").message


def test_constructs_have_a_position() -> None:
    circuit = read(
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q; bit c;\nreset q;\nc = measure q[0];\nh q[1];\n'
        "x q[0];\nif (c) {\n  x q[1];\n}\nwhile (!c) {\n  c = measure q[0];\n}"
    )
    assert circuit.lines == {"reset": 4, "mid_circuit_measurement": 7, "conditionals": 9, "loops": 11}
    assert not read('OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; x q; c = measure q;').lines


@pytest.mark.parametrize("name", ['"/etc/passwd"', '"/dev/zero"', '"self.qasm"', "'other.inc'"])
def test_only_the_standard_include_is_read(name: str) -> None:
    assert refused(f"OPENQASM 3.0;\ninclude {name};\nqubit q;", "UNSUPPORTED_CONSTRUCT").line == 2


@pytest.mark.parametrize(
    "text",
    [
        "qubit[1000000000] q;",
        "bit[1000000000] c;",
        "qubit q; for int i in [0:1000000000] { x q; }",
        "qubit q; for int i in [0:100000000000000000000] { }",
        "while (true) { }",
        "qubit q; while (true) { x q; }",
        "qubit q; pow(1000000000) @ x q;",
        "qubit[41] q; ctrl(40) @ x " + ", ".join(f"q[{k}]" for k in range(41)) + ";",
        "const int n = 2 ** 2 ** 40;",
        "const int n = 1 << 1000000000;",
        "gate g0 a { x a; x a; } "
        + " ".join(f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}" for k in range(1, 41))
        + " qubit q; g40 q;",
        "def f(qubit a) { f(a); } qubit q; f(q);",
        "gate g a { g a; } qubit q; g q;",
        "qubit q; rx(" + "(" * 5000 + "1" + ")" * 5000 + ") q;",
        "qubit q; rx(" + "-" * 5000 + "1) q;",
        "qubit q; for int i in [0:9999] { for int j in [0:9999] { } }",
        "array[int[8], 100000, 100000] a;",
        "qubit q; bit[3] c; for int i in [0:2] { c[i] = measure q; } bit d0 = c[0];"
        + "".join(f"bit d{k + 1} = (d{k} & c[1]) ^ (d{k} | c[2]) ^ ~d{k};" for k in range(30)),
        "qubit q; bit[20] c; for int i in [0:19] { c[i] = measure q; } int[32] n = int[32](c); if (n * n > 5) { x q; }",
    ],
    ids=[
        "qubits", "bits", "loop", "endless-range", "while", "while-gates", "pow", "ctrl", "power", "shift", "doubling",
        "recursion", "gate-recursion", "brackets", "signs", "nested-loops", "array", "logic", "wide-arithmetic",
    ],
)  # fmt: skip
def test_bombs_are_refused(text: str) -> None:
    refused(HEADER + text, "TOO_LARGE")


@pytest.mark.parametrize(
    "text",
    [
        "input duration d;",
        "defcal x $0 { }",
        "extern f(int) -> int;",
        "qubit q; bit c = measure q; if (c) { end; }",
        "duration d = durationof({ });",
        "qubit q; bit c = 1; float f = 0; while (c) { c = measure q; f += 0.5; }",
        "qubit q; bit c = measure q; while (c) { end; } x q;",
        "qubit q; bit c = measure q; def f(qubit a) { end; } while (c) { f(q); } x q;",
        "qubit q; bit c = measure q; def f(qubit a) { while (c) { return; } x a; } f(q);",
        "array[int[8], 2] a; a[{0, 1}] = 3;",
        "qubit[9] q; gate g a, b, c { h a; cx a, b; cx b, c; } "
        "ctrl(4) @ pow(0.5) @ g q[0], q[1], q[2], q[3], q[4], q[5], q[6];",
    ],
)
def test_unsupported_constructs_are_named(text: str) -> None:
    error = refused(HEADER + text, "UNSUPPORTED_CONSTRUCT", {"d": 1.0})
    assert error.line >= 3


@pytest.mark.parametrize(
    "text",
    [
        "qubit[2] q; cx q[0], q[0];",
        "qubit[2] q; qubit[3] r; cx q, r;",
        "qubit q; q[0] = 1;",
        "bit c; c = 1 / 0;",
        "int i = j;",
        "const int n = 1; n = 2;",
        "qubit[2] q; bit[3] c; c = measure q;",
        "break;",
        "return;",
        "qubit q; rx(0.1, 0.2) q;",
        "qubit q; rx(1.0e400) q;",
        "qubit q; int q = 1;",
        "array[int[8], 2] a; a[0:1] = 3;",
        "array[int[8], 2, 2] a; a[0] = 3;",
        "array[int[8], 2] a; a = 3;",
        "gate g a { measure a; }",
        "int a = 1; a ~= 2;",
        "qubit[3] q; x q[1.0e999];",
        "int a = " + "1" * 5000 + ";",
        "qubit q; bool b = true; let v = b[0];",
        "gate g a { x $0; } qubit q; g q;",
        "gate g a { end; } qubit q; g q; x q;",
        "qubit q; int n = 1; gate g a { rx(n) a; } g q; n = 2; g q;",
        "qubit q; bit c = measure q; gate g a { if (c) { x a; } } g q;",
    ],
)
def test_mistakes_are_syntax_errors(text: str) -> None:
    refused(HEADER + text, "SYNTAX_ERROR")


INPUTS = [
    ("float[64] t", 0.25, "t", 0.25),
    ("float t", 2, "t", 2.0),
    ("angle[32] t", 3 * math.pi, "t", math.pi),
    ("int[8] n", -3.0, "n", -3.0),
    ("uint n", 7.0, "n", 7.0),
    ("bool b", True, "b ? 1 : 0", 1.0),
    ("array[float[32], 2, 2] a", [[1, 2], [3, 4]], "a[1][0]", 3.0),
    ("array[int[8], 2] a", [5.0, -6.0], "a[1]", -6.0),
    ("bit[4] b", "0010", "int[8](b)", 2.0),
    ("bit[4] b", 9.0, "int[8](b)", 9.0),
    ("bit b", 1.0, "int[8](b)", 1.0),
    ("complex t", [0.5, 2.0], "imag(t)", 2.0),
]


@pytest.mark.parametrize(("declared", "given", "used", "angle"), INPUTS)
def test_inputs(declared: str, given: object, used: str, angle: float) -> None:
    name = declared.split()[-1]
    if "?" in used:
        text = f"input {declared}; qubit q; if ({name}) {{ rx(1) q; }}"
    else:
        text = f"input {declared}; qubit q; rx({used}) q;"
    (gate,) = read(HEADER + text, {name: given}).quantum.data
    assert gate.operation.params[0] == pytest.approx(angle)


def test_inputs_are_no_results() -> None:
    circuit = read(HEADER + 'input bit[2] b; qubit q; bit c; if (b == "01") { x q; } c = measure q;', {"b": "01"})
    assert registers(circuit) == [("c", 1)]
    assert [each.operation.name for each in circuit.quantum.data] == ["x", "measure"]


def test_inputs_that_are_missing_or_not_needed() -> None:
    with pytest.raises(ProgramError) as caught:
        read(HEADER + "input float t;\nqubit q; rx(t) q;", {"s": 1.0})
    assert (caught.value.reason, caught.value.line) == ("MISSING_INPUT", 3)
    circuit = read(HEADER + "input float t; qubit q; rx(t) q;", {"s": 1.0, "t": 2.0})
    assert circuit.warnings == ("input 's' is not one of the program's",)


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ("float t", "1.0"),
        ("float t", True),
        ("float t", float("nan")),
        ("angle t", None),
        ("int n", 0.5),
        ("int[4] n", 8.0),
        ("uint[4] n", -1.0),
        ("uint n", 2.0**60),
        ("bool b", 2.0),
        ("bool b", "true"),
        ("bit b", 2.0),
        ("bit[3] b", "01"),
        ("bit[3] b", "012"),
        ("bit[3] b", [0.0, 1.0, 0.0]),
        ("bit[3] b", 8.0),
        ("complex t", [1.0]),
        ("array[int[8], 2] a", [1.0]),
        ("array[int[8], 2] a", 1.0),
        ("array[int[8], 2] a", [1.0, [2.0]]),
    ],
)
def test_inputs_of_another_type(declared: str, given: object) -> None:
    name = declared.split()[-1]
    with pytest.raises(ProgramError, match=f"'{name}' must be") as caught:
        read(HEADER + f"input {declared};", {name: given})
    assert (caught.value.reason, caught.value.line) == ("INVALID_INPUT", 3)


def test_inputs_are_written_as_their_kind_allows() -> None:
    text = HEADER + "input int n; qubit q; while (n > 0) { x q; n -= 1; }"
    assert len(read(text, {"n": 3.0}).quantum.data) == 3
    with pytest.raises(ProgramError, match="constant"):
        read(HEADER + "input bit b; qubit q; b = measure q;", {"b": "0"})


def outcomes(text: str) -> dict[str, float]:
    """Return the share of each key, for a program whose measured qubits are in basis states."""
    circuit = read(HEADER + text)
    provider = providers.get("IBM")
    compiled = provider.compile(circuit, "aer_simulator")
    (outcome,) = provider.run("aer_simulator", [compiled], 400, 7)
    assert isinstance(outcome, Outcome)
    shares: dict[str, float] = {}
    for value, number in outcome.counts.items():
        shares[circuit.key(value)] = shares.get(circuit.key(value), 0) + number / 400
    return shares


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # The third round flips the qubit and is thus the last.
        (
            "qubit[2] q; bit[5] n; bit c; for int i in [0:4] { if (i == 2) { x q[0]; } c = measure q[0]; "
            "if (c) { break; } n[i] = 1; }",
            "0x1 0x3",
        ),
        (
            "qubit[3] q; bit[4] n; bit c; bit d; x q[0]; for int i in [0:3] { c = measure q[0]; x q[0]; "
            "if (c) { continue; } n[i] = 1; x q[2]; if (!c) { n[i] = 1; } } d = measure q[2];",
            "0x0 0x0 0xa",
        ),
        (
            "qubit[2] q; bit c; bit[4] n; x q[0]; c = measure q[0]; while (c) { n[0] = 1; x q[0]; c = measure q[0]; "
            "if (!c) { n[1] = 1; c = 1; break; n[2] = 1; } n[3] = 1; }",
            "0x3 0x1",
        ),
        (
            "qubit[2] q; bit c; bit[4] n; bit d; while (true) { c = measure q[0]; if (c) { n[1] = 1; break; } x q[0]; "
            "if (n[0]) { n[2] = 1; } n[0] = 1; } d = measure q[0];",
            "0x1 0x3 0x1",
        ),
        (
            "qubit[2] q; bit c; bit d; bit[4] n; x q[1]; c = measure q[1]; d = measure q[0]; "
            "for int i in [0:1] { while (c) { n[i] = 1; if (!d) { break; } n[3] = 1; } n[2] = !d; }",
            "0x7 0x0 0x1",
        ),
        (
            "qubit[2] q; bit c; bit[2] n; x q[1]; c = measure q[1]; for int i in [0:30] { if (i == 3) { "
            "if (c) { break; } } for int j in [0:2] { if (c) { continue; } n[1] = 1; } n[0] = c; }",
            "0x1 0x1",
        ),
    ],
)
def test_loops_left_by_a_measurement(text: str, key: str) -> None:
    assert outcomes(text) == {key: 1.0}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # The second round does not measure into m, a new variable.
        (
            "qubit[2] q; bit d; bit r; bit[2] n; x q; d = measure q[0]; while (d) { bit m; if (!r) { m = measure q[1]; "
            "} n[0] = n[0] | m; n[1] = m; if (r) { x q[0]; d = measure q[0]; } r = 1; }",
            "0x1 0x1 0x0",
        ),
        # The inner loop toggles n[1] once in each of the outer one's two rounds, after it was cleared.
        (
            "qubit[2] q; bit c; bit d; bit[2] n; bit r; x q; d = measure q[0]; while (d) { c = measure q[1]; n[1] = 0; "
            "while (c) { n[1] = !n[1]; x q[1]; c = measure q[1]; x q[1]; } n[0] = n[1]; "
            "if (r) { x q[0]; d = measure q[0]; } r = 1; }",
            "0x1 0x3 0x0 0x0",
        ),
        (
            "qubit q; bit c; bit d; x q; c = measure q; bool b = c; bool e; while (c) { b = true; e = !e; x q; "
            "c = measure q; } d = b && e;",
            "0x1 0x0",
        ),
    ],
    ids=["measured-in-one-round", "loop-in-a-loop", "booleans"],
)
def test_each_round_of_a_loop_starts_with_the_values_of_the_previous_one(text: str, key: str) -> None:
    assert outcomes(text) == {key: 1.0}
