# SPDX-License-Identifier: Apache-2.0
"""Shots follow the distribution, and impossible outcomes are never drawn."""

from __future__ import annotations

import numpy as np
import pytest

from qonduit_server.providers.simulation.sampling import as_mapping, draw, marginal


def test_bits_of_a_marginal_are_in_the_order_of_measurement() -> None:
    probabilities = np.zeros(8)
    probabilities[0b100], probabilities[0b110] = 0.25, 0.75  # qubit 0 is the highest bit
    assert as_mapping(marginal(probabilities, 3, (0, 1, 2))) == {0b001: 0.25, 0b011: 0.75}
    assert as_mapping(marginal(probabilities, 3, (1, 0))) == {0b10: 0.25, 0b11: 0.75}
    assert as_mapping(marginal(probabilities, 3, (2,))) == {0: 1.0}


@pytest.mark.parametrize("outcomes", [2, 8, 20_000])
def test_impossible_outcomes_are_not_drawn(outcomes: int) -> None:
    generator = np.random.default_rng(1)
    for place in (0, outcomes // 2, outcomes - 1):
        probabilities = np.full(outcomes, 1e-33)
        probabilities[place] = 0.999_999_7
        assert draw(probabilities, 10_000_000, generator) == {place: 10_000_000}


@pytest.mark.parametrize(("outcomes", "shots"), [(2, 10_000), (5, 10_000), (20_000, 10_000)])
def test_the_numbers_are_right(outcomes: int, shots: int) -> None:
    weights = np.zeros(outcomes)
    weights[::2] = np.arange(1, len(weights[::2]) + 1)
    drawn = draw(weights, shots, np.random.default_rng(3))
    assert sum(drawn.values()) == shots
    assert all(outcome % 2 == 0 for outcome in drawn)
    mean = sum(outcome * number for outcome, number in drawn.items()) / shots
    expected = float(weights @ np.arange(outcomes)) / weights.sum()
    assert abs(mean - expected) <= outcomes * 0.02
    assert draw(weights, shots, np.random.default_rng(3)) == drawn


@pytest.mark.parametrize(("outcomes", "shots"), [(8, 100_000), (4096, 100_000), (20_000, 10_000)])
def test_every_outcome_gets_its_own_share(outcomes: int, shots: int) -> None:
    """Sampling has two methods: a multinomial draw for few outcomes, a lookup per shot for many."""
    probabilities = np.full(outcomes, 1e-15)  # possible, but never drawn
    shares = {0: 0.1, 3: 0.2, outcomes // 2: 0.3, outcomes - 1: 0.4}
    for outcome, share in shares.items():
        probabilities[outcome] = share
    drawn = draw(probabilities, shots, np.random.default_rng(2))
    assert set(drawn) == set(shares)
    for outcome, share in shares.items():
        assert abs(drawn[outcome] - shots * share) < 5 * (shots * share * (1 - share)) ** 0.5
