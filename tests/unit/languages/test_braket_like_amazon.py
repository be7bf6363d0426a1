# SPDX-License-Identifier: Apache-2.0
"""The Braket dialect where it differs from OpenQASM 3; Amazon's LocalSimulator is the reference."""

from __future__ import annotations

import math

import pytest
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program

from qonduit_server.errors import ProgramError
from qonduit_server.languages.braket import braket_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader
from tests.unit.ir.reference_simulator import close, distribution

#: Lines of classical code that show what they compute by flipping some of four qubits.
SAME = (
    # Indexes count from the highest bit.
    'bit[3] s = "100"; for int k in [0:2] { if (s[k]) x q[k]; }',
    'bit[3] s = "100"; if (s[-1]) x q[0]; if (s[-3]) x q[1];',
    'bit[3] s = "110"; if (s[1:2] == "10") x q[0];',
    'bit[4] s = "1101"; bit[2] t = s[1:2]; if (t[0]) x q[0]; if (t[1]) x q[1];',
    'bit[3] s = "110"; int k = 0; for bit b in s { if (b) x q[k]; k = k + 1; }',
    'bit[3] s = "000"; s[0] = 1; for int k in [0:2] { if (s[k]) x q[k]; }',
    'bit[3] s = "000"; s[0] = 1; uint[3] n = uint[3](s); if (n == 4) x q[3];',
    'bit[3] s = "100"; uint[3] n = uint[3](s); if (n == 4) x q[0]; if (n == 1) x q[1];',
    'bit[4] s = "0011"; bit[4] t = s << 1; if (t[1]) x q[0]; if (t[2]) x q[1];',
    'bit[4] s = "0110"; bit[4] t = s >> 2; for int k in [0:3] { if (t[k]) x q[k]; }',
    'bit[4] s = "0011"; bit[4] t = "0101"; bit[4] u = s & t; bit[4] v = ~s; if (v[0]) x q[0]; if (u[3]) x q[3];',
    'bit[3] s = "110"; if (popcount(s) == 2) x q[0];',
    'def f(bit[3] s) -> bit { return s[0]; } bit[3] s = "100"; if (f(s)) x q[0];',
    "int[4] n = 2; for int k in [0:3] { if (n[k]) x q[k]; }",
    "uint[8] n = 1; if (n[0]) x q[0]; if (n[7]) x q[1];",
    "const uint[4] n = 3; if (n[3]) x q[0]; if (n[0]) x q[1]; if (n[-1]) x q[2]; if (n[2]) x q[3];",
    "int[8] n = 5; int[8] m = n; if (m[7]) x q[0]; if (m[6]) x q[1]; if (m[5]) x q[2];",
    "array[int[8], 3] a = {5, 6, 7}; if (a[0] == 5) x q[0]; if (a[-1] == 7) x q[1];",
    "array[bit, 3] a = {1, 0, 0}; if (a[0]) x q[0];",
    "x q[0:1]; x q[-1];",
    # Two whole numbers are divided to a whole number, rounded down.
    "rx(1/2*2*pi) q[0];",
    "rx((3/2)*pi) q[0];",
    "rx(pi*1/2*2) q[0]; rx(-1/2*pi) q[1];",
    "float f = 7/2; if (f == 3) x q[0]; if (f == 3.5) x q[1];",
    "float f = 7; f /= 2; if (f == 3) x q[0]; if (f == 3.5) x q[1];",
    "float f = 7/2.0; if (f == 3.5) x q[0];",
    "int n = -7/2; if (n == -3) x q[0]; if (n == -4) x q[1];",
    "int n = 7; n = n / 2 * 2; if (n == 6) x q[0]; if (n == 7) x q[1];",
    "int n = 7; n /= 2; if (n == 3) x q[0];",
    "const int a = 1; const int b = 2; rx(a/b*2*pi) q[0];",
    "array[int[8], 2] a = {7, 8}; rx(a[0]/2*pi) q[0];",
    "gate g(t) a { rx(t/2*pi) a; } g(1) q[0]; g(2) q[1]; g(2.0) q[2];",
    "rx(floor(5.5)/2*pi) q[0];",
    "float f = 2**-1; if (f == 0.5) x q[0]; if (f == 0) x q[1];",
    "int n = -7 % 3; if (n == -1) x q[0]; if (n == 2) x q[1];",
    "int n = 7 % -3; if (n == 1) x q[0]; if (n == -2) x q[1];",
    "if (mod(7, 3) == 1) x q[0]; float f = mod(-7, 3); if (f == 2) x q[1];",
    # Casts, and the range of an integer.
    "int[3] n = 9; if (n == 1) x q[0]; if (n == 9) x q[1];",
    "int[4] n = 9; if (n == 9) x q[0]; if (n == -7) x q[1]; if (n == 1) x q[2];",
    "uint[4] n = -1; if (n == 15) x q[0]; if (n == -1) x q[1];",
    "bool b = bool(2); if (b) x q[0]; bit c = 1; if (c == 1) x q[1];",
    # Feedback keys hold the last outcome.
    "x q[0]; measure_ff(0) q[0]; cc_prx(pi, 0.3, 0) q[1]; measure_ff(1) q[2]; cc_prx(pi, 0.1, 1) q[3];",
    "measure_ff(3) q[0]; cc_prx(pi, 0, 3) q[1]; x q[2]; measure_ff(3) q[2]; cc_prx(pi, 0, 3) q[3];",
    "x q[0]; measure_ff(0) q[0]; cc_prx(pi, 0, 0) q[0]; measure_ff(0) q[0]; cc_prx(pi, 0, 0) q[1];",
    # A register is measured qubit by qubit, and the key holds the outcome of the last one.
    "x q[3]; measure_ff(0) q; cc_prx(pi, 0, 0) q[1];",
    "x q[0]; measure_ff(0) q; cc_prx(pi, 0, 0) q[1];",
    "x q[2]; measure_ff(0) q[0:2]; cc_prx(pi, 0, 0) q[3];",
    "x q[0]; measure_ff(0) q[0:2]; cc_prx(pi, 0, 0) q[3];",
    "x q[1]; measure_ff(0) q[{2, 1}]; cc_prx(pi, 0, 0) q[3];",
)


