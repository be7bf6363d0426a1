# SPDX-License-Identifier: Apache-2.0
"""Layers of one-qubit gates, applied to a few neighbouring qubits at a time as one matrix.

The gates of a layer act on each qubit in sequence, and on the qubits independently. The derivatives by all angles of a
qubit follow from one 2 x 2 matrix: the trace over all other qubits of |state><other|, where `other` is an observable
applied to the state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.pauli_action import Vector

#: Maximum number of neighbouring qubits that one matrix acts on. A matrix of 16 rows costs about as much as a pass over
#: the state in memory.
_WINDOW: Final = 4
#: Maximum number of amplitudes, of all states, that one matrix product reads: blocks that fit the cache.
_BLOCK: Final = 1 << 14
_TWO: Final = 2


class OneQubitGate(NamedTuple):
    """A gate exp(i G angle), as the sum of exp(i v angle) P over the eigenvalues v of G and their projections P.

    Attributes:
        values: two eigenvalues.
        projections: of shape (2, 2, 2). A gate without an angle has the value 0 and its matrix as the only projection.
        generator: G; zeros for a gate without an angle.
        angle: the number of its angle; -1 for a gate without one.
    """

    values: NDArray[np.float64]
    projections: NDArray[np.complex128]
    generator: NDArray[np.complex128]
    angle: int


_IDENTITY: Final[NDArray[np.complex128]] = np.eye(_TWO, dtype=np.complex128)


def fixed_gate(matrix: NDArray[np.complex128]) -> OneQubitGate:
    """Return a gate without an angle."""
    nothing: NDArray[np.complex128] = np.zeros((_TWO, _TWO), dtype=np.complex128)
    return OneQubitGate(np.zeros(_TWO), np.stack([matrix, nothing]), nothing, -1)


class _Window(NamedTuple):
    """Neighbouring qubits: the lowest one, and the places of these qubits in the layer (None: no gate)."""

    low: int
    places: tuple[int | None, ...]


class OneQubitLayer:
    """One-qubit gates on different qubits, several in sequence on each.

    Args:
        gates: of each qubit, in the order of their application.
    """

    def __init__(self, gates: Mapping[int, Sequence[OneQubitGate]]) -> None:
        qubits = sorted(gates)
        depth = max(map(len, gates.values()))
        padded = [[*gates[qubit], *[fixed_gate(_IDENTITY)] * (depth - len(gates[qubit]))] for qubit in qubits]
        self._values = np.array([[gate.values for gate in own] for own in padded])
        self._projections = np.array([[gate.projections for gate in own] for own in padded])
        self._generators = np.array([[gate.generator for gate in own] for own in padded])
        self._angles = np.array([[gate.angle for gate in own] for own in padded])
        self._windows = list(_windows(qubits))
        #: The places of the windows of each width; a qubit without gates has that of the identity, behind the others.
        self._groups: dict[int, NDArray[np.intp]] = {
            width: np.array(
                [
                    [len(qubits) if place is None else place for place in window.places]
                    for window in self._windows
                    if len(window.places) == width
                ]
            )
            for width in dict.fromkeys(len(window.places) for window in self._windows)
        }
        #: The angles of the last pass forward, and the gates' matrices and the products of each qubit for them.
        self._known: tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.complex128]] | None = None
        #: The lowest angle of the layer; None if it has none.
        self.first_angle: int | None = min((int(each) for each in self._angles.flat if each >= 0), default=None)

    def forward(self, states: Vector, angles: NDArray[np.float64]) -> Vector:
        """Return the layer applied to states, of shape (states, amplitudes), in place; bit k of an index is qubit k."""
        matrices = self._matrices(angles)
        products = _products(matrices)
        self._known = (angles, matrices, products)
        self._apply(states, products)
        return states

    def backward(self, states: Vector, angles: NDArray[np.float64], derivatives: NDArray[np.float64]) -> Vector:
        """Return the inverse of the layer applied to states, in place, and set the derivatives by its angles.

        A layer with the angle 0 sets the derivatives only, because no layer before it has an angle.

        Args:
            states: the state, and then an observable applied to it in each row.
            angles: of all gates of the circuit.
            derivatives: of the shape (observables, angles).
        """
        if self._known is not None and self._known[0] is angles:
            _, matrices, products = self._known
        else:
            matrices = self._matrices(angles)
            products = _products(matrices)
        if self.first_angle is not None:
            self._differentiate(states, matrices, derivatives)
        if self.first_angle != 0:  # no step before the first angle needs the states
            self._apply(states, products.conj().swapaxes(-1, -2))
        return states

    def _matrices(self, angles: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the gates' matrices, of shape (qubits, gates, 2, 2)."""
        own = np.where(self._angles < 0, 0.0, angles[self._angles]) if len(angles) else np.zeros(self._angles.shape)
        phases = np.exp(1j * own[..., None] * self._values)
        found: NDArray[np.complex128] = (phases[..., None, None] * self._projections).sum(axis=2)
        return found

    def _apply(self, states: Vector, products: NDArray[np.complex128]) -> None:
        padded = np.concatenate([products, _IDENTITY[None]])
        matrices = {width: iter(_kron_all(padded[places])) for width, places in self._groups.items()}
        for window in self._windows:
            matrix = next(matrices[len(window.places)])
            for block in _blocks(states, window):
                if window.low == 0:
                    # A matrix product with one column would be a matrix-vector product for each row.
                    block[..., 0] = block[..., 0] @ matrix.T
                else:
                    block[...] = matrix @ block

    def _differentiate(
        self, states: Vector, matrices: NDArray[np.complex128], derivatives: NDArray[np.float64]
    ) -> None:
        reduced: NDArray[np.complex128] = np.empty((len(derivatives), len(matrices), _TWO, _TWO), dtype=np.complex128)
        for window in self._windows:
            width = len(window.places)
            outer: NDArray[np.complex128] = np.zeros((len(derivatives), 1 << width, 1 << width), dtype=np.complex128)
            for block in _blocks(states, window):
                rows = block.transpose(0, 2, 1, 3).reshape(len(states), 1 << width, -1)
                outer += rows[0] @ rows[1:].conj().swapaxes(-1, -2)
            traces = (outer.reshape(len(outer), -1) @ _partial_traces(width)).reshape(-1, width, _TWO, _TWO)
            for bit, place in enumerate(window.places):
                if place is not None:
                    reduced[:, place] = traces[:, bit]
        for gate in range(matrices.shape[1] - 1, -1, -1):
            found = -2 * (self._generators[:, gate] * reduced.swapaxes(-1, -2)).sum(axis=(-1, -2)).imag
            chosen = self._angles[:, gate] >= 0
            derivatives[:, self._angles[chosen, gate]] = found[:, chosen]
            matrix = matrices[:, gate]
            reduced = matrix.conj().swapaxes(-1, -2) @ reduced @ matrix


