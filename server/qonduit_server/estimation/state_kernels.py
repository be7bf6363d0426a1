# SPDX-License-Identifier: Apache-2.0
"""Small matrices applied to a statevector in place, and their matrix elements between two states.

Only entries that are not those of the identity cost time: a controlled gate leaves most of the state alone, and a
diagonal one needs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.pauli_action import Vector

#: The rows of a matrix that differ from the identity: the row, and its entries by column.
Rows: TypeAlias = list[tuple[int, list[tuple[int, complex]]]]


class Targets:
    """The parts of states in which some of their qubits have fixed values."""

    def __init__(self, qubits: Sequence[int], num_qubits: int) -> None:
        shape: list[int] = []
        axes: dict[int, int] = {}
        above = num_qubits
        for qubit in sorted(qubits, reverse=True):
            shape.append(1 << above - qubit - 1)
            axes[qubit] = len(shape)
            shape.append(2)
            above = qubit
        self._shape = (*shape, 1 << above)
        self._index: list[tuple[int | slice, ...]] = []
        for values in range(1 << len(qubits)):
            index: list[int | slice] = [slice(None)] * (len(self._shape) + 1)
            for place, qubit in enumerate(qubits):
                index[axes[qubit] + 1] = values >> place & 1
            self._index.append(tuple(index))

    def parts(self, states: Vector) -> list[Vector]:
        """Return views of the parts of states, of shape (states, ...); bit k of a part's number is the k-th qubit."""
        array = states.reshape(-1, *self._shape)
        return [array[index] for index in self._index]


def rows_of(matrix: NDArray[np.complex128]) -> Rows:
    """Return the rows that differ from the identity, without zeros."""
    found: Rows = []
    for row, entries in enumerate(matrix):
        columns = [(int(column), complex(entries[column])) for column in np.flatnonzero(entries)]
        if columns != [(row, 1)]:
            found.append((row, columns))
    return found


def apply_rows(rows: Rows, parts: list[Vector]) -> None:
    """Apply a matrix to the parts of states, in place."""
    if all(len(columns) == 1 and columns[0][0] == row for row, columns in rows):
        for row, columns in rows:
            parts[row] *= columns[0][1]
        return
    made = []
    for row, columns in rows:
        column, factor = columns[0]
        total = parts[column].copy() if factor == 1 else parts[column] * factor
        for column, factor in columns[1:]:
            total += parts[column] * factor
        made.append((row, total))
    for row, total in made:
        parts[row][...] = total


def element(rows: Rows, left: Sequence[Vector], right: Sequence[Vector]) -> complex:
    """Return <left| M |right> for a matrix given by all of its rows that are not zero."""
    return sum(
        (factor * complex(np.vdot(left[row], right[column])) for row, columns in rows for column, factor in columns), 0j
    )
