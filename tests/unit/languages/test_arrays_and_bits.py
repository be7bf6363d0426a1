# SPDX-License-Identifier: Apache-2.0
"""Arrays as wholes, rows and slices, bits of integers and angles, and names that mean two things, in OpenQASM 3."""

from __future__ import annotations

import math

import pytest

from qonduit_server.errors import ProgramError
from qonduit_server.languages.braket import braket_reader as braket
from qonduit_server.languages.openqasm3 import openqasm3_reader
from tests.unit.ir.reference_simulator import close, distribution

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; qubit[4] q; bit[4] c; '
END = " c = measure q;"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("array[int[8], 2, 2] m = {{1, 2}, {3, 4}}; array[int[8], 2] r = m[1]; m[1, 0] = 9; if (r[0] == 3) x q[0];", 1),
        ("array[int[8], 4] a = {1, 2, 3, 4}; a[0:1] = a[2:3]; if (a[0] == 3 && a[1] == 4 && a[2] == 3) x q[0];", 1),
        ("array[int[8], 2, 2] m = {{1, 2}, {3, 4}}; m[0] = m[1]; if (m[0, 1] == 4 && m[0][0] == 3) x q[1];", 2),
        ("array[int[8], 2, 2] m = {{1, 2}, {3, 4}}; array[int[8], 2] d = m[0:1, 1]; if (d[0] * d[1] == 8) x q[2];", 4),
        ("array[int[8], 3] a = {1, 2, 3}; array[int[8], 3] b; b = a; a[0] = 5; if (b[0] == 1) x q[0];", 1),
        ("array[int[8], 5, 3] a; if (sizeof(a) == 5 && sizeof(a, 1) == 3 && sizeof(a[0]) == 3) x q[3];", 8),
        (
            "def f(readonly array[int[8], 2] v) -> int { return v[0] * v[1]; } "
            "array[int[8], 4] a = {1, 2, 3, 4}; if (f(a[2:3]) == 12) x q[0];",
            1,
        ),
        ("int[8] n = 0; n[2] = 1; if (n == 4 && n[2]) x q[0]; n[2] = 0; if (n == 0) x q[1];", 3),
        ("uint[8] n = 5; n[0:1] = \"10\"; if (n == 6) x q[0];", 1),
        ("int[4] n = 0; n[3] = 1; if (n == -8) x q[0];", 1),
        ("uint[4] n = 2; n[0] |= 1; if (n == 3) x q[0];", 1),
        ("angle[4] a = 0; a[3] = 1; rx(a) q[0]; a >>= 1; a <<= 1; rx(a) q[1]; if (a[3]) x q[2];", 7),
        ("int x = 2; x q[x];", 4),
    ],
)  # fmt: skip
def test_computations_while_reading(body: str, wanted: int) -> None:
    found = distribution(openqasm3_reader.read(HEAD + body + END))
    assert close(found, {hex(wanted): 1.0})


def test_measured_bits_of_an_integer() -> None:
    body = "ry(0.7) q[0]; int[4] n = 1; n[2] = measure q[0]; if (n == 5) x q[1]; c = measure q;"
    one = math.sin(0.35) ** 2
    assert close(distribution(openqasm3_reader.read(HEAD + body)), {"0x0": 1 - one, "0x3": one})


@pytest.mark.parametrize(("sign", "keys"), [("|=", "33"), ("^=", "32"), ("&=", "23"), ("=", "23")])
def test_an_operator_with_measure(sign: str, keys: str) -> None:
    source = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] f; ry(0.7) q[0]; x q[1]; f[0] = 1; '
        f"f[0] {sign} measure q[0]; f[1] = measure q[1];"
    )
    one = math.sin(0.35) ** 2
    expected: dict[str, float] = {}
    for key, probability in zip(keys, (1 - one, one), strict=True):
        expected[f"0x{key}"] = expected.get(f"0x{key}", 0) + probability
    assert close(distribution(openqasm3_reader.read(source)), expected)


def estimated(theta: float, size: int) -> dict[str, float]:
    """Return the outcomes of the official iterative phase estimation example, from a formula for each measurement."""
    found = {0: 1.0}
    for k in range(size):
        after: dict[int, float] = {}
        for value, probability in found.items():
            phase = theta * 2**k - value * math.tau / 2**size
            for measured, chance in ((0, math.cos(phase / 2) ** 2), (1, math.sin(phase / 2) ** 2)):
                shifted = (value | measured) << 1 & (1 << size) - 1
                after[shifted] = after.get(shifted, 0) + probability * chance
        found = after
    return {hex(value): probability for value, probability in found.items()}


