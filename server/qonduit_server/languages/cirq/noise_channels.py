# SPDX-License-Identifier: Apache-2.0
"""Noise channels of Cirq's JSON as channels of the IR.

Cirq's depolarizing probability is that of an error (X, Y or Z with p/3 each), where the IR's is that of the maximally
mixed state. Its generalized amplitude damping relaxes to |0> with p, where the IR names the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Final

import numpy as np

from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.noise import MAX_CHANNEL_QUBITS, TOLERANCE, Channel, ReadoutError
from qonduit_server.languages.cirq.gate_parts import complex_number
from qonduit_server.languages.json_text import Node, integer, mapping, number, sequence, wrong


def read(kind: str, node: Node) -> tuple[Channel, bool] | None:
    """Return a channel, and whether its first qubit is the highest bit of its matrices; None: it is no channel.

    Raises:
        ProgramError: it is not well formed, or not a channel.
    """
    maker = _MAKERS.get(kind)
    if maker is None:
        return None
    return maker(node), kind not in ("DepolarizingChannel",)


def confusions(node: object, qubits: int) -> dict[int, ReadoutError]:
    """Return the readout error of each measured qubit that a confusion map names.

    Args:
        node: the confusion map: pairs of the indices of qubits and a matrix, with a row for each true value.
        qubits: how many qubits are measured.

    Raises:
        ProgramError: it is not well formed, or describes errors that depend on several qubits.
    """
    errors: dict[int, ReadoutError] = {}
    for each in sequence(node, "a confusion_map"):
        pair = sequence(each, "a part of a confusion_map")
        if len(pair) != 2:
            raise wrong("a part of a confusion_map is not a list of qubits and a matrix")
        places = [integer(place, "a qubit of a confusion_map") for place in sequence(pair[0], "a list of qubits")]
        if len(places) != 1:
            raise ProgramError(
                "UNSUPPORTED_CONSTRUCT",
                f"a confusion_map names {len(places)} qubits at once: give each qubit a matrix of its own",
            )
        if not 0 <= places[0] < qubits or places[0] in errors:
            raise wrong(f"a confusion_map names the qubit {places[0]} of {qubits}, or names it twice")
        rows = [
            [number(value, "a probability") for value in sequence(row, "a row")]
            for row in sequence(pair[1], "a matrix")
        ]
        if len(rows) != 2 or any(len(row) != 2 or abs(sum(row) - 1) > TOLERANCE for row in rows):
            raise ProgramError(
                "INVALID_NOISE", "a confusion matrix of a qubit must have two rows that each add up to 1"
            )
        errors[places[0]] = ReadoutError(rows[0][1], rows[1][0])
    return errors


def _probability(node: Node, key: str) -> float:
    value = number(node.get(key), key)
    if not 0 <= value <= 1:
        raise ProgramError("INVALID_NOISE", f"{key} must be between 0 and 1, got {value}")
    return value


def _depolarizing(node: Node) -> Channel:
    qubits = integer(node.get("n_qubits", 1), "n_qubits")
    if not 1 <= qubits <= MAX_CHANNEL_QUBITS:
        raise ProgramError("INVALID_NOISE", f"a channel acts on 1 to {MAX_CHANNEL_QUBITS} qubits, got {qubits}")
    return noise.depolarizing(_probability(node, "p") / noise.error_share(qubits), qubits)


def _asymmetric(node: Node) -> Channel:
    found = mapping(node.get("error_probabilities"), "error_probabilities")
    return noise.pauli({label: number(value, "a probability") for label, value in found.items()})


def _damping(node: Node) -> Channel:
    return noise.generalized_amplitude_damping(_probability(node, "gamma"), 1 - _probability(node, "p"))


def _kraus(node: Node) -> Channel:
    if node.get("_key") is not None:
        raise ProgramError("UNSUPPORTED_CONSTRUCT", "a KrausChannel with a key records its outcome: leave the key out")
    return noise.kraus([_matrix(each) for each in sequence(node.get("_kraus_ops"), "_kraus_ops")])


def _mixture(node: Node) -> Channel:
    if node.get("_key") is not None:
        raise ProgramError(
            "UNSUPPORTED_CONSTRUCT", "a MixedUnitaryChannel with a key records its outcome: leave the key out"
        )
    operators = []
    for each in sequence(node.get("_mixture"), "_mixture"):
        pair = sequence(each, "a part of a mixture")
        if len(pair) != 2:
            raise wrong("a part of a mixture is not a probability and a matrix")
        probability = number(pair[0], "a probability")
        if not 0 <= probability <= 1:
            raise ProgramError("INVALID_NOISE", f"a probability must be between 0 and 1, got {probability}")
        operators.append(sqrt(probability) * np.array(_matrix(pair[1]), dtype=complex))
    return noise.kraus(operators)


def _matrix(node: object) -> list[list[complex]]:
    rows = [sequence(each, "a row") for each in sequence(node, "a matrix")]
    if not 2 <= len(rows) <= 1 << MAX_CHANNEL_QUBITS or any(len(row) != len(rows) for row in rows):
        raise wrong(f"a matrix of a channel is not square, or is for more than {MAX_CHANNEL_QUBITS} qubits")
    return [[complex_number(each, "a matrix's element") for each in row] for row in rows]


_MAKERS: Final[dict[str, Callable[[Node], Channel]]] = {
    "AmplitudeDampingChannel": lambda node: noise.amplitude_damping(_probability(node, "gamma")),
    "AsymmetricDepolarizingChannel": _asymmetric,
    "BitFlipChannel": lambda node: noise.bit_flip(_probability(node, "p")),
    "DepolarizingChannel": _depolarizing,
    "GeneralizedAmplitudeDampingChannel": _damping,
    "KrausChannel": _kraus,
    "MixedUnitaryChannel": _mixture,
    "PhaseDampingChannel": lambda node: noise.phase_damping(_probability(node, "gamma")),
    "PhaseFlipChannel": lambda node: noise.phase_flip(_probability(node, "p")),
}
