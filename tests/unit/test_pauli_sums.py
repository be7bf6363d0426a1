# SPDX-License-Identifier: Apache-2.0
"""Observables from text and from packed terms: values against dense matrices, errors with their column, and limits."""

from __future__ import annotations

import contextlib
import math
import random
import time

import numpy as np
import pytest

from qonduit_server import pauli_sums
from qonduit_server.pauli_sums import PauliSum, PauliSumError, from_masks, parse
from tests.unit.estimation.dense_observables import MATRICES, dense, product


def masks(*terms: tuple[float, int, int]) -> PauliSum:
    coefficients, x, z = zip(*terms, strict=True)
    return PauliSum(coefficients, x, z)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1.5*X0*X1 - 0.5*Z0 + 0.25", masks((1.5, 3, 0), (-0.5, 0, 1), (0.25, 0, 0))),
        ("X0", masks((1, 1, 0))),
        ("Y12", masks((1, 1 << 12, 1 << 12))),
        ("I", masks((1, 0, 0))),
        ("I4", masks((1, 0, 0))),
        ("3", masks((3, 0, 0))),
        (".5e1 Z3", masks((5, 0, 8))),
        ("2X0X1", masks((2, 3, 0))),
        ("X0 Y1 Z2", masks((1, 3, 6))),
        ("2*-X0", masks((-2, 1, 0))),
        ("- -X0 - -2", masks((1, 1, 0), (2, 0, 0))),
        ("X0*2*Z1*3", masks((6, 1, 2))),
        ("\tX0\r\n+\n1E-3 * Z0 ", masks((1, 1, 0), (0.001, 0, 1))),
        # Equal products are merged in order of first appearance; zeros are left out.
        ("Z1 + X0 + 2*Z1", masks((3, 0, 2), (1, 1, 0))),
        ("Z1 + X0 - Z1", masks((1, 1, 0))),
        ("0*X0", masks((0, 0, 0))),
        ("X0 - X0", masks((0, 0, 0))),
        # Products on one qubit.
        ("X0*X0", masks((1, 0, 0))),
        ("X0*Y0*Z0*X1*Y1*Z1", masks((-1, 0, 0))),
        ("X0*Z0 + Z0*X0 + 1", masks((1, 0, 0))),
        ("0.1*X0*Z0 + 0.2*X0*Z0 + 0.3*Z0*X0 + 1", masks((1, 0, 0))),
        # Parentheses.
        ("0.5*(X0 + Z1)", masks((0.5, 1, 0), (0.5, 0, 2))),
        ("-(X0 - 2)*Z1", masks((-1, 1, 2), (2, 0, 2))),
        ("(X0*Z0)*(X0*Z0)", masks((-1, 0, 0))),
        ("(X0 + Y0)(X1)", masks((1, 3, 0), (1, 3, 1))),
    ],
)
def test_expressions_are_sums_of_products(expression: str, expected: PauliSum) -> None:
    assert parse(expression) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "the observable is empty"),
        (" \n ", "the observable is empty"),
        ("x0", "column 1: unexpected 'x'; allowed are numbers, I, X, Y and Z with a qubit number"),
        ("X0 + 1.5*q", "column 10: unexpected 'q'"),
        ("X0 + X", "column 6: X needs a qubit number; write for example X0"),
        ("XX", "column 1: X needs a qubit number"),
        ("X[0]", "column 1: X needs a qubit number"),
        ("X 0", "column 1: X needs a qubit number"),
        ("X0 2", "column 4: unexpected '2'; write '*' or a sign before a number"),
        ("1.5.2", "column 4: unexpected '.2'"),
        ("X0 +", "column 5: a factor is missing at the end"),
        ("*X0", "column 1: a factor is missing before '*'"),
        ("X0 ** 2", "column 5: a factor is missing before '*'"),
        ("X0/2", "column 3: unexpected '/'"),
        ("1j*X0", "column 2: unexpected 'j'"),
        ("nan*X0", "column 1: unexpected 'n'"),
        ("inf", "column 1: unexpected 'i'"),
        ("X٣", "column 1: X needs a qubit number"),
        ("X0 + 1e999", "column 6: the number 1e999 exceeds the range"),
        ("X0 + 1e308*10*Z0", "column 6: the coefficient exceeds the range"),
        ("1e308*X0 + 1e308*X0", "the coefficient of X0 exceeds the range"),
        ("(1e308 + 1e308)*(X0 - X0)", "exceeds the range"),
        ("X0*X4096", "column 4: qubit number 4096 is too large; qubits are numbered from 0 to 4095"),
        ("Z" + "9" * 5000, "column 1: qubit number 9999999999999999 is too large"),
        ("1 + X0*Z0", "column 5: the coefficient of Y0 is imaginary (-1i)"),
        ("X0*Z0 + 0.999999*Z0*X0", "column 1: the coefficient of Y0 is imaginary"),
        ("(X0", "column 1: the parenthesis is not closed; write ')'"),
        ("X0)", "column 3: unexpected ')'"),
        ("()", "column 2: a factor is missing before ')'"),
        ("(" * 5000 + "X0" + ")" * 5000, "column 33: parentheses are nested more than 32 deep"),
        ("*".join(f"(X{k} + Z{k})" for k in range(40)), "the parentheses expand to more than 100000 products"),
    ],
)
def test_errors_name_the_column_and_what_is_allowed(expression: str, message: str) -> None:
    with pytest.raises(PauliSumError) as raised:
        parse(expression)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300


