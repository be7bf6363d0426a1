# SPDX-License-Identifier: Apache-2.0
"""Unitaries with further qubits act as the channels that they replace."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qonduit_client.dilation import dilated, fewest_operators, traced_out


def random_channel(qubits: int, operators: int) -> list[NDArray[np.complex128]]:
    """Blocks of the columns of a random unitary."""
    random, size = np.random.default_rng(qubits * 100 + operators), 1 << qubits
    numbers = random.normal(size=(2, operators * size, size))
    columns = np.linalg.qr(numbers[0] + 1j * numbers[1])[0]
    return list(columns.reshape(operators, size, size))


@pytest.mark.parametrize(("qubits", "operators", "further"), [(1, 1, 0), (1, 2, 1), (1, 3, 2), (2, 5, 3), (2, 16, 4)])
def test_a_dilation_is_the_channel_on_its_first_qubits(qubits: int, operators: int, further: int) -> None:
    kraus = random_channel(qubits, operators)
    unitary, number = dilated(kraus)
    assert number == further
    assert np.allclose(unitary @ unitary.conj().T, np.eye(len(unitary)), rtol=0, atol=1e-12)
    state = np.random.default_rng(1).normal(size=1 << qubits) + 0.5j
    state /= np.linalg.norm(state)
    begin = np.kron(state, np.eye(1 << further)[0])
    expected = sum(each @ np.outer(state, state.conj()) @ each.conj().T for each in kraus)
    assert np.allclose(traced_out(unitary @ begin, qubits), expected, rtol=0, atol=1e-12)


def test_operators_that_depend_on_others_take_no_qubits() -> None:
    flip = np.array([[0, 1], [1, 0]])
    repeated = [np.sqrt(0.1) * flip] * 7 + [np.sqrt(0.3) * np.eye(2), 0 * flip]
    assert len(fewest_operators(repeated)) == 2
    assert dilated(repeated)[1] == 1
