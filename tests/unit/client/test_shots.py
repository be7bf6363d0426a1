# SPDX-License-Identifier: Apache-2.0
"""Counts become shots: the same number, the same bits, in an order that a seed fixes."""

from __future__ import annotations

from collections import Counter

import numpy as np

from qonduit.v1.result_pb2 import CountsAndProbabilities
from qonduit.v1.result_pb2 import Result as Message
from qonduit_client.result import Result
from qonduit_client.shots import bits_of, shots_of


def result(counts: dict[str, int], **registers: int) -> Result:
    """Return a result with counts of registers, named in the order of the key."""
    message = Message(counts_and_probabilities=CountsAndProbabilities(counts=counts), shots=sum(counts.values()))
    for name, size in registers.items():
        message.registers.add(name=name, size=size)
    return Result(message)


def test_each_outcome_as_often_as_it_was_counted() -> None:
    found = shots_of(result({"0x0 0x5": 3, "0x1 0x2": 4}, b=1, a=3), seed=1)
    assert list(found) == ["a", "b"], "in order of declaration"
    assert (found["a"].shape, found["b"].shape) == ((7, 3), (7, 1))
    assert found["a"].dtype == np.uint8
    pairs = Counter((tuple(a), tuple(b)) for a, b in zip(found["a"].tolist(), found["b"].tolist(), strict=True))
    assert pairs == {((1, 0, 1), (0,)): 3, ((0, 1, 0), (1,)): 4}


def test_the_order_is_random_and_fixed_by_a_seed() -> None:
    counted = result({"0x0": 500, "0x1": 500}, c=1)
    first, again, other = (shots_of(counted, seed)["c"].ravel() for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert 150 < first[:500].sum() < 350, "any part is a fair sample"


def test_wide_registers() -> None:
    number = (1 << 126) | (1 << 64) | 1
    found = shots_of(result({hex(number): 2, "0x0": 1}, c=127))["c"]
    assert found.shape == (3, 127)
    assert sorted(sum(int(bit) << place for place, bit in enumerate(row)) for row in found) == [0, number, number]


def test_nothing_measured() -> None:
    assert shots_of(result({})) == {}
    assert shots_of(Result(Message(shots=100))) == {}
    assert shots_of(result({}, c=4))["c"].shape == (0, 4)


def test_bits_of_no_numbers_and_of_no_bits() -> None:
    assert bits_of([], 3).shape == (0, 3)
    assert bits_of([0, 0], 0).shape == (2, 0)
    assert bits_of([5], 8).tolist() == [[1, 0, 1, 0, 0, 0, 0, 0]]