def program(body: str) -> str:
    return f"OPENQASM 3.0; qubit[4] q; {body} bit[4] result; result = measure q;"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("body", SAME)
def test_it_is_read_as_by_amazon(body: str) -> None:
    source = program(body)
    counts = LocalSimulator().run(Program(source=source), shots=20).result().measurement_counts
    (certain,) = counts  # each of these programs has one outcome
    probabilities: dict[str, float] = {}
    for key, probability in distribution(braket_reader.read(source)).items():
        result = key.split()[0]  # the register that was declared last
        probabilities[result] = probabilities.get(result, 0) + probability
    # Amazon's keys begin with qubit 0.
    assert close(probabilities, {hex(int(certain[::-1], 2)): 1.0})


def test_openqasm_3_itself_counts_from_the_lowest_bit_and_divides_exactly() -> None:
    body = 'bit[3] s = "100"; if (s[2]) x q[0]; int[4] n = 2; if (n[1]) x q[1]; rx(1/2*2*pi) q[2];'
    source = program(body).replace("qubit[4]", 'include "stdgates.inc"; qubit[4]')
    found = openqasm3_reader.read(source)
    assert close(distribution(found), {"0x7 0x4": 1.0})


def test_measured_registers_keep_their_bits() -> None:
    source = "OPENQASM 3.0; qubit[3] q; bit[3] c; bit d; ry(0.7) q[0]; x q[1]; c = measure q; d = c[1] & c[0];"
    one = math.sin(0.35) ** 2
    assert close(distribution(braket_reader.read(source)), {"0x0 0x2": 1 - one, "0x1 0x3": one})


def test_an_integer_without_a_size_has_no_bits() -> None:
    for body in ("int n = 1; if (n[0]) x q[0];", "int n = 1; n[0] = 1;"):
        with pytest.raises(ProgramError, match=r"declared with a size, as in int\[8\]"):
            braket_reader.read(program(body))


def test_feedback_is_not_in_the_results_of_a_program() -> None:
    source = "OPENQASM 3.0; qubit[2] q; h q[0]; measure_ff(7) q[0]; cc_prx(pi, 0.3, 7) q[1];"
    circuit = braket_reader.read(source)
    assert [(register.name, len(register.bits)) for register in circuit.registers] == [("meas", 2)]
    assert close(distribution(circuit), {"0x0": 0.5, "0x3": 0.5})
    counts = LocalSimulator().run(Program(source=source), shots=200).result().measurement_counts
    assert set(counts) == {"00", "11"}


def test_feedback_from_a_whole_register_is_not_in_results_either() -> None:
    circuit = braket_reader.read("OPENQASM 3.0; qubit[2] q; h q; measure_ff(7) q; cc_prx(pi, 0, 7) q[0];")
    assert [(register.name, len(register.bits)) for register in circuit.registers] == [("meas", 2)]
    assert close(distribution(circuit), {"0x0": 0.25, "0x1": 0.25, "0x2": 0.25, "0x3": 0.25})
    # Each qubit collapses, not only the last one: the second h does not undo the first.
    circuit = braket_reader.read("OPENQASM 3.0; qubit[2] q; h q[0]; measure_ff(7) q; h q[0];")
    assert close(distribution(circuit), {"0x0": 0.5, "0x1": 0.5})


def test_feedback_within_a_loop_and_a_condition() -> None:
    rounds = "h q[0]; for int k in [0:2] { measure_ff(k) q[k]; cc_prx(pi, 0, k) q[k + 1]; }"
    assert close(distribution(braket_reader.read(program(rounds))), {"0x0": 0.5, "0xf": 0.5})
    only_if = "h q[0]; bit c = measure q[0]; if (c) { x q[1]; measure_ff(0) q[1]; cc_prx(pi, 0, 0) q[2]; }"
    registers = {"0x0 0x0": 0.5, "0x7 0x1": 0.5}
    assert close(distribution(braket_reader.read(program(only_if))), registers)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("cc_prx(pi, 0, 1) q[0];", "feedback key 1"),
        ("measure_ff(0, 1) q[0];", "1 parameters"),
        ("measure_ff(0) q[0], q[1];", "1 qubit"),
        ("inv @ measure_ff(0) q[0];", "modifiers"),
        ("gate g a { measure_ff(0) a; } g q[0];", "only gates"),
    ],
)
def test_feedback_that_is_not_well_formed_is_refused(body: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        braket_reader.read(program(body))
    assert caught.value.reason == "SYNTAX_ERROR"


def test_a_gate_of_the_program_may_have_the_name_of_a_feedback_operation() -> None:
    circuit = braket_reader.read("OPENQASM 3.0; gate measure_ff(t) a { rx(t) a; } qubit[1] q; measure_ff(pi) q[0];")
    assert close(distribution(circuit), {"0x1": 1.0})
