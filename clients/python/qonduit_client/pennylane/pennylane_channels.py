# SPDX-License-Identifier: Apache-2.0
"""Write PennyLane's channels: as noise of a program, or as unitaries with qubits that are traced out of its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pennylane import math
from pennylane.operation import Channel

from qonduit_client.pennylane.pennylane_gates import Dialect, Statement, matrix_text, number_of, operands

#: An eigenvalue of a channel below this belongs to no operator: entries of matrices are as exact.
_NOTHING: Final = 1e-13
#: PennyLane's names of channels of one Pauli error, and Braket's with the same meaning. Stabilizer methods run these.
_PAULI_CHANNELS: Final = {"BitFlip": "bit_flip", "PhaseFlip": "phase_flip", "DepolarizingChannel": "depolarizing"}


def noise_statement(op: Channel, qubits: Sequence[int]) -> Statement:
    """Return a channel as a statement of noise; its first wire is the highest bit of matrices, in Braket too.

    Raises:
        DeviceError: a parameter is not a finite number.
    """
    if name := _PAULI_CHANNELS.get(op.name):
        noise = f"{name}({number_of(op.parameters[0], op)!r})"
    elif op.name == "PauliError" and len(qubits) == 1:
        letter, probability = op.hyperparameters["operators"][0], number_of(op.parameters[0], op)
        noise = f"pauli_channel({', '.join(repr(probability if each == letter else 0.0) for each in 'XYZ')})"
    else:
        noise = f"kraus({', '.join(matrix_text(each) for each in kraus_operators(op))})"
    return Statement(f"#pragma braket noise {noise} {operands(qubits)}", Dialect.BRAKET)


def kraus_operators(op: Channel) -> list[NDArray[np.complex128]]:
    """Return the fewest Kraus operators of a channel, from the eigenvectors of its Choi matrix."""
    given = [np.asarray(math.toarray(each), dtype=np.complex128) for each in op.kraus_matrices()]
    columns = np.stack([each.reshape(-1) for each in given], axis=1)
    values, vectors = np.linalg.eigh(columns @ columns.conj().T)
    return [
        np.sqrt(value) * vector.reshape(given[0].shape)
        for value, vector in zip(values, vectors.T, strict=True)
        if value > _NOTHING
    ]


def dilated(op: Channel) -> tuple[NDArray[np.complex128], int]:
    """Return a unitary that acts as the channel on its wires if further qubits, after them, are traced out.

    These qubits begin in |0>; operator i takes them to |i> (Stinespring's dilation).

    Returns:
        The matrix, whose lowest bits are the further qubits, and the number of these qubits.
    """
    operators = kraus_operators(op)
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
