# SPDX-License-Identifier: Apache-2.0
"""A sum of Pauli products applied to a statevector, by masks and without any matrix of the state's size.

Products with the same x mask are one permutation of the state, multiplied by a diagonal: the sum of their signs. The
work is done in blocks of amplitudes that fit the cache, on arrays of shape (2, 2^n): real and imaginary parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qonduit_server.pauli_sums import PauliSum

Vector: TypeAlias = NDArray[np.complex128]
Parts: TypeAlias = NDArray[np.float64]
#: Of the amplitudes of a block: one of each, or one of all.
Factors: TypeAlias = NDArray[np.float64] | float

_BLOCK_BITS: Final = 14
#: With more products of one x mask, a Walsh-Hadamard transform of a block is faster than a product of matrices.
_TRANSFORM: Final = 256
#: Observables with at most this number of products are kept: those of at most 256 KiB each.
_KEPT_TERMS: Final = 128
_KEPT_OBSERVABLES: Final = 16


def parts_of(state: Vector) -> Parts:
    """Return the real and the imaginary parts of a state as two rows, in double precision."""
    return np.stack([state.real, state.imag], dtype=np.float64)


def apply(observable: PauliSum, state: Vector) -> Vector:
    """Return the observable applied to a state; bit k of an index is qubit k."""
    parts = apply_to_parts(observable, parts_of(state))
    found: Vector = np.empty_like(state)
    found.real, found.imag = parts
    return found


def apply_to_parts(observable: PauliSum, parts: Parts) -> Parts:
    """Return the observable applied to a state in parts.

    Args:
        observable: on at most the qubits of the state.
        parts: the real and the imaginary parts of 2^n amplitudes.
    """
    size = parts.shape[1]
    block = min(size, 1 << _BLOCK_BITS)
    indices = np.arange(block)
    found: Parts = np.zeros_like(parts)
    small = len(observable.coefficients) <= _KEPT_TERMS
    for x, diagonal in _kept_diagonals(observable, block) if small else _diagonals(observable, block):
        low, high = x % block, x - x % block
        order = indices ^ low
        for first in range(0, size, block):
            source = parts[:, first ^ high : (first ^ high) + block]
            if low:
                source = source.take(order, axis=1)
            target = found[:, first : first + block]
            real, imaginary = diagonal.at(first)
            if real is not None:
                target += source * real
            if imaginary is not None:
                target[0] -= source[1] * imaginary
                target[1] += source[0] * imaginary
    return found


def _diagonals(observable: PauliSum, block: int) -> Iterator[tuple[int, _Diagonal]]:
    """Yield each x mask with its diagonal."""
    for x, coefficients, z in _by_x_mask(observable):
        yield x, _Diagonal(coefficients, x, z, block)


@functools.lru_cache(maxsize=_KEPT_OBSERVABLES)
def _kept_diagonals(observable: PauliSum, block: int) -> Sequence[tuple[int, _Diagonal]]:
    """Return those of a small observable, which variational loops apply to many small states."""
    return tuple(_diagonals(observable, block))


def _by_x_mask(observable: PauliSum) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int64]]]:
    """Yield each x mask with the coefficients and the z masks of its products."""
    places: dict[int, list[int]] = {}
    for place, x in enumerate(observable.x_masks):
        places.setdefault(x, []).append(place)
    for x, own in places.items():
        coefficients = np.array([observable.coefficients[place] for place in own])
        yield x, coefficients, np.array([observable.z_masks[place] for place in own], dtype=np.int64)


class _Diagonal:
    """The factors of the amplitudes after the permutation by an x mask: sums of signs, by blocks of indices."""

    def __init__(self, coefficients: NDArray[np.float64], x: int, z: NDArray[np.int64], block: int) -> None:
        # A product maps the amplitude of j ^ x to j with the factor (-i)^|x & z| (-1)^|z & j|.
        power = np.bitwise_count(z & x) % 4
        weights = np.where(power < 2, coefficients, -coefficients)
        self._parts = [
            _Signs(weights[chosen] * sign, z[chosen], block) if chosen.any() else None
            for chosen, sign in ((power % 2 == 0, 1.0), (power % 2 == 1, -1.0))
        ]

    def at(self, first: int) -> tuple[Factors | None, Factors | None]:
        """Return the real and the imaginary parts of the block that begins at an index; None means zeros."""
        real, imaginary = self._parts
        return real and real.at(first), imaginary and imaginary.at(first)


class _Signs:
    """The sum of w (-1)^|z & j| over products, for blocks of indices j."""

    def __init__(self, weights: NDArray[np.float64], z: NDArray[np.int64], block: int) -> None:
        self._weights, self._high, self._low = weights, z - z % block, z % block
        self._block = block
        self._constant = None if z.any() else float(weights.sum())
        if len(weights) <= _TRANSFORM and self._constant is None:
            # The signs of a block are products of those of the halves of its bits.
            side = 1 << (block.bit_length() - 1) // 2
            self._columns = signs(np.arange(side)[None, :] & self._low[:, None])
            self._rows = signs((np.arange(block // side) * side)[:, None] & self._low[None, :])

    def at(self, first: int) -> Factors:
        """Return the sums for the block that begins at an index."""
        if self._constant is not None:
            return self._constant
        weights = self._weights * signs(self._high & first)
        if len(weights) == 1:
            return np.asarray((self._rows * weights * self._columns).reshape(-1))
        if len(weights) <= _TRANSFORM:
            return np.asarray(((self._rows * weights) @ self._columns).reshape(-1))
        return walsh_hadamard(np.bincount(self._low, weights, minlength=self._block))


def signs(masks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (-1)^(number of ones) of masks."""
    return np.asarray(1.0 - 2.0 * (np.bitwise_count(masks) & 1))


def walsh_hadamard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of values[z] (-1)^|z & j| for all j. The given array is overwritten."""
    step = 1
    while step < len(values):
        pairs = values.reshape(-1, 2, step)
        low, high = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        pairs[:, 0], pairs[:, 1] = low, high
        step *= 2
    return values