@pytest.mark.parametrize("size", [3, 5])
def test_iterative_phase_estimation(size: int) -> None:
    source = f"""OPENQASM 3; include "stdgates.inc"; const int[32] n = {size}; const float[64] theta = 3 * pi / 8;
qubit q; qubit r; angle[n] c; x r; uint[n] power = 1;
for uint i in [0: n - 1] {{
  reset q; h q; ctrl @ pow(power) @ phase(theta) q, r; inv @ phase(c) q; h q;
  measure q -> c[0];
  c <<= 1; power <<= 1;
}}
bit[n] result; result = bit[n](c);"""
    assert close(distribution(openqasm3_reader.read(source)), estimated(3 * math.pi / 8, size))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("array[int[8], 2] a; array[int[8], 3] b; a = b;", "same shape"),
        ("array[int[8], 2] a = {1, 2}; array[int[8], 3] b = a;", "another shape"),
        ("array[int[8], 2] a; a[2] = 1;", "out of range"),
        ("array[int[8], 2] a; int n; n = a;", "assigned to 'n'"),
        ("float f; f[0] = 1;", "no writable bits"),
        ("array[int[8], 2] a; int n = sizeof(a, 1);", "no dimension 1"),
    ],
)
def test_what_does_not_fit_is_refused(body: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        openqasm3_reader.read(HEAD + body)


def test_a_variable_named_like_a_gate_of_brakets() -> None:
    source = "OPENQASM 3.0; qubit[2] q; bit[2] c; int x = 1; float h = pi; x q[x]; rx(h) q[0]; c = measure q;"
    assert close(distribution(braket.read(source)), {"0x3": 1.0})


def test_a_phase_with_qubits_changes_nothing() -> None:
    source = "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; gphase(0.3) q[1]; h q[0]; c = measure q;"
    assert close(distribution(braket.read(source)), {"0x0": 1.0})


def test_a_loop_that_ends_by_a_measurement_counts_its_rounds() -> None:
    source = (
        'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit b; bit[3] rounds; int[3] k = 0; uint[3] n = 0; b = 1; '
        "while (b) { n += 1; k -= 1; reset q; ry(0.7) q; b = measure q; } if (k == -3) { x q; } bit d; d = measure q; "
        "rounds = bit[3](n);"
    )
    again = math.sin(0.35) ** 2
    # Round n is the last one with this probability; the counters wrap after eight.
    wanted = {
        f"0x{int(number == 3)} {hex(number)} 0x0": again ** ((number - 1) % 8) * (1 - again) / (1 - again**8)
        for number in range(8)
    }
    assert close(distribution(openqasm3_reader.read(source)), wanted)


MEASURED = "ry(0.7) q[0]; ry(1.1) q[1]; bit[2] m; m[0] = measure q[0]; m[1] = measure q[1]; uint[2] n = uint[2](m); "
P, Q = math.sin(0.35) ** 2, math.sin(0.55) ** 2
#: The expected probability of each value of n.
N = ((1 - P) * (1 - Q), P * (1 - Q), (1 - P) * Q, P * Q)


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("x r[n];", (1, 2, 4, 8)),
        ("for int i in [0:n] { x r[i]; }", (1, 3, 7, 15)),
        ("for int i in [n:3] { if (i == 3) break; x r[i]; }", (7, 6, 4, 0)),
        ("bit[4] b; b[n] = 1; for int i in [0:3] { if (b[i]) x r[i]; }", (1, 2, 4, 8)),
        ("array[int[4], 4] a = {1, 2, 3, 0}; a[n] = 3; x r[a[0]];", (8, 2, 2, 2)),
        ("int[4] s = 0; for int i in [0:n] { s += i; } if (s == 3) x r[0]; if (s == 6) x r[1];", (0, 0, 1, 2)),
        ("x r[n]; reset r[3 - n]; x r[n]; cx r[n], r[3 - n];", (0, 0, 0, 0)),
        ("def f(int[4] k, qubit[4] t) { x t[k]; if (k > 0) { f(k - 1, t); } } f(n, r);", (1, 3, 7, 15)),
    ],
)
def test_indexes_and_ranges_that_depend_on_a_measurement(body: str, results: tuple[int, ...]) -> None:
    source = f'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; qubit[4] r; {MEASURED}{body} bit[4] c; c = measure r;'
    found: dict[str, float] = {}
    for key, probability in distribution(openqasm3_reader.read(source)).items():
        short = f"{key.split()[0]} {key.split()[-1]}"
        found[short] = found.get(short, 0) + probability
    wanted = {f"{hex(result)} {hex(n)}": N[n] for n, result in enumerate(results)}
    assert close(found, wanted)


def test_an_index_that_may_be_out_of_range_is_refused() -> None:
    with pytest.raises(ProgramError, match="index 3 is out of range: the size is 3"):
        openqasm3_reader.read(f'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; {MEASURED} x q[n];')
