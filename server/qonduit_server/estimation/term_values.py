# SPDX-License-Identifier: Apache-2.0
"""The exact value of every product of observables in a statevector, each product once.

Products with the same x mask are signed sums of one array over the indices: the product of each amplitude with its
partner. Without variances this is faster than `exact_values.expectation` where observables share x masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.pauli_action import Parts, Vector, parts_of, signs, walsh_hadamard
from qonduit_server.pauli_sums import PauliSum

_BLOCK_BITS: Final = 14
#: With more products of one x mask, a Walsh-Hadamard transform of a block is faster than a product of matrices.
_TRANSFORM: Final = 256


def term_values(state: Vector, observables: Sequence[PauliSum]) -> list[NDArray[np.float64]]:
    """Return the values of each observable's products, without coefficients, in the order of its terms.

    Args:
        state: a normalized state of n qubits; bit k of an index is qubit k.
        observables: on at most n qubits.
    """
    products: dict[int, dict[int, float]] = {}
    for observable in observables:
        for x, z in zip(observable.x_masks, observable.z_masks, strict=True):
            products.setdefault(x, {})[z] = 0.0
    parts = parts_of(state)
    for x, own in products.items():
        z = np.array(list(own), dtype=np.int64)
        products[x] = dict(zip(own, _values(parts, x, z).tolist(), strict=True))
    return [
        np.array([products[x][z] for x, z in zip(observable.x_masks, observable.z_masks, strict=True)])
        for observable in observables
    ]


def _values(parts: Parts, x: int, z: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of the products with an x mask."""
    size = parts.shape[1]
    block = min(size, 1 << _BLOCK_BITS)
    low, high = x % block, x - x % block
    order = np.arange(block) ^ low
    # With w_j = conj(state[j ^ x]) state[j], a product's value is the real part of i^|x & z| sum_j (-1)^|z & j| w_j.
    power = np.bitwise_count(z & x) % 4
    even, odd = (np.flatnonzero(power % 2 == parity) for parity in (0, 1))
    real, imaginary = _SignedSums(z[even], block), _SignedSums(z[odd], block)
    sums: NDArray[np.float64] = np.zeros(len(z))
    for first in range(0, size, block):
        own = parts[:, first : first + block]
        partner = parts[:, first ^ high : (first ^ high) + block]
        if low:
            partner = partner.take(order, axis=1)
        if len(even):
            sums[even] += real.of(own[0] * partner[0] + own[1] * partner[1], first)
        if len(odd):
            sums[odd] += imaginary.of(own[0] * partner[1] - own[1] * partner[0], first)
    return np.where(power < 2, sums, -sums)


class _SignedSums:
    """The sums of (-1)^|z & j| v_j over the indices j of a block, for each z."""

    def __init__(self, z: NDArray[np.int64], block: int) -> None:
        self._low = z % block
        self._high = z - self._low
        if len(z) <= _TRANSFORM:
            # The signs of a block are products of those of the halves of its bits.
            side = 1 << (block.bit_length() - 1) // 2
            self._rows = signs((np.arange(block // side) * side)[:, None] & self._low[None, :])
            self._columns = signs(np.arange(side)[:, None] & self._low[None, :])

    def of(self, values: NDArray[np.float64], first: int) -> NDArray[np.float64]:
        """Return the sums over the block that begins at an index. The array is overwritten."""
        if len(self._low) > _TRANSFORM:
            found = walsh_hadamard(values)[self._low]
        else:
            found = (self._rows * (values.reshape(len(self._rows), -1) @ self._columns)).sum(axis=0)
        return np.asarray(found * signs(self._high & first))
