# SPDX-License-Identifier: Apache-2.0
"""Channels and readout errors as Cirq's JSON. Cirq's probability of depolarizing is that of an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qonduit_server.ir.noise import Channel, ReadoutError, error_share, successive


def gate(channel: Channel, qubits: Sequence[int]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return a channel as one of Cirq, and its qubits in Cirq's order."""
    # Cirq's first qubit is the highest bit of a matrix, and has the first letter of a Pauli string.
    return _named(channel) or _kraus(channel), tuple(qubits)[::-1]


def confusion(errors: Sequence[ReadoutError]) -> list[list[float]]:
    """Return successive readout errors of a bit as a matrix: a row for each true value, a column for each recorded."""
    up, down = successive(errors)
    return [[1 - up, up], [down, 1 - down]]


def _named(channel: Channel) -> dict[str, Any] | None:
    values = [float(each) for each in channel.values]
    match channel.kind:
        case "bit_flip":
            return {"cirq_type": "BitFlipChannel", "p": values[0]}
        case "phase_flip":
            return {"cirq_type": "PhaseFlipChannel", "p": values[0]}
        case "amplitude_damping":
            return {"cirq_type": "AmplitudeDampingChannel", "gamma": values[0]}
        case "phase_damping":
            return {"cirq_type": "PhaseDampingChannel", "gamma": values[0]}
        case "generalized_amplitude_damping":
            return {"cirq_type": "GeneralizedAmplitudeDampingChannel", "p": 1 - values[1], "gamma": values[0]}
        case "depolarizing":
            error = min(1.0, values[0] * error_share(channel.num_qubits))
            return {"cirq_type": "DepolarizingChannel", "p": error, "n_qubits": channel.num_qubits}
    if channel.paulis is not None:
        probabilities = {label: float(p) for label, p in channel.paulis.items() if p > 0}
        return {"cirq_type": "AsymmetricDepolarizingChannel", "error_probabilities": probabilities}
    return None


def _kraus(channel: Channel) -> dict[str, Any]:
    operators = [[[_number(each) for each in row] for row in matrix.tolist()] for matrix in channel.kraus]
    return {"cirq_type": "KrausChannel", "_kraus_ops": operators, "_key": None}


def _number(value: complex) -> dict[str, Any]:
    return {"cirq_type": "complex", "real": float(value.real), "imag": float(value.imag)}
