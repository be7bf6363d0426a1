# SPDX-License-Identifier: Apache-2.0
"""Shots for a wanted standard error, in two stages: a pilot of every group, then what its variances ask for.

The second stage is fixed by the pilot; the data are not looked at again. So the standard error that results can differ
from the wanted one by the uncertainty of the pilot's variances, a few percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.errors import LimitError
from qonduit_server.estimation.grouping import Grouping
from qonduit_server.estimation.statistics import Estimates

#: Shots of a group's pilot, unless fewer are enough for every state.
PILOT_SHOTS: Final = 100
#: The part of the shots that the maximally mixed state needs which a larger pilot takes.
_PILOT_PART: Final = 0.1
#: Of one group; more is not counted.
_MOST_SHOTS: Final = 1e18


class PrecisionUnreachable(LimitError):
    """The wanted standard error needs more shots than the job may use; `shots` is the number it needs."""

    def __init__(self, precision: float, shots: int, max_shots: int) -> None:
        super().__init__(
            "PRECISION_UNREACHABLE",
            f"a standard error of {precision:g} needs about {shots} shots, and at most {max_shots} are allowed: "
            "raise max_shots, or ask for a larger standard error",
        )
        self.shots = shots


def pilot_shots(grouping: Grouping, precision: float, max_shots: int) -> tuple[int, ...]:
    """Return the shots of each group in the first stage.

    A pilot is a tenth of the shots that the maximally mixed state needs, at least `PILOT_SHOTS`, and never more than
    those that are enough for every state. Pilots of more than `PILOT_SHOTS` take at most half of `max_shots` together.

    Args:
        grouping: the groups of all observables.
        precision: the wanted standard error of each whole observable.
        max_shots: of both stages together.

    Raises:
        PrecisionUnreachable: the pilots alone exceed `max_shots`.
        ValueError: the precision is not positive.
    """
    if not 0 < precision < math.inf:
        raise ValueError(f"precision must be positive, got {precision:g}")
    none = [0] * len(grouping.groups)
    bounds, mixed = _a_priori(grouping)
    enough = [max(2, shots) for shots in _needed(bounds, none, precision)]
    likely = _needed(mixed, none, precision)
    least = [min(PILOT_SHOTS, most) for most in enough]
    if sum(least) > max_shots:
        raise PrecisionUnreachable(precision, sum(map(max, least, likely)), max_shots)
    wanted = [
        max(0, min(most, int(_PILOT_PART * shots)) - base)
        for most, shots, base in zip(enough, likely, least, strict=True)
    ]
    room = max(0, max_shots // 2 - sum(least))
    share = min(1.0, room / sum(wanted)) if any(wanted) else 0.0
    return tuple(base + int(share * more) for base, more in zip(least, wanted, strict=True))


def second_stage(grouping: Grouping, pilot: Estimates, precision: float, max_shots: int) -> tuple[int, ...]:
    """Return the further shots of each group, after the pilot.

    They are allocated in proportion to the standard deviations of a group's shots (Neyman 1934), for every observable
    in turn: shots that an earlier one needs count for the next. The variance has a floor: it is that of the pilot with
    one more shot at the other end of the range, so that an outcome that the pilot did not see is not taken for
    impossible.

    Args:
        grouping: the groups of all observables.
        pilot: the estimates from the pilot's counts.
        precision: the wanted standard error of each whole observable.
        max_shots: of both stages together.

    Raises:
        PrecisionUnreachable: both stages together exceed `max_shots`.
    """
    bounds, _ = _a_priori(grouping)
    shots = np.array(pilot.group_shots, dtype=np.float64).reshape(-1, 1)
    # Unbiased variances, and the range, 2 * bounds.
    deviations = np.sqrt((shots * pilot.group_variances + (2 * bounds) ** 2) / (shots + 1))
    total = _needed(deviations, pilot.group_shots, precision)
    if sum(total) > max_shots:
        raise PrecisionUnreachable(precision, sum(total), max_shots)
    return tuple(whole - done for whole, done in zip(total, pilot.group_shots, strict=True))


def _a_priori(grouping: Grouping) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest standard deviations and those of the maximally mixed state (groups x observables)."""
    bounds = np.zeros((len(grouping.groups), grouping.num_observables))
    squares = np.zeros_like(bounds)
    for place, group in enumerate(grouping.groups):
        for term in group.terms:
            bounds[place, term.observable] += abs(term.coefficient)
            squares[place, term.observable] += term.coefficient**2
    return bounds, np.sqrt(squares)


def _needed(deviations: NDArray[np.float64], least: Sequence[int], precision: float) -> list[int]:
    """Return the shots of each group, at least `least`, with which no observable's standard error is larger."""
    shots = np.array(least, dtype=np.float64)
    with np.errstate(over="ignore"):
        for own in deviations.T:
            shots = np.maximum(shots, _allocated(own / precision, shots))
    return [math.ceil(min(number, _MOST_SHOTS)) for number in shots.tolist()]


def _allocated(deviations: NDArray[np.float64], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shots for a variance of 1 of the sum of the groups' means, the fewest beside those there are."""
    shots = np.zeros_like(deviations)
    free = deviations > 0
    left = 1.0
    while free.any():
        shots[free] = deviations[free] * (deviations[free].sum() / left)
        # Groups that have more shots than that take a smaller part of the variance, and leave more to the others.
        done = free & (shots <= least)
        if not done.any():
            break
        left -= float((deviations[done] ** 2 / least[done]).sum())
        free &= ~done
    return shots
