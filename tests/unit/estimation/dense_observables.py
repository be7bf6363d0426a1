# SPDX-License-Identifier: Apache-2.0
"""Observables and states as dense arrays: the reference of the estimation tests."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from qonduit_server.pauli_sums import PauliSum

MATRICES: dict[str, Any] = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]).astype(complex),
}


def product(letters: dict[int, str], qubits: int) -> Any:
    """The matrix of a product of Paulis; qubit k is bit k of the index."""
    matrix = np.eye(1, dtype=complex)
    for qubit in range(qubits):
        matrix = np.kron(MATRICES[letters.get(qubit, "I")], matrix)
    return matrix


def letters_of(x_mask: int, z_mask: int) -> dict[int, str]:
    return {
        qubit: "IZXY"[2 * (x_mask >> qubit & 1) + (z_mask >> qubit & 1)]
        for qubit in range((x_mask | z_mask).bit_length())
    }


def dense(observable: PauliSum, qubits: int) -> Any:
    """The matrix of an observable."""
    terms = zip(observable.coefficients, observable.x_masks, observable.z_masks, strict=True)
    zero = np.zeros((1 << qubits, 1 << qubits), dtype=complex)
    return sum((c * product(letters_of(x, z), qubits) for c, x, z in terms), zero)


def random_state(qubits: int, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    state = generator.normal(size=1 << qubits) + 1j * generator.normal(size=1 << qubits)
    return state / np.linalg.norm(state)


def random_sum(qubits: int, terms: int, seed: int) -> PauliSum:
    """A sum of distinct products with coefficients of both signs."""
    generator = random.Random(seed)
    masks = {(generator.getrandbits(qubits), generator.getrandbits(qubits)): None for _ in range(terms)}
    return PauliSum(
        tuple(generator.uniform(-2, 2) for _ in masks), tuple(x for x, _ in masks), tuple(z for _, z in masks)
    )
