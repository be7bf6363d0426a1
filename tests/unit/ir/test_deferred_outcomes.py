# SPDX-License-Identifier: Apache-2.0
"""Outcomes of deferred circuits: samples of the measured qubits as classical bits of the program."""

from __future__ import annotations

import random

from qonduit_server.ir.deferral import Deferred
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, choice, conjunction, negation


def test_an_outcome_has_the_value_of_each_formula() -> None:
    choose = random.Random(5)
    for _ in range(50):
        values: list[Formula] = []
        for _ in range(choose.randrange(1, 9)):
            one, other, third = (bit(choose.randrange(4)) for _ in range(3))
            made = (FALSE, TRUE, one, one, negation(one), conjunction((one, other)), choice(one, other, third))
            values.append(choose.choice(made))
        deferred = Deferred(measured=(0, 1, 2, 3), values=tuple(values))
        for sample in range(16):
            expected = sum(formula.value(sample) << place for place, formula in enumerate(values))
            assert deferred.outcome(sample) == expected


def test_registers_in_other_orders_are_moved() -> None:
    deferred = Deferred(measured=(0, 1, 2), values=(bit(2), bit(1), FALSE, bit(0), bit(1)))
    assert deferred.outcomes({0b001: 3, 0b110: 4, 0b000: 5}) == {0b01000: 3, 0b10011: 4, 0: 5}
