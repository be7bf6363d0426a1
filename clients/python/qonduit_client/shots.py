# SPDX-License-Identifier: Apache-2.0
"""Expand counts to single shots, for SDKs whose results list every shot. Requires NumPy, as these SDKs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qonduit_client.result import Result


def shots_of(result: Result, seed: int | None = None) -> dict[str, NDArray[np.uint8]]:
    """Return the outcome of each shot, by classical register in order of declaration.

    Counts have no order of shots. The shots are shuffled, so that any part of them is a fair sample.

    Args:
        result: counts of a program.
        seed: of the shuffle.

    Returns:
        For each register an array (shots, bits) of 0 and 1; column i is bit i of the register.
    """
    counts = result.counts
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
    registers = result.registers
    numbers = [key.split() for key in counts]
    return {
        register.name: bits_of([int(each[place], 16) for each in numbers], register.size)[order]
        for place, register in reversed(list(enumerate(registers)))
    }


def bits_of(numbers: list[int], size: int) -> NDArray[np.uint8]:
    """Return integers of any size as an array (numbers, bits) of 0 and 1, lowest bit first."""
    width = (size + 7) // 8
    joined = b"".join(number.to_bytes(width, "little") for number in numbers)
    packed: NDArray[np.uint8] = np.frombuffer(joined, dtype=np.uint8)
    return np.unpackbits(packed.reshape(len(numbers), width), axis=1, bitorder="little", count=size)
