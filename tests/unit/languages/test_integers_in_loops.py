# SPDX-License-Identifier: Apache-2.0
"""Integers in loops that end by a measurement, against Python's integers and Amazon's simulator."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.braket import braket_reader as braket
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.writing import qasm3_writer
from qonduit_server.providers import registry as providers
from tests.unit.ir.reference_simulator import close, distribution

HEAD = 'OPENQASM 3.0; include "stdgates.inc"; '
#: The probability that another round follows.
AGAIN = math.sin(0.35) ** 2
DEVICES = (("IBM", "aer_simulator"), ("GOOGLE", "cirq_simulator"), ("AWS", "local_simulator"))
SHOTS = 20


def wrapped(value: int, size: int, signed: bool = True) -> int:
    value %= 1 << size
    return value - (1 << size) if signed and value >> (size - 1) else value


def shown(circuit: Circuit) -> dict[str, float]:
    """Return the distribution of the register declared last."""
    found: dict[str, float] = {}
    for key, probability in distribution(circuit).items():
        result = key.split()[0]
        found[result] = found.get(result, 0) + probability
    return found


def looped(declared: str, statement: str) -> str:
    """Return a program with a random number of rounds, at least one, whose result is the lowest bits of n."""
    loop = f"while (b) {{ {statement} reset q; ry(0.7) q; b = measure q; }}"
    return f"{HEAD}qubit q; bit b = 1; {declared} {loop} bit[24] r; r = bit[24](n);"


@pytest.mark.parametrize(
    ("declared", "statement", "rounds"),
    [
        ("int n;", "n += 1;", lambda n: n + 1),
        ("uint n;", "n -= 1;", lambda n: wrapped(n - 1, 64, False)),
        ("int[16] n;", "n = n + 1;", lambda n: n + 1),
        ("int[32] n = 2147483647;", "n = n + 1;", lambda n: wrapped(n + 1, 32)),
        ("int[9] n = 255;", "n += 3;", lambda n: wrapped(n + 3, 9)),
        ("uint[17] n = 131000;", "n += 1000;", lambda n: wrapped(n + 1000, 17, False)),
        ("int n = 1;", "n = n * 3 + 1;", lambda n: 3 * n + 1),
        ("int n = 1;", "n *= -5;", lambda n: wrapped(-5 * n, 64)),
        ("int[40] n = 7;", "n = -n;", lambda n: -n),
        ("int[40] n = 7;", "n = ~n;", lambda n: ~n),
        ("int[24] n = -9;", "n = (n << 1) ^ (n >> 2);", lambda n: wrapped((n << 1) ^ (n >> 2), 24)),
        ("int n = 1000;", "n = (n | 5) & -2;", lambda n: (n | 5) & -2),
        ("int n = -4;", "n = n + n % 3 + 2;", lambda n: n + n % 3 + 2),
        ("int n = -4;", "if (n < 2) { n += 3; } else { n -= 1000; }", lambda n: n + 3 if n < 2 else n - 1000),
        ("int n = 5;", "if (n % 2 == 0) { n = n >> 1; } else { n = 3 * n + 1; }",
         lambda n: n * 3 + 1 if n % 2 else n // 2),
        ("uint[32] n = 1;", "switch (n) { case 3 { n = 70000; } default { n += 1; } }",
         lambda n: 70000 if n == 3 else n + 1),
        ("int n;", "n[20] = 1; n += 1;", lambda n: (n | 1 << 20) + 1),
        ("uint n = 511;", "n = popcount(n) + n;", lambda n: n.bit_count() + n),
        ("int n;", "for int i in [1:3] { n += i; if (n > 8) break; }",
         lambda n: n + 6 if n < 3 else n + (3 if n < 8 else 1)),
        ("array[int[12], 2] a = {3, 4}; int n;", "a[1] = n; n = a[0] + a[1];", lambda n: n + 3),
        ("int n = 1;", "def f(int k) -> int { return k + 300; } n = f(n);", lambda n: n + 300),
    ],
)  # fmt: skip
def test_a_loop_that_ends_by_a_measurement_computes(
    declared: str, statement: str, rounds: Callable[[int], int]
) -> None:
    # A subroutine is declared outside.
    before, brace, statement = ("", "", statement) if not statement.startswith("def") else statement.rpartition("} ")
    circuit = openqasm3_reader.read(looped(declared + before + brace, statement))
    wanted: dict[str, float] = {}
    n = int(declared.rpartition("n")[2].strip(" =;") or 0)
    for number in range(24):
        n = rounds(n)
        key = hex(n % (1 << 24))
        wanted[key] = wanted.get(key, 0) + AGAIN**number * (1 - AGAIN)
    assert close(shown(circuit), wanted)


#: Each has one outcome: q[0] to q[2] are rotated in each round until q[0] is 0.
CERTAIN = (
    "int n = 0; while (r[0]) { n += 1; ROTATE } if (n == 2) { x q[3]; }",
    "int[16] n = 1000; while (r[0]) { n = n * 3 + 1; ROTATE } if (n == 9004) { x q[3]; }",
    "uint[12] n = 4095; while (r[0]) { n = n + 1; if (n == 0) { x q[3]; } ROTATE } if (n > 1) { x q[3]; }",
    "int n = 1; int m = 1; while (r[0]) { int t = n; n = n + m; m = t; ROTATE } if (n == 3) { x q[3]; }",
    "int[32] n = -70000; while (r[0] == 1) { n = n + 50000; ROTATE } if (n == 30000) { x q[3]; }",
    "array[int[16], 2] n = {7, 300}; while (r[0]) { n[1] = n[1] + n[0]; ROTATE } if (n[1] == 314) { x q[3]; }",
    "int n = -7; while (r[0]) { n = n / 2; ROTATE } if (n == -2) { x q[3]; }",
)


def certain(body: str) -> str:
    rotate = "swap q[0], q[1]; swap q[1], q[2]; r[0] = measure q[0];"
    body = body.replace("ROTATE", rotate)
    return f"OPENQASM 3.0; qubit[4] q; bit[4] r; x q[0]; x q[1]; r[0] = measure q[0]; {body} r = measure q;"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("body", CERTAIN)
def test_it_is_computed_as_by_amazon(body: str) -> None:
    counts = LocalSimulator().run(Program(source=certain(body)), shots=SHOTS).result().measurement_counts
    (key,) = counts
    assert key == "0111"
    assert close(shown(braket.read(certain(body))), {"0xe": 1.0})


@pytest.mark.parametrize("body", CERTAIN[:4])
def test_every_provider_computes_it(body: str) -> None:
    circuit = braket.read(certain(body))
    for provider, device in DEVICES:
        ours = providers.get(provider)
        (outcome,) = ours.run(device, [ours.compile(circuit, device)], SHOTS, 7)
        assert isinstance(outcome, Outcome)
        assert {circuit.key(value) for value in outcome.counts} == {"0xe"}


def test_a_written_program_computes_it_too() -> None:
    circuit = openqasm3_reader.read(looped("int[20] n;", "n = n * 3 + 1;"))
    written = qasm3_writer.write(circuit).source
    assert isinstance(written, str)
    assert close(shown(openqasm3_reader.read(written)), shown(circuit))


def test_many_measured_bits_are_counted_without_a_loop() -> None:
    body = (
        "qubit[3] q; bit[15] c; x q[0]; ry(0.7) q[1]; ry(0.7) q[2]; for int i in [0:14] { c[i] = measure q[i % 3]; } "
        "uint n = 0; for bit b in c { n += b; } bit[4] r; r = bit[4](n);"
    )
    wanted = {"0x5": (1 - AGAIN) ** 2, "0xa": 2 * AGAIN * (1 - AGAIN), "0xf": AGAIN**2}
    assert close(shown(openqasm3_reader.read(HEAD + body)), wanted)


def test_a_counter_takes_few_bits_beside_its_own() -> None:
    bits = [openqasm3_reader.read(looped(f"int[{size}] n;", "n += 1;")).quantum.num_clbits for size in (8, 32)]
    assert 24 <= bits[1] - bits[0] <= 32  # some carries are stored, too
    nested = "while (b) { bit d = 1; int m; while (d) { m += 1; h q; d = measure q; } n += 1; h q; b = measure q; }"
    bits = [
        openqasm3_reader.read(f"{HEAD}qubit q; bit b = 1; int[{size}] n; {nested}").quantum.num_clbits
        for size in (8, 32)
    ]
    assert 24 <= bits[1] - bits[0] <= 32  # some carries are stored, too
    assert bits[0] < 200  # m has 64 bits in the first round, which is outside the loop, and 64 in the others


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        # n counts how often the condition held.
        ("f(q)", {k: 2.0 ** -(k + 1) for k in range(30)}),
        ("f(q) && n < 2", {0: 0.5, 1: 0.25, 2: 0.25}),
        ("n * 70 + n * 70 < n * 2 + 400 && f(q)", {0: 0.5, 1: 0.25, 2: 0.125, 3: 0.125}),
    ],
)
def test_a_condition_that_measures(condition: str, wanted: dict[int, float]) -> None:
    body = "def f(qubit a) -> bit { bit s; h a; s = measure a; return s; } qubit q; int n; "
    source = f"{HEAD}{body} while ({condition}) {{ n += 1; }} bit[8] r; r = bit[8](n);"
    assert close(shown(openqasm3_reader.read(source)), {hex(n): probability for n, probability in wanted.items()})


def test_a_condition_that_measures_is_not_evaluated_after_a_break() -> None:
    body = (
        "bit[6] seen; def f(qubit a) -> bit { h a; bit s; s = measure a; return s; } qubit q; qubit p; int n; "
        "while (f(q)) { h p; bit c; c = measure p; n += 1; if (c) break; x q; if (n == 1) continue; n += 100; }"
    )
    found = shown(openqasm3_reader.read(f"{HEAD}{body} bit done; done = measure q; bit[10] r; r = bit[10](n); "))
    # A round is reached if the previous one did not break and the condition held.
    wanted: dict[str, float] = {"0x0": 0.5}
    reached, n = 0.5, 0
    for _ in range(30):
        n += 1
        wanted[hex(n)] = wanted.get(hex(n), 0) + reached / 2
        n += 0 if n == 1 else 100
        wanted[hex(n % 1024)] = wanted.get(hex(n % 1024), 0) + reached / 4
        reached /= 4
    assert close(found, wanted)
    # The break leaves the qubit as it was measured: 1.
    broken = "qubit q; x q; def f(qubit a) -> bit { x a; bit s; s = measure a; return !s; } bit c; qubit p; "
    source = f"{HEAD}{broken} while (f(q)) {{ h p; c = measure p; if (c) break; x q; }} bit r; r = measure q;"
    assert close(shown(openqasm3_reader.read(source)), {"0x0": 1.0})


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("n = n * n;", "more than 12 measured bits: only sums"),
        ("n = n * (2**4000 - 1);", "more than 12 measured bits: only sums"),
        ("n = n * 2**250;", "more than 256 bits"),
        ("n = 1000 / n;", "more than 12 measured bits: only sums"),
        ("ry(n * 0.1) q;", "more than 12 measured bits: only sums"),
        ("f += 0.5;", "changes 'f', a float: it may change bits, Booleans, integers"),
    ],
)
def test_unsupported_statements_are_refused(statement: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        openqasm3_reader.read(looped("int n = 1; float f;", f"n += 1; {statement}"))
    assert caught.value.reason in ("TOO_LARGE", "UNSUPPORTED_CONSTRUCT")
