# SPDX-License-Identifier: Apache-2.0
"""The moments of a group's terms over outcomes: of counts, or of exact probabilities.

The part of an observable that a group measures has one value an outcome. Its mean and its variance over the outcomes
contain all covariances of the group's terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.grouping import Group, packed

#: Maximum number of entries of the arrays of a block of outcomes.
_ENTRIES: Final = 1 << 21


@dataclass(frozen=True)
class GroupMoments:
    """Mean and variance of each observable's part of a group; zeros for observables without a term in the group.

    `weight` is the number of shots, or the total probability. `variances` are those of the distribution (of n equal
    outcomes: divided by n). `parities` are the means of the group's products, by their supports.
    """

    weight: float
    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    parities: Mapping[int, float]


def group_moments(group: Group, outcomes: Mapping[int, float], num_observables: int) -> GroupMoments:
    """Return the moments over outcomes, in memory that does not grow with the number of terms times outcomes.

    Args:
        group: the terms.
        outcomes: counts or probabilities by outcome; bit k is qubit k.
        num_observables: the number of observables of the job.
    """
    supports = {support: place for place, support in enumerate(dict.fromkeys(term.support for term in group.terms))}
    present = {number: row for row, number in enumerate(sorted({term.observable for term in group.terms}))}
    coefficients = np.zeros((len(present), len(supports)))
    for term in group.terms:
        coefficients[present[term.observable], supports[term.support]] += term.coefficient
    total, means, squares = 0.0, np.zeros(len(present)), np.zeros(len(present))
    sums = np.zeros(len(supports))
    for parities, weights in _blocks(list(supports), outcomes, len(present)):
        weight = float(weights.sum())
        values = coefficients @ parities
        # Relative to one outcome: equal values have exactly this mean and no variance.
        first = values[:, :1].copy()
        own = first[:, 0] + (values - first) @ weights / weight
        values -= own[:, None]
        values *= values
        # The moments of two parts of the outcomes together.
        apart = own - means if total else np.zeros_like(own)
        squares += values @ weights + apart**2 * (total * weight / (total + weight))
        means = means + apart * (weight / (total + weight)) if total else own
        sums += parities @ weights
        total += weight
    mean, variance = np.zeros(num_observables), np.zeros(num_observables)
    rows = list(present)
    if total:
        mean[rows], variance[rows] = means, squares / total
    return GroupMoments(
        total, mean, variance, dict(zip(supports, (sums / total if total else sums).tolist(), strict=True))
    )


def _blocks(
    supports: list[int], outcomes: Mapping[int, float], rows: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the parities (supports x outcomes) and the weights of blocks of outcomes with a weight."""
    union = 0
    for support in supports:
        union |= support
    words = max(1, -(-union.bit_length() // 64))
    masks = packed(supports, words)
    keys = [outcome for outcome, weight in outcomes.items() if weight]
    block = max(1, _ENTRIES // max(1, len(supports), rows))
    for first in range(0, len(keys), block):
        own = keys[first : first + block]
        # Bits that no product reads may lie above the last word.
        columns = packed([key & union for key in own], words)
        ones: NDArray[np.uint8] = np.zeros((len(supports), len(own)), dtype=np.uint8)
        for word in range(words):
            ones += np.bitwise_count(masks[:, word, None] & columns[None, :, word]) & 1
        yield 1.0 - 2.0 * (ones & 1), np.array([outcomes[key] for key in own], dtype=np.float64)
