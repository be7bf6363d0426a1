# SPDX-License-Identifier: Apache-2.0
"""Estimates from counts: values, standard errors with covariances, bounds, and the coverage of intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from qonduit_server.estimation import confidence
from qonduit_server.estimation.grouping import grouping
from qonduit_server.estimation.statistics import Estimates, estimates
from qonduit_server.pauli_sums import parse

Distribution = dict[int, float]
SEEDS = 1_000
#: A right interval of 95 % covers this part of 1,000 seeds with a probability of more than 0.9999.
LEAST = 0.95 - 4 * (0.95 * 0.05 / SEEDS) ** 0.5


def draws(distribution: Distribution, shots: int, generator: np.random.Generator) -> list[dict[int, int]]:
    keys = list(distribution)
    table = generator.multinomial(shots, [distribution[key] for key in keys], size=SEEDS)
    return [dict(zip(keys, row, strict=True)) for row in table.tolist()]


def samples(expression: str, distributions: Sequence[Distribution], shots: Sequence[int], seed: int = 1) -> Any:
    """Yield estimates over the seeds; equal counts once, with their number."""
    found = grouping([parse(expression)])
    generator = np.random.default_rng(seed)
    columns = [draws(each, number, generator) for each, number in zip(distributions, shots, strict=True)]
    rows = list(zip(*columns, strict=True))
    distinct: dict[str, tuple[Any, int]] = {}
    for row in rows:
        key = repr(row)
        distinct[key] = (row, distinct.get(key, (row, 0))[1] + 1)
    for row, number in distinct.values():
        yield estimates(found, row), number


def coverage(expression: str, distributions: Sequence[Distribution], shots: Sequence[int], exact: float) -> float:
    """The part of the seeds whose 95 % interval contains the exact value."""
    covered = 0
    for found, number in samples(expression, distributions, shots):
        ((low, high),) = found.confidence_interval(0.95)
        assert low <= found.values[0] <= high
        covered += number * bool(low <= exact <= high)
    return covered / SEEDS


def ghz(qubits: int, flipped: float) -> Distribution:
    """The outcomes of a GHZ state whose first bit is flipped with a probability."""
    ones = (1 << qubits) - 1
    return {0: (1 - flipped) / 2, ones: (1 - flipped) / 2, 1: flipped / 2, ones - 1: flipped / 2}


@pytest.mark.parametrize("shots", [100, 1_000, 20_000])
@pytest.mark.parametrize("p", [0.001, 0.01, 0.05, 0.5])
def test_intervals_cover_rare_and_common_outcomes(p: float, shots: int) -> None:
    assert coverage("2*Z0", [{0: 1 - p, 1: p}], [shots], 2 - 4 * p) >= LEAST


@pytest.mark.parametrize(("p", "shots"), [(0.001, 100), (0.02, 100), (0.5, 100), (0.02, 3_000)])
def test_intervals_cover_correlated_terms_and_ghz_parities(p: float, shots: int) -> None:
    terms = "Z0 + Z1 - 0.5*Z2 + Z0*Z1 + 0.3"
    exact = (1 - p) * 2.8 + p * (-1 - 1 + 0.5 + 1 + 0.3)
    assert coverage(terms, [{0: 1 - p, 7: p}], [shots], exact) >= LEAST
    pairs = "Z0*Z1 + Z1*Z2 + Z2*Z3"
    assert coverage(pairs, [ghz(4, p)], [shots], 3 - 2 * p) >= LEAST
    parities = "X0*X1*X2 - 0.7*Z0*Z1 + 0.2*Y0*Y1"
    x_parity = {0: 1 - p, 1: p}
    assert (
        coverage(parities, [x_parity, ghz(3, p), {0: 0.5, 1: 0.5}], [shots, shots + 7, shots], 0.3 - 0.6 * p) >= LEAST
    )


def test_the_plug_in_interval_would_fail_here() -> None:
    """The reason for the methods: value +- 1.96 standard errors covers an outcome of probability 0.01 in 63 %."""
    covered = sum(
        number * bool(abs(found.values[0] - 0.98) <= 1.96 * found.standard_errors[0])
        for found, number in samples("Z0", [{0: 0.99, 1: 0.01}], [100])
    )
    assert covered / SEEDS < 0.7


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999999])
@pytest.mark.parametrize("shots", [2, 100, 5_000])
def test_certain_outcomes_are_always_covered(level: float, shots: int) -> None:
    found = grouping([parse("0.1*Z0 + 0.2*Z1 + 0.3*Z0*Z1 + 0.1*X2 + 0.7"), parse("X2"), parse("0.1*Z0 - 0.7*Z1")])
    exact = [0.1 - 0.2 - 0.3 + 0.1 + 0.7, 1, 0.1 + 0.7]
    sampled = estimates(found, [{0b010: shots}])
    for (low, high), value in zip(sampled.confidence_interval(level), exact, strict=True):
        assert low <= value <= high
    assert sampled.standard_errors.tolist() == [0, 0, 0]
    assert sampled.variances.tolist() == [0, 0, 0]
    np.testing.assert_allclose(sampled.values, exact, atol=1e-15)


def test_intervals_shrink_with_shots_and_grow_with_the_level() -> None:
    def width(shots: int, level: float) -> float:
        found = estimates(grouping([parse("Z0 + Z0*Z1 + X2*X3 + Z3")]), [{0: shots, 3: shots}, {0: shots, 8: shots}])
        ((low, high),) = found.confidence_interval(level)
        return float(high - low)

    assert width(100, 0.95) > 1.5 * width(1_000, 0.95) > 2 * width(10_000, 0.95)
    assert width(1_000, 0.9) < width(1_000, 0.95) < width(1_000, 0.999)


def test_wide_sums_use_the_empirical_bernstein_interval() -> None:
    """It is less than twice as wide as the normal one, while the sum of single intervals grows with the terms."""
    qubits, shots = 20, 10_000
    terms = " + ".join(f"Z{k}" for k in range(qubits))
    generator = np.random.default_rng(3)
    outcomes = generator.integers(0, 1 << qubits, shots).tolist()
    found = estimates(grouping([parse(terms), parse("Z0")]), [Counter(outcomes)])
    assert found.confidence_methods() == [confidence.EMPIRICAL_BERNSTEIN, confidence.CLOPPER_PEARSON]
    low, high = found.confidence_interval()[0]
    assert 1.0 < (high - low) / 2 / (1.96 * found.standard_errors[0]) < 1.8


@pytest.mark.parametrize("shots", [100, 1_000])
@pytest.mark.parametrize("minus", [0, 1, 10])
def test_the_width_is_at_most_that_of_maurer_and_pontil_and_not_much_less(minus: int, shots: int) -> None:
    """Of one group they have sqrt(2 V ln(4/d) / n) + 7 R ln(4/d) / (3 (n - 1)), for a range R."""
    terms = 40
    part = confidence.Part(
        shots, np.ones(terms), np.full(terms, minus), (2 * terms) ** 2 * minus * (shots - minus) / shots / (shots - 1)
    )
    low, high, method = confidence.interval([part], 0.95)
    assert method == confidence.EMPIRICAL_BERNSTEIN
    logarithm = np.log(4 / 0.05)
    width = np.sqrt(2 * part.variance * logarithm / shots) + 7 * 2 * terms * logarithm / 3 / (shots - 1)
    center = terms * (1 - 2 * minus / shots)
    assert 0.75 * width < center - low <= width
    assert high <= terms * (1 + 1e-12)


def test_the_standard_error_is_the_spread_of_the_values() -> None:
    """Covariances within a group count: these terms are equal, so their spreads add up linearly."""
    distributions = [{0: 0.8, 3: 0.2}, {0: 0.3, 1: 0.7}]
    found = [(each, number) for each, number in samples("Z0 + Z1 + X0 + 5", distributions, [400, 100])]
    weights = np.array([number for _, number in found])
    values = np.array([each.values[0] for each, _ in found])
    mean = np.average(values, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    expected = np.sqrt(4 * 0.64 / 400 + 0.84 / 100)
    assert abs(mean - (1.2 - 0.4 + 5)) < 5 * expected / np.sqrt(SEEDS)
    assert abs(spread / expected - 1) < 0.12
    errors = np.array([each.standard_errors[0] for each, _ in found])
    assert abs(np.average(errors, weights=weights) / expected - 1) < 0.02
    variances = np.array([each.variances[0] for each, _ in found])
    assert abs(np.average(variances, weights=weights) / (4 * 0.64 + 0.84) - 1) < 0.02


def test_the_variance_does_not_shrink_with_shots_and_the_error_does() -> None:
    groups = grouping([parse("Z0 - 2*Z1")])
    few = estimates(groups, [{0: 10, 1: 20, 2: 10}])
    many = estimates(groups, [{0: 1000, 1: 2000, 2: 1000}])
    np.testing.assert_allclose(few.variances, many.variances, rtol=0.03)
    np.testing.assert_allclose(few.standard_errors / many.standard_errors, [10.0], rtol=0.02)
    np.testing.assert_allclose(few.values, many.values)


@pytest.mark.parametrize(("shots", "value"), [(0, 1.0), (1, -1.5)])
def test_below_two_shots_the_error_is_a_bound_and_marked(shots: int, value: float) -> None:
    groups = grouping([parse("2*Z0 - 0.5*Z1 + 1"), parse("X0"), parse("3")])
    assert groups.groups[0].z_mask == 3
    found = estimates(groups, [{1: shots}, {0: 3, 1: 1}])
    assert found.bounded.tolist() == [True, False, False]
    assert found.values[0] == value
    assert found.standard_errors[0] == 2.5
    assert found.variances[0] == 6.25
    assert found.standard_errors[2] == 0
    np.testing.assert_allclose(found.confidence_interval()[0], [-1.5, 3.5], atol=0.1)
    np.testing.assert_allclose(found.confidence_interval()[2], [3, 3])


def test_values_and_errors_of_single_terms() -> None:
    groups = grouping([parse("0.5 + 2*Z0 - X1"), parse("Z0")])
    found: Estimates = estimates(groups, [{0: 30, 1: 10}])
    np.testing.assert_allclose(found.term_values()[0], [1, 0.5, 1])
    np.testing.assert_allclose(found.term_values()[1], [0.5])
    np.testing.assert_allclose(found.term_standard_errors()[0], [0, np.sqrt(0.75 / 39), 0])
    assert found.shots == 40
    assert found.group_shots == (40,)


@pytest.mark.parametrize("level", [0, 1, -0.1, float("nan")])
def test_levels_outside_of_zero_and_one_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        confidence.interval([], level)
