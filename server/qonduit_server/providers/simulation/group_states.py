# SPDX-License-Identifier: Apache-2.0
"""The states of groups of shots: vectors or density matrices, and what measurements and channels make of them.

An array has an axis of two for each qubit, the first qubit's first; a density matrix those of its rows, then those of
its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qonduit_server.ir.noise import Channel
from qonduit_server.providers.simulation.sampling import born_probabilities

State: TypeAlias = NDArray[np.complex128]
#: Two states are the same if their overlap is this close to 1.
_SAME: Final = 1e-13
#: With more outcomes than this all probabilities are computed at once.
_MANY_ROWS: Final = 64


class StateKind(Protocol):
    """How the state of a group is stored."""

    #: Axes of an array for each qubit.
    axes: int

    def split(self, state: State, qubits: Sequence[int]) -> State:
        """Return a state sorted by what measuring some qubits gives; the first qubit's is an outcome's highest bit."""

    def probabilities(self, split: State) -> NDArray[np.float64]:
        """Return how probable each outcome is."""

    def part(self, split: State, outcome: int) -> State:
        """Return the normalized state of the other qubits after an outcome."""

    def same(self, one: State, other: State) -> bool:
        """Return whether two normalized states cannot be distinguished."""


class _Vectors:
    """Statevectors."""

    axes = 1

    def split(self, state: State, qubits: Sequence[int]) -> State:
        order = [*qubits, *(qubit for qubit in range(state.ndim) if qubit not in qubits)]
        return state.transpose(order).reshape(1 << len(qubits), -1)

    def probabilities(self, split: State) -> NDArray[np.float64]:
        if len(split) > _MANY_ROWS:
            return np.asarray(born_probabilities(split).sum(axis=1))
        return np.array([np.vdot(row, row).real for row in split])

    def part(self, split: State, outcome: int) -> State:
        row = split[outcome]
        return np.asarray(row / np.linalg.norm(row))

    def same(self, one: State, other: State) -> bool:
        return bool(abs(np.vdot(one, other)) > 1 - _SAME)


class _Densities:
    """Density matrices."""

    axes = 2

    def split(self, state: State, qubits: Sequence[int]) -> State:
        width = state.ndim // 2
        others = [qubit for qubit in range(width) if qubit not in qubits]
        order = [*qubits, *(width + q for q in qubits), *others, *(width + q for q in others)]
        size, rest = 1 << len(qubits), 1 << len(others)
        return state.transpose(order).reshape(size, size, rest, rest)

    def probabilities(self, split: State) -> NDArray[np.float64]:
        traces = np.array([np.trace(split[outcome, outcome]).real for outcome in range(len(split))])
        return np.asarray(np.maximum(traces, 0.0))

    def part(self, split: State, outcome: int) -> State:
        block = split[outcome, outcome]
        return np.asarray(block / np.trace(block).real)

    def same(self, one: State, other: State) -> bool:
        return bool(np.abs(one - other).max() < _SAME)


VECTORS: Final[StateKind] = _Vectors()
DENSITIES: Final[StateKind] = _Densities()


def zero(kind: StateKind, qubits: int) -> State:
    """Return the state in which all qubits are 0."""
    state: State = np.zeros((2,) * (kind.axes * qubits), dtype=np.complex128)
    state[(0,) * state.ndim] = 1.0
    return state


def whole(kind: StateKind, part: State, qubits: int, measured: Sequence[int], values: Sequence[int]) -> State:
    """Return the state of all qubits where the measured ones have values and the others are in a state."""
    state: State = np.zeros((2,) * (kind.axes * qubits), dtype=np.complex128)
    index: list[int | slice] = [slice(None)] * qubits
    for qubit, value in zip(measured, values, strict=True):
        index[qubit] = value
    state[tuple(index * kind.axes)] = part.reshape((2,) * (kind.axes * (qubits - len(measured))))
    return state


def channel_probabilities(state: State, channel: Channel, qubits: Sequence[int]) -> NDArray[np.float64]:
    """Return how probable each Kraus operator of a channel is for a statevector."""
    if channel.paulis is not None:
        return np.array([p for p in channel.paulis.values() if p > 0])
    # The last qubit of a channel is the highest bit of its matrices' indices.
    front = VECTORS.split(state, qubits[::-1])
    reduced = front @ front.conj().T
    weights = [np.einsum("ij,jk,ik->", kraus, reduced, kraus.conj()).real for kraus in channel.kraus]
    return np.maximum(np.array(weights), 0.0)


def apply_kraus(state: State, kraus: NDArray[Any], qubits: Sequence[int]) -> State:
    """Return the normalized state after a Kraus operator. The given state is left alone."""
    order = [*qubits[::-1], *(qubit for qubit in range(state.ndim) if qubit not in qubits)]
    front = kraus @ state.transpose(order).reshape(len(kraus), -1)
    front /= np.linalg.norm(front)
    back = np.argsort(order)
    return np.ascontiguousarray(front.reshape((2,) * state.ndim).transpose(back))