def test_random_expressions_have_the_matrix_of_their_factors() -> None:
    generator = random.Random(5)
    for _ in range(60):
        expected = np.zeros((8, 8), dtype=complex)
        text = []
        for _ in range(generator.randint(1, 4)):
            number = round(generator.uniform(-2, 2), 3)
            factors = [(generator.choice("XYZI"), generator.randrange(3)) for _ in range(generator.randint(1, 6))]
            matrix = number * np.eye(8, dtype=complex)
            for letter, qubit in factors:
                matrix = matrix @ product({qubit: letter}, 3)
            # With its adjoint, every product is real.
            expected += matrix + matrix.conj().T
            names = [f"{letter}{qubit}" for letter, qubit in factors]
            text.append(f"{number}*({'*'.join(names)} + {' '.join(reversed(names))})")
        np.testing.assert_allclose(dense(parse(" + ".join(text)), 3), expected, atol=1e-12)


def test_the_number_of_qubits_is_that_of_the_highest_qubit_used() -> None:
    assert parse("X0*Z7 + Y3").num_qubits == 8
    assert parse("2*I").num_qubits == 0


def test_products_have_names() -> None:
    assert pauli_sums.describe(0b101, 0b1100) == "X0*Y2*Z3"
    assert pauli_sums.describe(0, 0) == "I"
    assert set(MATRICES) == set("IXYZ")


def test_ten_thousand_terms_take_less_than_half_a_second() -> None:
    generator = random.Random(1)
    text = " + ".join(
        f"{generator.random():.6f}*" + "*".join(f"{generator.choice('XYZ')}{q}" for q in generator.sample(range(20), 4))
        for _ in range(10_000)
    )
    times = []
    for _ in range(3):
        began = time.process_time()
        parsed = parse(text)
        times.append(time.process_time() - began)
    assert len(parsed.coefficients) > 9_000
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "+" * 200_000,
        "1" * 200_000,
        "1e" + "9" * 200_000,
        "X" * 200_000,
        "I" * 200_000,
        " " * 200_000 + "?",
        "X4095 " * 40_000,
        "(1)" * 20_000,
        "X0*" * 60_000 + "?",
        "(" + "+".join(["X1*Y2"] * 20_000) + ")" * 20_000,
        "*".join(["(X1+Y2+Z3)"] * 9_000),
    ],
    ids=lambda text: text[:12],
)
def test_hostile_expressions_end_soon(text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(PauliSumError):
        parse(text)
    assert time.process_time() - began < 2.0


def test_packed_masks_are_big_endian_with_whole_bytes_a_term() -> None:
    found = from_masks([1.0, 2.0, 0.5], b"\x02\x01\x00\x00\x00\x00", b"\x02\x00\x00\x80\x00\x00", 10)
    assert found == masks((1, 0x201, 0x200), (2, 0, 0x80), (0.5, 0, 0))


def test_packed_terms_are_merged() -> None:
    assert from_masks([1.0, 2.0, -1.0], b"\1\0\1", b"\0\1\0", 1) == masks((2, 0, 1))
    assert from_masks([1.0, -1.0], b"\1\1", b"\0\0", 1) == masks((0, 0, 0))
    assert from_masks([2.5], b"", b"", 0) == masks((2.5, 0, 0))


@pytest.mark.parametrize(
    ("coefficients", "x_masks", "z_masks", "num_qubits", "message"),
    [
        ([], b"", b"", 1, "must have at least one coefficient, got none"),
        (
            [1.0],
            b"\0\0",
            b"\0",
            8,
            r"x_masks must have 1 bytes for each of 1 coefficients \(8 qubits\), 1 together, got 2",
        ),
        ([1.0, 1.0], b"\0\0\0\0", b"\0\0", 9, "z_masks must have 2 bytes for each of 2 coefficients .* got 2"),
        ([1.0], b"\x08", b"\0", 3, "the masks of term 0 use qubit 3; with num_qubits = 3, bits must be below 3"),
        ([1.0, 1.0], b"\0\0", b"\0\x80", 7, "the masks of term 1 use qubit 7"),
        ([1.0, math.nan], b"\0\0", b"\0\0", 1, r"coefficients\[1\] must be finite, got nan"),
        ([math.inf], b"\0", b"\0", 1, r"coefficients\[0\] must be finite, got inf"),
        ([1e308, 1e308], b"\0\0", b"\0\0", 1, "the coefficient of I exceeds the range"),
        ([1.0], b"", b"", -1, "num_qubits must be 0 to 4096, got -1"),
        ([1.0], b"", b"", 4097, "num_qubits must be 0 to 4096, got 4097"),
    ],
)
def test_wrong_packed_terms_are_refused(
    coefficients: list[float], x_masks: bytes, z_masks: bytes, num_qubits: int, message: str
) -> None:
    with pytest.raises(PauliSumError, match=message):
        from_masks(coefficients, x_masks, z_masks, num_qubits)
