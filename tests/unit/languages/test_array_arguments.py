# SPDX-License-Identifier: Apache-2.0
"""Arrays and array slices as arguments of subroutines: a subroutine writes into the caller's array."""

from __future__ import annotations

import pytest
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program

from qonduit_server.errors import ProgramError
from qonduit_server.languages.braket import braket_reader as braket
from qonduit_server.languages.openqasm3 import openqasm3_reader
from tests.unit.ir.reference_simulator import close, distribution

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; '
B = "array[int[8], 6] b = {1, 2, 3, 4, 5, 6}; "
M = "array[int[8], 2, 3] m = {{1, 2, 3}, {4, 5, 6}}; "
SET = "def f(mutable array[int[8], #dim = 1] a) { a[0] = 70; a[1] += 10; } "
SUM = "def s(readonly array[int[8], #dim = 1] a) -> int[8] { int[8] t = 0; for int[8] k in a { t += k; } return t; } "
#: The body, the array to check, and its expected values.
WRITTEN = (
    (f"{SET}{B}f(b[1:3]);", "b", [1, 70, 13, 4, 5, 6]),
    (f"{SET}{B}f(b[1:2:5]);", "b", [1, 70, 3, 14, 5, 6]),
    (f"{SET}{B}f(b[4:-1:2]);", "b", [1, 2, 3, 14, 70, 6]),
    (f"{SET}{B}f(b[-2:-1]);", "b", [1, 2, 3, 4, 70, 16]),
    (f"{SET}{B}f(b[3:]); f(b[:1]);", "b", [70, 12, 3, 70, 15, 6]),
    (f"{SET}{B}f(b);", "b", [70, 12, 3, 4, 5, 6]),
    (f"{SET}{M}f(m[1]);", "m", [1, 2, 3, 70, 15, 6]),
    (f"{SET}{M}f(m[0:1, 2]);", "m", [1, 2, 70, 4, 5, 16]),
    (f"{SET}{M}f(m[-1][1:2]);", "m", [1, 2, 3, 4, 70, 16]),
    (
        f"def f(mutable array[int[8], #dim = 2] a) {{ a[1, 0] = 70; a[0] = a[1]; }} {M}f(m[0:1, 2:-1:1]);",
        "m",
        [1, 5, 70, 4, 5, 70],
    ),
    (
        f"{SET}def g(mutable array[int[8], #dim = 1] a) {{ f(a[1:2]); a[0] = 9; }} {B}g(b[2:4]);",
        "b",
        [1, 2, 9, 70, 15, 6],
    ),
    (
        f"def f(mutable array[int[8], #dim = 1] a, int[8] n) {{ a[n] = 70; if (n > 0) {{ f(a[1:], n - 1); }} }} "
        f"{B}f(b[1:4], 1);",
        "b",
        [1, 2, 70, 4, 5, 6],
    ),
    (
        "def f(mutable array[int[8], #dim = 1] a, readonly array[int[8], #dim = 1] k) { a[0] = 9; a[1] = k[0]; } "
        f"{B}f(b[0:1], b[0:1]);",
        "b",
        [9, 9, 3, 4, 5, 6],
    ),
    (f"{SUM}{B}b[0] = s(b[1:3]);", "b", [9, 2, 3, 4, 5, 6]),
    (f"{SUM}{M}m[0, 0] = s(m[1]) + s(m[0:1, 1]);", "m", [22, 2, 3, 4, 5, 6]),
)


def looked_at(array: str, values: list[int]) -> str:
    """Return statements that flip the lowest qubit if the array holds those values, and the next one otherwise."""
    places = [f"b[{k}]" for k in range(6)] if array == "b" else [f"m[{k // 3}, {k % 3}]" for k in range(6)]
    same = " ".join(f"if ({place} == {value}) {{ n += 1; }}" for place, value in zip(places, values, strict=True))
    return f"qubit[2] q; bit[2] r; int[8] n = 0; {same} if (n == 6) {{ x q[0]; }} else {{ x q[1]; }} r = measure q;"


@pytest.mark.parametrize(("body", "array", "values"), WRITTEN)
def test_a_subroutine_writes_into_the_callers_array(body: str, array: str, values: list[int]) -> None:
    source = HEAD + body + looked_at(array, values)
    assert close(distribution(openqasm3_reader.read(source)), {"0x1": 1.0})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("body", "array", "values"), [WRITTEN[k] for k in (0, 1, 3, 5)])
def test_amazons_simulator_writes_the_same(body: str, array: str, values: list[int]) -> None:
    source = "OPENQASM 3.0; " + body + looked_at(array, values)
    counts = LocalSimulator().run(Program(source=source), shots=10).result().measurement_counts
    assert counts == {"10": 10}
    assert close(distribution(braket.read(source)), {"0x1": 1.0})


def test_parts_are_written_under_conditions_and_in_loops_that_end_by_a_measurement() -> None:
    body = (
        "def f(mutable array[int[16], #dim = 1] a, qubit p, qubit t) { bit go = 1; while (go) { a[1] += 300; "
        "swap p, t; go = measure p; } } qubit[3] q; array[int[16], 4] b = {1, 2, 3, 4}; x q[1]; h q[2]; "
        "bit c; c = measure q[2]; if (c) { f(b[1:2], q[0], q[1]); } "
        "bit[2] r; r[0] = b[2] == 603; r[1] = b[0] == 1 && b[1] == 2 && b[3] == 4;"
    )
    assert close(distribution(openqasm3_reader.read(HEAD + body)), {"0x2 0x0": 0.5, "0x3 0x1": 0.5})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"def f(readonly array[int[8], #dim = 1] a) {{ a[0] = 1; }} {B}f(b);", "'a' is constant"),
        (f"def f(readonly array[int[8], #dim = 1] a) {{ a[0] = 1; }} {B}f(b[1:2]);", "'a' is constant"),
        (f"{SET}def g(readonly array[int[8], #dim = 1] k) {{ f(k[0:1]); }} {B}g(b);", "'k' is constant"),
        (f"{SET}{B}f(b[2]);", "'f' takes an array as 'a'"),
        (f"{SET}{B}f(b[1:1]);", "index 1 of 'a' is out of range: the size is 1"),
        (f"{SET}{B}f(b[1:7]);", "index 7 is out of range: the size is 6"),
        (f"{SET}{B}f(b[0, 1]);", "fewer dimensions"),
        (f"def f(mutable array[int[8], #dim = 1] a) {{ a[0] = 1; }} {B}f(b[3:2]);", "out of range: the size is 0"),
        (f"def f(mutable array[int[8], #dim = 1] a) {{ int n = a[:][0]; }} {B}f(b[3:2]);", "out of range"),
    ],
)
def test_invalid_array_arguments_are_refused(body: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        openqasm3_reader.read(HEAD + body)
