# SPDX-License-Identifier: Apache-2.0
"""Express channels as unitaries on more qubits, so that pure states have exact noise. Requires NumPy, for adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: An eigenvalue of a channel below this belongs to no operator: entries of matrices are as exact.
_NOTHING: Final = 1e-13


def fewest_operators(kraus: Sequence[NDArray[np.complex128]]) -> list[NDArray[np.complex128]]:
    """Return the fewest Kraus operators of a channel, from the eigenvectors of its Choi matrix."""
    columns = np.stack([np.asarray(each, dtype=np.complex128).reshape(-1) for each in kraus], axis=1)
    values, vectors = np.linalg.eigh(columns @ columns.conj().T)
    return [
        np.sqrt(value) * vector.reshape(kraus[0].shape)
        for value, vector in zip(values, vectors.T, strict=True)
        if value > _NOTHING
    ]


def dilated(kraus: Sequence[NDArray[np.complex128]]) -> tuple[NDArray[np.complex128], int]:
    """Return a unitary that acts as a channel if further qubits, after its own, are traced out.

    These qubits begin in |0>; operator i takes them to |i> (Stinespring's dilation).

    Args:
        kraus: the Kraus operators.

    Returns:
        The matrix, whose lowest bits are the further qubits, and the number of these qubits.
    """
    operators = fewest_operators(kraus)
    further = (len(operators) - 1).bit_length()
    size, environment = len(operators[0]), 1 << further
    isometry: NDArray[np.complex128] = np.zeros((size, environment, size), dtype=np.complex128)
    isometry[:, : len(operators)] = np.stack(operators, axis=1)
    begun = isometry.reshape(size * environment, size)
    unitary: NDArray[np.complex128] = np.empty((size * environment, size, environment), dtype=np.complex128)
    unitary[:, :, 0] = begun
    rest = np.linalg.qr(begun, mode="complete")[0][:, size:]
    unitary[:, :, 1:] = rest.reshape(size * environment, size, environment - 1)
    return unitary.reshape(size * environment, -1), further


def traced_out(state: NDArray[np.complex128], qubits: int) -> NDArray[np.complex128]:
    """Return the density matrix of the first qubits of a state; the first qubit is the highest bit of its indices."""
    rows = state.reshape(1 << qubits, -1)
    density: NDArray[np.complex128] = rows @ rows.conj().T
    return density
