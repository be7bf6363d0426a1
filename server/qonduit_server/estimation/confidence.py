# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals that hold for every distribution of outcomes and every number of shots.

Value +- 1.96 standard errors covers 63 % instead of 95 % for an outcome of probability 0.01 at 100 shots, and Wilson's
interval 90 % for one of 0.001. The two methods here have proofs:

- `CLOPPER_PEARSON`: the exact interval of each product's probability (Clopper and Pearson 1934), at the level that
  leaves all of them true together (Bonferroni), added with the coefficients. Correlations do not matter.
- `EMPIRICAL_BERNSTEIN`: of the sum of all groups' means. Bernstein's inequality, with the variance bounded by the
  sample variances (Maurer and Pontil 2009, theorem 10). Their theorem is about independent variables that need not
  have the same distribution; a group's shots are scaled by range / shots, the largest of which takes the place of 1.

The method is the one whose interval is shorter for the maximally mixed state with the same numbers of shots. So it
depends on no outcome, and the level of the chosen one holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CLOPPER_PEARSON: Final = "clopper_pearson_bonferroni"
EMPIRICAL_BERNSTEIN: Final = "empirical_bernstein"
#: The part of the error probability of the empirical Bernstein interval that is left to the variance.
_VARIANCE_PART: Final = 0.2
#: Rounding of a sum of coefficients, relative to the sum of their absolute values.
_ROUNDING: Final = 1e-14


@dataclass(frozen=True)
class Part:
    """The part of one observable that one group measures.

    Args:
        shots: of the group.
        coefficients: of the group's terms of this observable.
        minus: in how many shots each term's product was -1.
        variance: the sample variance of the part, divided by shots - 1; not read below two shots.
    """

    shots: int
    coefficients: NDArray[np.float64]
    minus: NDArray[np.int64]
    variance: float

    @property
    def bound(self) -> float:
        """Return the largest absolute value of the part."""
        return float(np.abs(self.coefficients).sum())


def interval(parts: Sequence[Part], level: float) -> tuple[float, float, str]:
    """Return the lower and the upper end for the sum of the parts' exact means, and the method.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the confidence level must be between 0 and 1, got {level:g}")
    error = 1.0 - level
    bound = math.fsum(part.bound for part in parts)
    method = _shorter(parts, error)
    low, high = (_clopper_pearson if method == CLOPPER_PEARSON else _bernstein)(parts, error)
    rounding = _ROUNDING * bound
    return max(low, -bound) - rounding, min(high, bound) + rounding, method


def _shorter(parts: Sequence[Part], error: float) -> str:
    """Return the method that has the shorter interval for the maximally mixed state."""
    if sum(len(part.coefficients) for part in parts) <= 1:
        return CLOPPER_PEARSON
    mixed = [
        Part(
            part.shots,
            part.coefficients,
            np.full(len(part.coefficients), part.shots // 2),
            float(part.coefficients @ part.coefficients),
        )
        for part in parts
    ]
    exact, bernstein = _clopper_pearson(mixed, error), _bernstein(mixed, error)
    return CLOPPER_PEARSON if exact[1] - exact[0] <= bernstein[1] - bernstein[0] else EMPIRICAL_BERNSTEIN


def _clopper_pearson(parts: Sequence[Part], error: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    if not parts:
        return 0.0, 0.0
    coefficients = np.concatenate([part.coefficients for part in parts])
    shots: NDArray[np.int64] = np.repeat([part.shots for part in parts], [len(part.coefficients) for part in parts])
    minus = np.concatenate([part.minus for part in parts])
    tail = error / len(coefficients) / 2
    # Where a parameter would be 0, the end is 0 or 1.
    low = np.where(minus > 0, betaincinv(np.maximum(minus, 1), shots - minus + 1, tail), 0.0)
    high = np.where(minus < shots, 1.0 - betaincinv(np.maximum(shots - minus, 1), minus + 1, tail), 1.0)
    ends = coefficients * (1 - 2 * low), coefficients * (1 - 2 * high)
    return math.fsum(np.minimum(*ends)), math.fsum(np.maximum(*ends))


def _bernstein(parts: Sequence[Part], error: float) -> tuple[float, float]:
    measured = [part for part in parts if part.shots > 1 and len(part.coefficients)]
    unknown = math.fsum(part.bound for part in parts if part.shots <= 1)
    if not measured:
        return -unknown, unknown
    center = math.fsum(float(part.coefficients @ (1 - 2 * part.minus / part.shots)) for part in measured)
    variance = math.fsum(part.variance / part.shots for part in measured)
    # The range of a shot's contribution to the estimate, of a self-bounding function's scale.
    step = max(2 * part.bound / part.shots for part in measured)
    factor = max(part.shots / (part.shots - 1) for part in measured)
    rest = step**2 * factor * math.log(1 / (_VARIANCE_PART * error)) / 2
    deviation = math.sqrt(variance + rest) + math.sqrt(rest)
    exponent = math.log(2 / ((1 - _VARIANCE_PART) * error))
    linear = step * exponent / 3
    width = linear + math.sqrt(linear**2 + 2 * exponent * deviation**2) + unknown
    return center - width, center + width
