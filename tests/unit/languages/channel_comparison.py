# SPDX-License-Identifier: Apache-2.0
"""Channels compared as superoperators, which do not depend on the choice of Kraus operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qonduit_server.ir.noise import Channel

Matrix = np.ndarray[Any, np.dtype[np.complex128]]


def superoperator(kraus: Sequence[Matrix]) -> Matrix:
    """Return the matrix that maps a density matrix, row by row."""
    return np.asarray(sum(np.kron(each, each.conj()) for each in kraus))


def first_is_highest(channel: Channel, places: Sequence[int]) -> list[Matrix]:
    """Return Kraus operators for qubits in ascending order, the first of which is the highest bit."""
    size = channel.num_qubits
    order = sorted(range(size), key=lambda k: places[k])
    axes = [size - 1 - k for k in order]
    done = []
    for each in channel.kraus:
        tensor = np.asarray(each, dtype=complex).reshape((2,) * (2 * size))
        done.append(tensor.transpose([*axes, *(size + k for k in axes)]).reshape(1 << size, 1 << size))
    return done
