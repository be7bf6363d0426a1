# SPDX-License-Identifier: Apache-2.0
"""Convert a program's result to the records of `cirq.Result`: single shots by measurement key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qonduit_client.shots import sampled_bits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.cirq.circuit_serialization import Measured, Measurements
    from qonduit_client.result import Result


def records_of(result: Result, measurements: Measurements, seed: int) -> dict[str, NDArray[np.integer[Any]]]:
    """Return the measurements of each shot, as `cirq.Simulator` reports them.

    The Simulator is inconsistent if a measurement has both an `invert_mask` and a `confusion_map`. When it
    samples a final state, it inverts first and then confuses; when it runs each shot, it confuses first, as the
    documentation of `cirq.MeasurementGate` specifies. Overlapping index sets are applied in sequence in the first case,
    and all to the measured bits in the second. This function reproduces both.

    Args:
        result: of a sampler, with the shots in order.
        measurements: of the program.
        seed: of confusion maps.

    Returns:
        For each key, in order of its first measurement, an array (shots, measurements of the key, qubits): int8 where
        the Simulator samples a final state, uint8 where it runs each shot.
    """
    shots = sampled_bits_of(result)
    random = np.random.default_rng((seed, 1))
    of: dict[str, list[NDArray[np.uint8]]] = {}
    for each in measurements.measured:
        bits = shots[each.register]
        if each.confusion and measurements.sampled:
            bits = _confused(bits, each, random, in_turn=True)
        elif each.confusion:
            # The device has already inverted the bits.
            flips = np.array(each.flips, dtype=np.uint8)
            bits = _confused(bits ^ flips, each, random, in_turn=False) ^ flips
        of.setdefault(each.key, []).append(bits)
    dtype = np.int8 if measurements.sampled else np.uint8
    return {key: np.stack(bits, axis=1).astype(dtype, copy=False) for key, bits in of.items()}


def _confused(
    bits: NDArray[np.uint8], measured: Measured, random: np.random.Generator, *, in_turn: bool
) -> NDArray[np.uint8]:
    """Apply confusion maps to bits, an array (shots, qubits).

    Args:
        bits: the measured bits.
        measured: the measurement, with its confusion maps.
        random: the generator of the confusion.
        in_turn: apply each map to the output of the previous one instead of the measured bits.
    """
    confused = bits.copy()
    for places, matrix in measured.confusion:
        weights = 1 << np.arange(len(places))[::-1]
        rows = np.cumsum(matrix, axis=1)[(confused if in_turn else bits)[:, places] @ weights]
        new = (rows[:, :-1] <= random.random((len(bits), 1)) * rows[:, -1:]).sum(axis=1)
        confused[:, places] = (new[:, None] & weights) > 0
    return confused