def _products(matrices: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the product of each qubit's gates, the last one to the left."""
    found = matrices[:, 0]
    for gate in range(1, matrices.shape[1]):
        found = matrices[:, gate] @ found
    return found


def _windows(qubits: Sequence[int]) -> Iterator[_Window]:
    """Yield windows that contain all qubits; each begins and ends with one of them."""
    place_of = {qubit: place for place, qubit in enumerate(qubits)}
    low = -1
    for qubit in qubits:
        if low >= 0 and qubit < low + _WINDOW:
            continue
        low = qubit
        high = max(each for each in qubits if each < low + _WINDOW)
        yield _Window(low, tuple(place_of.get(each) for each in range(low, high + 1)))


def _blocks(states: Vector, window: _Window) -> Iterator[NDArray[np.complex128]]:
    """Yield views of the states, of shape (states, higher qubits, amplitudes of the window, lower qubits)."""
    parts = states.reshape(len(states), -1, 1 << len(window.places), 1 << window.low)
    _, above, width, below = parts.shape
    size = max(1, _BLOCK // len(states))
    columns = min(below, max(1, size // width))
    rows = max(1, size // (width * columns))
    for first in range(0, above, rows):
        for column in range(0, below, columns):
            yield parts[:, first : first + rows, :, column : column + columns]


def _kron_all(matrices: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the Kronecker product of each row of matrices, the first one to the right.

    Args:
        matrices: of shape (rows, factors, 2, 2).
    """
    found = matrices[:, 0]
    for factor in range(1, matrices.shape[1]):
        size = _TWO << factor
        product = matrices[:, factor, :, None, :, None] * found[:, None, :, None, :]
        found = product.reshape(-1, size, size)
    return found


@functools.cache
def _partial_traces(width: int) -> NDArray[np.complex128]:
    """Return the map from an operator on qubits to its traces over all but one of them.

    Returns:
        Of shape (4^width, 4 * width): from the elements of the operator to those of the 2 x 2 matrix of each qubit.
    """
    size = 1 << width
    found: NDArray[np.complex128] = np.zeros((size, size, width, _TWO, _TWO), dtype=np.complex128)
    for row in range(size):
        for bit in range(width):
            for other in (row, row ^ 1 << bit):
                found[row, other, bit, row >> bit & 1, other >> bit & 1] = 1.0
    return found.reshape(size * size, 4 * width)
