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


def rows_of(result: Result) -> dict[str, NDArray[np.uint8]]:
    """Return the bytes of each shot of a sampler's result with `per_shot`, by register, in the order of the shots.

    Returns:
        For each register an array (shots, bytes), the highest byte first. Registers without bits are left out.
    """
    registers = [register for register in result.registers if register.size]
    widths = [(register.size + 7) // 8 for register in registers]
    packed = result.message.quasi_distribution.outcomes or result.known_rows()
    rows: NDArray[np.uint8] = np.frombuffer(packed, dtype=np.uint8).reshape(result.shots, sum(widths))
    ends = np.cumsum(widths)
    return {
        register.name: rows[:, end - width : end]
        for register, width, end in zip(registers, widths, ends.tolist(), strict=True)
    }


def sampled_bits_of(result: Result) -> dict[str, NDArray[np.uint8]]:
    """Return the outcome of each shot of a sampler's result, as `shots_of`, in the order of the shots."""
    sizes = {register.name: register.size for register in result.registers}
    return {name: unpacked_rows(rows, sizes[name]) for name, rows in rows_of(result).items()}


def unpacked_rows(rows: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the bits of rows of bytes, an array (rows, size), lowest bit first; missing bits are 0."""
    return np.unpackbits(rows[:, ::-1], axis=1, bitorder="little", count=size)


def bits_of(numbers: list[int], size: int) -> NDArray[np.uint8]:
    """Return integers of any size as an array (numbers, bits) of 0 and 1, lowest bit first."""
    width = (size + 7) // 8
    joined = b"".join(number.to_bytes(width) for number in numbers)
    packed: NDArray[np.uint8] = np.frombuffer(joined, dtype=np.uint8)
    return unpacked_rows(packed.reshape(len(numbers), width), size)
