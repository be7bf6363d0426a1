# SPDX-License-Identifier: Apache-2.0
"""The matrices of rotations by many angles, without an SDK's object for each."""

from __future__ import annotations

import cmath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.one_qubit_layers import OneQubitGate
from qonduit_server.estimation.state_kernels import Rows

#: Eigenvalues of generators are multiples of 1 / _PARTS.
_PARTS: Final = 2


class RotationRows:
    """The matrices exp(i G angle) of a generator G, by the projections on its eigenspaces.

    Args:
        generator: Hermitian, with eigenvalues that are multiples of 1/2.

    Attributes:
        generator: the rows of the generator that are not zero.
    """

    def __init__(self, generator: NDArray[np.complex128]) -> None:
        self._values: list[float] = np.unique(np.round(np.linalg.eigvalsh(generator) * _PARTS) / _PARTS).tolist()
        projections = np.array([self._projection(generator, value) for value in self._values])
        self._projections = projections
        self._generator = generator
        self.generator: Rows = []
        self._rows: list[tuple[int, list[tuple[int, list[complex]]]]] = []
        # Where a row of the generator is zero, that of each of its powers is too: the matrix leaves that part alone.
        for row in np.flatnonzero(generator.any(axis=1)).tolist():
            own = np.flatnonzero(projections[:, row].any(axis=0)).tolist()
            self._rows.append((row, [(column, projections[:, row, column].tolist()) for column in own]))
            entries = generator[row]
            columns = np.flatnonzero(entries).tolist()
            self.generator.append((row, [(column, complex(entries[column])) for column in columns]))

    def at(self, angle: float) -> Rows:
        """Return the rows of the matrix of an angle that differ from those of the identity."""
        phases = [cmath.exp(1j * angle * value) for value in self._values]
        return [
            (
                row,
                [(column, sum(map(complex.__mul__, phases, shares), 0j)) for column, shares in columns],
            )
            for row, columns in self._rows
        ]

    def one_qubit_gate(self, angle: int) -> OneQubitGate:
        """Return the gate of a generator of one qubit with two eigenvalues, with the number of its angle."""
        return OneQubitGate(np.array(self._values), self._projections, self._generator, angle)

    def _projection(self, generator: NDArray[np.complex128], value: float) -> NDArray[np.complex128]:
        """Return the projection on an eigenspace: a polynomial of the generator, exact for multiples of 1/2."""
        one: NDArray[np.complex128] = np.eye(len(generator), dtype=np.complex128)
        found = one
        for other in self._values:
            if other != value:
                found = found @ (generator - other * one) / (value - other)
        return found
