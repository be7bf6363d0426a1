# SPDX-License-Identifier: Apache-2.0
"""Convert a program's result to the records of `cirq.Result`: single shots by measurement key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qonduit_client.cirq.circuit_serialization import RECORDS
from qonduit_client.shots import rows_of, unpacked_rows

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
        the Simulator samples a final state, uint8 where it runs each shot. After the last measurement of a shot with
        fewer measurements of a key than other shots, it has zeros, as in the Simulator.

    Raises:
        ValueError: a shot has more measurements of a key than there is room for.
    """
    shots = rows_of(result)
    random = np.random.default_rng((seed, 1))
    of: dict[str, list[NDArray[np.uint8]]] = {}
    for each in measurements.measured:
        if each.rounds:
            of[each.key] = list(_rounds(shots[each.register + RECORDS], each).swapaxes(0, 1))
            continue
        bits = unpacked_rows(shots[each.register], len(each.flips))
        if each.confusion and measurements.sampled:
            bits = _confused(bits, each, random, in_turn=True)
        elif each.confusion:
            # The device has already inverted the bits.
            flips = np.array(each.flips, dtype=np.uint8)
            bits = _confused(bits ^ flips, each, random, in_turn=False) ^ flips
        of.setdefault(each.key, []).append(bits)
    dtype = np.int8 if measurements.sampled else np.uint8
    return {key: np.stack(bits, axis=1).astype(dtype, copy=False) for key, bits in of.items()}


def _rounds(rows: NDArray[np.uint8], measured: Measured) -> NDArray[np.uint8]:
    """Return all records of a key that a loop measures, an array (shots, records, qubits).

    Args:
        rows: for each shot a stack, from the lowest bit: for each place whether it has a record, and the record, the
            latest one first; then whether there are more records than places.
        measured: the measurement.
    """
    width, size = 1 + len(measured.flips), measured.rounds
    last = size * width
    if (rows[:, -1 - last // 8] >> last % 8 & 1).any():
        raise ValueError(
            f"a repetition measures {measured.key!r} in a CircuitOperation with repeat_until more than "
            f"max_rounds = {size} times: make the loop shorter, or pass QonduitSampler a larger max_rounds"
        )
    used = rows.shape[1] - int(np.argmax(np.append(rows.any(axis=0), True)))  # bytes that are not all 0
    places = min(size, -(-8 * used // width))
    stack = unpacked_rows(rows[:, rows.shape[1] - used :], places * width).reshape(len(rows), places, width)
    numbers = stack[:, :, 0].sum(axis=1, dtype=np.int64)
    order = numbers[:, None] - 1 - np.arange(numbers.max(initial=0))
    found: NDArray[np.uint8] = np.take_along_axis(stack[:, :, 1:], np.maximum(order, 0)[:, :, None], axis=1)
    return found * (order >= 0)[:, :, None].astype(np.uint8)


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
