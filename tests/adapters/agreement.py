# SPDX-License-Identifier: Apache-2.0
"""Whether two samples can come from the same distribution."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from scipy.stats import chi2_contingency

#: How often two samples of one distribution are wrongly told apart.
_DOUBT = 1e-6
#: Outcomes seen less often than this are put together, as the test's approximation asks.
_RARE = 5


def agree(ours: Mapping[Hashable, int], theirs: Mapping[Hashable, int]) -> bool:
    """A chi-square test of homogeneity on two samples, given as counts by outcome."""
    common = [key for key in ours.keys() | theirs.keys() if ours.get(key, 0) + theirs.get(key, 0) >= 2 * _RARE]
    table = [[sample.get(key, 0) for key in common] for sample in (ours, theirs)]
    rest = [sum(sample.values()) - sum(row) for sample, row in zip((ours, theirs), table, strict=True)]
    if sum(rest) >= 2 * _RARE:
        table = [[*row, left] for row, left in zip(table, rest, strict=True)]
    return len(table[0]) < 2 or chi2_contingency(table).pvalue > _DOUBT
