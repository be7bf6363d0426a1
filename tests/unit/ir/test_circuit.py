# SPDX-License-Identifier: Apache-2.0
"""Formulas over measured bits, and the keys of outcomes."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit

from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import (
    FALSE,
    TRUE,
    Formula,
    bit,
    choice,
    conjunction,
    constant,
    disjunction,
    negation,
    parity,
)

A, B, C = bit(0), bit(1), bit(2)


def formulas() -> st.SearchStrategy[Formula]:
    leaves = st.one_of(st.builds(constant, st.booleans()), st.builds(bit, st.integers(0, 3)))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(negation),
            st.lists(inner, max_size=3).map(conjunction),
            st.lists(inner, max_size=3).map(disjunction),
            st.lists(inner, max_size=3).map(parity),
        ),
        max_leaves=8,
    )


@given(st.lists(formulas(), max_size=4), st.integers(0, 15))
def test_simplifying_changes_no_value(parts: list[Formula], outcome: int) -> None:
    values = [part.value(outcome) for part in parts]
    assert conjunction(parts).value(outcome) == all(values)
    assert disjunction(parts).value(outcome) == any(values)
    assert parity(parts).value(outcome) == sum(values) % 2
    for part in parts:
        assert negation(part).value(outcome) == 1 - part.value(outcome)


@given(formulas(), formulas(), formulas(), st.integers(0, 15))
def test_choice_and_substitution(condition: Formula, then: Formula, otherwise: Formula, outcome: int) -> None:
    expected = then.value(outcome) if condition.value(outcome) else otherwise.value(outcome)
    assert choice(condition, then, otherwise).value(outcome) == expected
    known = then.substitute(lambda number: constant(outcome >> number & 1))
    assert known == constant(then.value(outcome))
    assert then.bits <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("formula", "simple"),
    [
        (conjunction([]), TRUE),
        (disjunction([]), FALSE),
        (conjunction([A, negation(A)]), FALSE),
        (disjunction([A, negation(A)]), TRUE),
        (conjunction([A, TRUE, A]), A),
        (parity([A, A]), FALSE),
        (parity([negation(A), B]), negation(parity([A, B]))),
        (negation(negation(A)), A),
        (choice(A, B, B), B),
    ],
)
def test_simplification(formula: Formula, simple: Formula) -> None:
    assert formula == simple


def test_keys_put_the_last_declared_register_first() -> None:
    circuit = Circuit(QuantumCircuit(0, 5), (ClassicalRegister("a", (0, 1)), ClassicalRegister("b", (2, 3, 4))))
    assert circuit.key(0b101_10) == "0x5 0x2"


def test_registers_may_share_bits_permute_them_and_compute() -> None:
    circuit = Circuit(
        QuantumCircuit(0, 3),
        (ClassicalRegister("a", (2, 0)), ClassicalRegister("b", (0, TRUE, parity([A, C]))), ClassicalRegister("c", ())),
    )
    for first, last in product((0, 1), repeat=2):
        assert circuit.key(first | last << 2) == f"0x0 {hex(first | 2 | (first ^ last) << 2)} {hex(last | first << 1)}"
