# SPDX-License-Identifier: Apache-2.0
"""Two-stage allocation: the wanted error is reached with few shots, intervals stay valid, and limits are named."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from qonduit_server.estimation.allocation import PILOT_SHOTS, PrecisionUnreachable, pilot_shots, second_stage
from qonduit_server.estimation.grouping import Grouping, grouping
from qonduit_server.estimation.statistics import Estimates, estimates
from qonduit_server.pauli_sums import parse

Distribution = dict[int, float]
MANY = 10**9


def draw(distribution: Distribution, shots: int, generator: np.random.Generator) -> Counter[int]:
    drawn = generator.multinomial(shots, list(distribution.values())).tolist()
    return Counter(dict(zip(distribution, drawn, strict=True)))


def two_stages(
    groups: Grouping, distributions: list[Distribution], precision: float, generator: np.random.Generator
) -> Estimates:
    first = pilot_shots(groups, precision, MANY)
    counts = [draw(each, shots, generator) for each, shots in zip(distributions, first, strict=True)]
    second = second_stage(groups, estimates(groups, counts), precision, MANY)
    more = [draw(each, shots, generator) for each, shots in zip(distributions, second, strict=True)]
    return estimates(groups, [one + other for one, other in zip(counts, more, strict=True)])


@pytest.mark.parametrize("precision", [0.2, 0.01])
@pytest.mark.parametrize(
    ("expression", "distributions", "exact", "variance"),
    [
        ("2*Z0", [{0: 0.9, 1: 0.1}], 1.6, 1.2**2),
        ("2*Z0", [{0: 0.5, 1: 0.5}], 0.0, 4.0),
        ("Z0 + Z1 - 0.5*X0 + 3", [{0: 0.7, 3: 0.3}, {0: 0.99, 1: 0.01}], 3.8 - 0.49, None),
    ],
)
def test_the_wanted_error_is_reached_and_intervals_cover(
    expression: str, distributions: list[Distribution], exact: float, variance: float | None, precision: float
) -> None:
    groups, generator, seeds = grouping([parse(expression)]), np.random.default_rng(7), 300
    found = [two_stages(groups, distributions, precision, generator) for _ in range(seeds)]
    errors = np.array([each.values[0] for each in found]) - exact
    # 300 squares: the relative error of their root is 4 %.
    assert np.sqrt((errors**2).mean()) < 1.12 * precision
    assert abs(errors.mean()) < 4 * precision / np.sqrt(seeds)
    assert np.mean([each.standard_errors[0] for each in found]) <= 1.03 * precision
    covered = [low <= exact <= high for low, high in (each.confidence_interval()[0] for each in found)]
    assert np.mean(covered) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / seeds)
    if variance is not None and precision == 0.01:
        assert np.mean([each.shots for each in found]) < 1.1 * variance / precision**2


def test_shots_are_proportional_to_the_standard_deviations() -> None:
    groups = grouping([parse("3*Z0 + X0")])
    pilot = estimates(groups, [{0: 5_000, 1: 5_000}, {0: 5_000, 1: 5_000}])
    more = second_stage(groups, pilot, 0.01, MANY)
    total = np.array(more) + 10_000
    assert abs(total[0] / total[1] - 3) < 0.01
    assert abs(9 / total[0] + 1 / total[1] - 1e-4) < 1e-7


def test_what_a_pilot_has_too_much_the_others_need_less() -> None:
    groups = grouping([parse("Z0 + X0")])
    pilot = estimates(groups, [{0: 50_000, 1: 50_000}, {0: 50, 1: 50}])
    more = second_stage(groups, pilot, 0.01, MANY)
    assert more[0] == 0
    assert abs(1 / 100_000 + 1.04 / (more[1] + 100) - 1e-4) < 1e-6


def test_the_worst_of_several_observables_counts() -> None:
    together = grouping([parse("Z0"), parse("Z0 + Z1"), parse("0.1*X5"), parse("7")])
    pilot = estimates(together, [{0: 500, 3: 500}])
    (more,) = second_stage(together, pilot, 0.05, MANY)
    assert abs(more + 1_000 - 4 / 0.05**2) < 30


def test_an_outcome_that_the_pilot_did_not_see_is_not_impossible() -> None:
    groups = grouping([parse("Z0")])
    pilot = estimates(groups, [{0: 100}])
    assert pilot.standard_errors[0] == 0
    (more,) = second_stage(groups, pilot, 0.005, MANY)
    # One of 101 shots would have the variance 4 / 101.
    assert abs(more + 100 - 4 / 101 / 0.005**2) < 2


def test_pilots_are_no_larger_than_any_state_needs() -> None:
    groups = grouping([parse("Z0")])
    assert pilot_shots(groups, 0.5, MANY) == (4,)
    assert pilot_shots(groups, 10, MANY) == (2,)
    assert pilot_shots(groups, 0.1, MANY) == (PILOT_SHOTS,)
    assert pilot_shots(groups, 0.01, MANY) == (1_000,)
    assert pilot_shots(groups, 0.01, 1_000) == (500,)
    assert pilot_shots(grouping([parse("4")]), 0.01, MANY) == ()


def test_a_precision_beyond_the_allowed_shots_is_refused_with_the_number_it_needs() -> None:
    groups = grouping([parse("Z0 + X0 + Y0")])
    with pytest.raises(PrecisionUnreachable, match="needs about 90000 shots, and at most 299 are allowed") as raised:
        pilot_shots(groups, 0.01, 299)
    assert raised.value.reason == "PRECISION_UNREACHABLE"
    assert raised.value.category == "LIMIT"
    pilot = estimates(groups, [{0: 500, 1: 500}] * 3)
    needed = 3_000 + sum(second_stage(groups, pilot, 0.01, MANY))
    with pytest.raises(PrecisionUnreachable, match="raise max_shots") as raised:
        second_stage(groups, pilot, 0.01, needed - 1)
    assert raised.value.shots == needed
    assert abs(needed - 90_000) < 1_000
    assert sum(second_stage(groups, pilot, 0.01, needed)) == needed - 3_000


@pytest.mark.parametrize("precision", [1e-9, 1e-100, 5e-324])
def test_tiny_precisions_need_too_many_shots(precision: float) -> None:
    groups = grouping([parse("Z0")])
    pilot = estimates(groups, [{0: 50, 1: 50}])
    with pytest.raises(PrecisionUnreachable):
        second_stage(groups, pilot, precision, MANY)
    assert pilot_shots(groups, precision, 1_000) == (500,)


@pytest.mark.parametrize("precision", [0, -1, float("nan"), float("inf")])
def test_precisions_that_are_not_positive_are_refused(precision: float) -> None:
    with pytest.raises(ValueError, match="precision must be positive"):
        pilot_shots(grouping([parse("Z0")]), precision, MANY)
