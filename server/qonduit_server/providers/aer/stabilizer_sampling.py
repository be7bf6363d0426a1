# SPDX-License-Identifier: Apache-2.0
"""The outcomes of Clifford circuits: all equally probable, and an affine space over bits.

The differences of outcomes are spanned by the X parts of the stabilizer's generators (Aaronson and Gottesman,
quant-ph/0406196). With one outcome of a simulator they are the whole distribution: shots
are drawn from them, where the simulator would walk through its tableau again for each shot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Shots that are drawn at a time.
_CHUNK: Final = 1 << 14


def directions(gates: Iterable[tuple[str, Sequence[int]]], qubits: int, measured: Sequence[int]) -> tuple[int, ...]:
    """Return a basis of the differences of a circuit's outcomes.

    Args:
        gates: elementary Clifford gates, by name, with their qubits; they act on zeros.
        qubits: how many there are.
        measured: the qubits that are measured at the end.

    Returns:
        Independent numbers whose bit j is what `measured[j]` gives.
    """
    # Bit i of x[q] and z[q]: whether generator i has an X or a Z on qubit q. Signs do not matter for differences.
    x = [0] * qubits
    z = [1 << qubit for qubit in range(qubits)]
    for name, places in gates:
        first = places[0]
        match name:
            case "h":
                x[first], z[first] = z[first], x[first]
            case "s" | "sdg":
                z[first] ^= x[first]
            case "sx" | "sxdg":
                x[first] ^= z[first]
            case "cx":
                second = places[1]
                x[second] ^= x[first]
                z[first] ^= z[second]
            case "cz":
                second = places[1]
                z[first] ^= x[second]
                z[second] ^= x[first]
            case "cy":
                second = places[1]
                z[first] ^= x[second] ^ z[second]
                x[second] ^= x[first]
                z[second] ^= x[first]
            case "swap":
                second = places[1]
                x[first], x[second] = x[second], x[first]
                z[first], z[second] = z[second], z[first]
            case "x" | "y" | "z":
                pass
            case _:
                raise ValueError(f"{name} is not an elementary Clifford gate")
    return _basis(_transposed([x[qubit] for qubit in measured], qubits))


def draw(offset: int, basis: Sequence[int], shots: int, generator: np.random.Generator) -> dict[int, int]:
    """Sample an affine space of which one element and a basis are known.

    Returns:
        How often each outcome was seen.
    """
    if not basis:
        return {offset: shots}
    width = (max(offset.bit_length(), *(each.bit_length() for each in basis)) + 63) // 64
    start, rows = _words(offset, width), [_words(each, width) for each in basis]
    seen: Counter[bytes] = Counter()
    for first in range(0, shots, _CHUNK):
        number = min(_CHUNK, shots - first)
        found = np.tile(start, (number, 1))
        bits = generator.integers(0, 2, size=(len(rows), number), dtype=np.uint64)
        for row, taken in zip(rows, bits, strict=True):
            found ^= taken[:, None] * row
        if width == 1:
            keys, numbers = np.unique(found[:, 0], return_counts=True)
            seen.update(dict(zip((key.tobytes() for key in keys), numbers.tolist(), strict=True)))
        else:
            seen.update(each.tobytes() for each in found)
    return {int.from_bytes(key, "little"): times for key, times in seen.items()}


def distribution(offset: int, basis: Sequence[int]) -> Mapping[int, float]:
    """Return the probability of each outcome; there are 2^len(basis)."""
    outcomes = [offset]
    for each in basis:
        outcomes += [outcome ^ each for outcome in outcomes]
    return dict.fromkeys(outcomes, 1 / len(outcomes))


def _words(value: int, width: int) -> NDArray[np.uint64]:
    return np.frombuffer(value.to_bytes(8 * width, "little"), dtype="<u8")


def _transposed(columns: Sequence[int], rows: int) -> list[int]:
    """Return numbers whose bit j is bit i of `columns[j]`, for each of `rows` places i."""
    size = (rows + 7) // 8
    raw = np.frombuffer(b"".join(column.to_bytes(size, "little") for column in columns), dtype=np.uint8)
    bits = np.unpackbits(raw.reshape(len(columns), size), axis=1, bitorder="little")[:, :rows]
    packed = np.packbits(bits.T, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _basis(vectors: Iterable[int]) -> tuple[int, ...]:
    by_highest: dict[int, int] = {}
    for vector in vectors:
        rest = vector
        while rest:
            highest = rest.bit_length()
            other = by_highest.get(highest)
            if other is None:
                by_highest[highest] = rest
                break
            rest ^= other
    return tuple(by_highest.values())
