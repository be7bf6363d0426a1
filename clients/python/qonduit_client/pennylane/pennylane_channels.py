# SPDX-License-Identifier: Apache-2.0
"""Write PennyLane's channels as noise of a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane import math

from qonduit_client.dilation import fewest_operators
from qonduit_client.pennylane.pennylane_gates import (
    DENSITY_MATRIX,
    Dialect,
    Statement,
    matrix_text,
    number_of,
    operands,
)

#: PennyLane's names of channels of one Pauli error, and Braket's with the same meaning. Stabilizer methods run these.
_PAULI_CHANNELS: Final = {"BitFlip": "bit_flip", "PhaseFlip": "phase_flip", "DepolarizingChannel": "depolarizing"}


def noise_statement(op: Any, qubits: Sequence[int]) -> Statement:
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
        noise = f"kraus({', '.join(matrix_text(each) for each in fewest_operators(kraus_operators(op)))})"
    return Statement(f"#pragma braket noise {noise} {operands(qubits)}", Dialect.BRAKET)


def kraus_operators(op: Any) -> list[NDArray[np.complex128]]:
    """Return the Kraus operators of a channel; its first wire is the highest bit of rows and columns."""
    if op.name == DENSITY_MATRIX:
        values, vectors = np.linalg.eigh(math.toarray(op.parameters[0]))
        states = np.sqrt(np.maximum(values, 0)) * vectors
        return [np.outer(state, old).astype(np.complex128) for state in states.T for old in np.eye(len(values))]
    return [np.asarray(math.toarray(each), dtype=np.complex128) for each in op.kraus_matrices()]
