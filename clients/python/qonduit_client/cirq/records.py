# SPDX-License-Identifier: Apache-2.0
"""From the result of a program to what `cirq.Result` holds: single shots by measurement key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qonduit_client.shots import shots_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.cirq.circuits import Measured, Prepared
    from qonduit_client.result import Result


def records_of(result: Result, prepared: Prepared, seed: int | None) -> dict[str, NDArray[np.integer[Any]]]:
    """Returns what each shot measured.

    Args:
        result: of the program.
        prepared: the program.
        seed: fixes the order of the shots, and what confusion maps make of them.

    Returns:
        For each key, in order of its first measurement, an array (shots, measurements of the key, qubits).
    """
    shots = shots_of(result, seed)
    random = np.random.default_rng(None if seed is None else (seed, 1))
    of: dict[str, list[NDArray[np.uint8]]] = {}
    for each in prepared.measured:
        of.setdefault(each.key, []).append(_read(shots[each.register], each, random))
    return {key: np.stack(bits, axis=1).astype(prepared.dtype, copy=False) for key, bits in of.items()}


def _read(bits: NDArray[np.uint8], measured: Measured, random: np.random.Generator) -> NDArray[np.uint8]:
    """What is read of what was measured (shots, qubits); confusion comes before inversion, as in Cirq."""
    if not measured.confusion:
        return bits
    flips = np.array(measured.flips, dtype=np.uint8)
    bits = bits ^ flips
    for places, matrix in measured.confusion:
        weights = 1 << np.arange(len(places))[::-1]
        rows = np.cumsum(matrix, axis=1)[bits[:, places] @ weights]
        new = (rows[:, :-1] <= random.random((len(bits), 1)) * rows[:, -1:]).sum(axis=1)
        bits[:, places] = (new[:, None] & weights) > 0
    return bits ^ flips
