# SPDX-License-Identifier: Apache-2.0
"""From the result of a program to what `cirq.Result` holds: single shots by measurement key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qonduit_client.shots import shots_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.cirq.circuit_serialization import Measured, Prepared
    from qonduit_client.result import Result


def records_of(result: Result, prepared: Prepared, seed: int | None) -> dict[str, NDArray[np.integer[Any]]]:
    """Return what each shot measured, as `cirq.Simulator` reports it.

    The Simulator contradicts itself where a measurement has both an `invert_mask` and a `confusion_map`. Where it
    samples a final state, it inverts first and then confuses; where it runs each shot, it confuses first, as the
    documentation of `cirq.MeasurementGate` says. Index sets that overlap are applied one after the other in the first
    case, and all to what was measured in the second. Both are followed here.

    Args:
        result: of the program.
        prepared: the program.
        seed: fixes the order of the shots, and what confusion maps make of them.

    Returns:
        For each key, in order of its first measurement, an array (shots, measurements of the key, qubits): int8 where
        the Simulator samples a final state, uint8 where it runs each shot.
    """
    shots = shots_of(result, seed)
    random = np.random.default_rng(None if seed is None else (seed, 1))
    of: dict[str, list[NDArray[np.uint8]]] = {}
    for each in prepared.measured:
        bits = shots[each.register]
        if each.confusion and prepared.sampled:
            bits = _confused(bits, each, random, in_turn=True)
        elif each.confusion:
            # The device has inverted already.
            flips = np.array(each.flips, dtype=np.uint8)
            bits = _confused(bits ^ flips, each, random, in_turn=False) ^ flips
        of.setdefault(each.key, []).append(bits)
    dtype = np.int8 if prepared.sampled else np.uint8
    return {key: np.stack(bits, axis=1).astype(dtype, copy=False) for key, bits in of.items()}


def _confused(
    bits: NDArray[np.uint8], measured: Measured, random: np.random.Generator, *, in_turn: bool
) -> NDArray[np.uint8]:
    """Return what confusion maps make of bits (shots, qubits).

    Args:
        bits: what was measured.
        measured: the measurement, with its confusion maps.
        random: draws what is read.
        in_turn: a map is applied to what the maps before it made, and not to what was measured.
    """
    confused = bits.copy()
    for places, matrix in measured.confusion:
        weights = 1 << np.arange(len(places))[::-1]
        rows = np.cumsum(matrix, axis=1)[(confused if in_turn else bits)[:, places] @ weights]
        new = (rows[:, :-1] <= random.random((len(bits), 1)) * rows[:, -1:]).sum(axis=1)
        confused[:, places] = (new[:, None] & weights) > 0
    return confused
