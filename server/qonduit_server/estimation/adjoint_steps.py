# SPDX-License-Identifier: Apache-2.0
"""The steps of a circuit for adjoint differentiation: gates on several qubits, and permutations of amplitudes.

All states of a step are rows of one array: the state, and then an observable applied to it in each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.pauli_action import Vector
from qonduit_server.estimation.rotation_rows import RotationRows
from qonduit_server.estimation.state_kernels import Rows, Targets, apply_rows, element

#: Wider states take a pass in memory for each gate: the indices of a permutation would take half a state.
MAX_PERMUTED_QUBITS: Final = 16


class Step(Protocol):
    """A part of a circuit.

    Attributes:
        first_angle: its lowest angle; None without one.
    """

    first_angle: int | None

    def forward(self, states: Vector, angles: NDArray[np.float64]) -> Vector:
        """Return the step applied to states; it may overwrite them."""
        ...

    def backward(self, states: Vector, angles: NDArray[np.float64], derivatives: NDArray[np.float64]) -> Vector:
        """Return the inverse of the step applied to states, and set the derivatives by its angles.

        States after a step with the angle 0 are not used.
        """
        ...


class FixedGate:
    """A gate without parameters.

    Args:
        targets: the parts of a state.
        rows: of its matrix.
        inverse: of the inverse matrix.
    """

    first_angle: int | None = None

    def __init__(self, targets: Targets, rows: Rows, inverse: Rows) -> None:
        self.targets = targets
        self.rows = rows
        self._inverse = inverse

    @property
    def is_monomial(self) -> bool:
        """Whether the matrix has one entry in each row: a permutation with phases."""
        return all(len(columns) == 1 for _, columns in self.rows)

    def forward(self, states: Vector, angles: NDArray[np.float64]) -> Vector:
        """Return the gate applied to states, in place."""
        apply_rows(self.rows, self.targets.parts(states))
        return states

    def backward(self, states: Vector, angles: NDArray[np.float64], derivatives: NDArray[np.float64]) -> Vector:
        """Return the inverse of the gate applied to states, in place."""
        apply_rows(self._inverse, self.targets.parts(states))
        return states


class Rotation:
    """A gate with an angle.

    Args:
        targets: the parts of a state.
        rows: of its matrix, by its angle.
        angle: the number of the angle.
    """

    def __init__(self, targets: Targets, rows: RotationRows, angle: int) -> None:
        self._targets = targets
        self._rows = rows
        self.first_angle: int | None = angle
        self._angle = angle

    def forward(self, states: Vector, angles: NDArray[np.float64]) -> Vector:
        """Return the gate applied to states, in place."""
        apply_rows(self._rows.at(float(angles[self._angle])), self._targets.parts(states))
        return states

    def backward(self, states: Vector, angles: NDArray[np.float64], derivatives: NDArray[np.float64]) -> Vector:
        """Return the inverse of the gate applied to states, in place, and set its derivative."""
        parts = self._targets.parts(states)
        own = [part[0] for part in parts]
        for row in range(len(derivatives)):
            other = [part[row + 1] for part in parts]
            derivatives[row, self._angle] = -2 * element(self._rows.generator, other, own).imag
        apply_rows(self._rows.at(-float(angles[self._angle])), parts)
        return states


class Permutation:
    """Consecutive gates without parameters that permute amplitudes, as CX gates do, and multiply them by phases.

    Args:
        gates: each with one entry in each row of its matrix.
        num_qubits: of the state, at most `MAX_PERMUTED_QUBITS`.
    """

    first_angle: int | None = None

    def __init__(self, gates: Sequence[FixedGate], num_qubits: int) -> None:
        size = 1 << num_qubits
        # Amplitude i of the result is that of the source times the phase, so the phase is the result for ones.
        found: Vector = np.stack([np.ones(size), np.arange(size)]).astype(np.complex128)
        for gate in gates:
            apply_rows(gate.rows, gate.targets.parts(found))
        self._source = np.rint((found[1] / found[0]).real).astype(np.intp)
        self._phase = None if (found[0] == 1).all() else found[0]
        self._target = np.empty_like(self._source)
        self._target[self._source] = np.arange(size)

    def forward(self, states: Vector, angles: NDArray[np.float64]) -> Vector:
        """Return the permuted states."""
        moved: Vector = states.take(self._source, axis=1)
        if self._phase is not None:
            moved *= self._phase
        return moved

    def backward(self, states: Vector, angles: NDArray[np.float64], derivatives: NDArray[np.float64]) -> Vector:
        """Return the states before the permutation."""
        if self._phase is not None:
            states = states * self._phase.conj()
        return states.take(self._target, axis=1)
