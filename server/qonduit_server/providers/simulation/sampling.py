# SPDX-License-Identifier: Apache-2.0
"""Distributions over measured bits: computed from amplitudes, and sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: A probability below this is rounding noise: amplitudes are off by 1e-16 for each of many gates.
NOISE: Final = 1e-20
#: With more outcomes than this, and than shots, each shot is looked up instead of drawing a count for each outcome.
_MANY_OUTCOMES: Final = 4096


def born_probabilities(amplitudes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the Born probabilities of amplitudes."""
    return np.asarray(amplitudes.real**2 + amplitudes.imag**2, dtype=np.float64)


def marginal(probabilities: NDArray[np.float64], qubits: int, measured: Sequence[int]) -> NDArray[np.float64]:
    """Return the marginal distribution of some qubits.

    Args:
        probabilities: of all 2^qubits states; qubit 0 is the highest bit of a state's number.
        qubits: number of qubits.
        measured: the qubits of interest.

    Returns:
        2^len(measured) probabilities; bit j of an outcome is the value of `measured[j]`.
    """
    others = tuple(qubit for qubit in range(qubits) if qubit not in measured)
    rest = probabilities.reshape((2,) * qubits)
    if others:
        rest = rest.sum(axis=others)
    place = {qubit: axis for axis, qubit in enumerate(sorted(measured))}
    return np.asarray(rest.transpose([place[qubit] for qubit in reversed(measured)]).reshape(-1))


def as_mapping(probabilities: NDArray[np.float64], noise: float = 1e-12) -> dict[int, float]:
    """Return the outcomes of a distribution whose probability exceeds rounding noise."""
    (seen,) = (probabilities > noise).nonzero()
    return dict(zip(seen.tolist(), probabilities[seen].tolist(), strict=True))


def count_rows(packed: NDArray[np.uint8]) -> Counter[int]:
    """Return how often each outcome occurs among rows of packed bits; bit k of an outcome is bit k of its row."""
    rows: list[bytes] = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").ravel().tolist()
    return Counter({int.from_bytes(row, "little"): number for row, number in Counter(rows).items()})


def draw(probabilities: NDArray[np.float64], shots: int, generator: np.random.Generator) -> dict[int, int]:
    """Sample a distribution that need not add up to 1. Outcomes with only rounding noise are never drawn.

    Returns:
        The count of each outcome, in the order of outcomes.
    """
    if len(probabilities) == 2:  # a faster special case
        zero, one = probabilities.tolist()
        if zero <= NOISE or one <= NOISE:
            return {int(one > NOISE): shots}
        ones = int(generator.binomial(shots, one / (zero + one)))
        return {outcome: number for outcome, number in ((0, shots - ones), (1, ones)) if number}
    (possible,) = (probabilities > NOISE).nonzero()
    weights = probabilities[possible]
    if len(possible) > max(shots, _MANY_OUTCOMES):
        sums = weights.cumsum()
        places, numbers = np.unique(
            np.searchsorted(sums, generator.random(shots) * sums[-1], side="right"), return_counts=True
        )
        return dict(zip(possible[places].tolist(), numbers.tolist(), strict=True))
    drawn = generator.multinomial(shots, weights / weights.sum())
    (seen,) = drawn.nonzero()
    return dict(zip(possible[seen].tolist(), drawn[seen].tolist(), strict=True))
