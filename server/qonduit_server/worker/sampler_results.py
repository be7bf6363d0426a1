# SPDX-License-Identifier: Apache-2.0
"""Encodes an outcome of a SAMPLER job: probabilities of all registers together and of each, and single shots."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from qonduit.v1.result_pb2 import BufferColumn, ColumnKind, Result, ResultType
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.worker.result_encoding import MESSAGE_BYTES, fits_message, into_buffer, register_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Keeps the order of shots independent of the draws of a device with the same seed.
_ORDER: Final = 0x5EED
_NUMBER_BYTES: Final = 8


def encode_distribution(
    result: Result, circuit: Circuit, outcome: Outcome, options: SamplerOptions, max_bytes: int
) -> bytes:
    """Fill in a result's probabilities and shots, or refer to rows.

    Args:
        result: already has shots, registers and metadata.
        circuit: names outcomes; without registers, the result has no entries.
        outcome: counts, or exact probabilities.
        options: of the sampler.
        max_bytes: maximum size of the rows; 0 means no limit.

    Returns:
        The rows of the result's buffer; empty where the message holds the entries.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    result.result_type = ResultType.RESULT_TYPE_QUASI_DISTRIBUTION
    member = result.quasi_distribution
    member.exact = outcome.exact is not None
    shown: Mapping[int, float] = outcome.counts if outcome.exact is None else outcome.exact
    if not circuit.registers:
        return b""
    columns = register_columns(result)
    row_bytes = sum(column.width for column in columns)
    merged: dict[tuple[int, ...], float] = {}
    for bits, share in shown.items():
        values = tuple(circuit.values(bits))
        merged[values] = merged.get(values, 0) + share
    _check_size(len(merged) * (row_bytes + _NUMBER_BYTES), max_bytes)
    if options.per_shot and not member.exact:
        _check_size(result.shots * row_bytes, max_bytes)
        rows = _in_order(merged, columns, outcome.meta_data.get("seed"))
        if len(rows) > MESSAGE_BYTES // 2:
            _fill_if_fits(result, merged)
            return into_buffer(result, columns, rows, row_bytes)
        member.outcomes = rows
    if len(merged) * (2 * row_bytes + _NUMBER_BYTES) <= MESSAGE_BYTES and _fill_if_fits(result, merged):
        return b""
    if options.per_shot and not member.exact:
        member.outcomes = b""
        return into_buffer(result, columns, rows, row_bytes)
    total = 1.0 if member.exact else result.shots
    data = b"".join(
        _packed(values, columns) + struct.pack(">d", share / total) for values, share in sorted(merged.items())
    )
    columns.append(BufferColumn(name="probability", kind=ColumnKind.COLUMN_KIND_FLOAT64, width=_NUMBER_BYTES))
    return into_buffer(result, columns, data, row_bytes + _NUMBER_BYTES)


def _fill_if_fits(result: Result, merged: Mapping[tuple[int, ...], float]) -> bool:
    """Fill in the probabilities if the message can hold them; return whether it can."""
    member = result.quasi_distribution
    total = 1.0 if member.exact else result.shots
    for values, share in merged.items():
        member.quasi_probabilities[" ".join(map(hex, values))] = share / total
    for place, register in enumerate(result.registers):
        own = member.by_register.add(register=register.name).quasi_probabilities
        for values, share in merged.items():
            key = hex(values[place])
            own[key] = own.get(key, 0.0) + share / total
    if fits_message(result):
        return True
    del member.by_register[:]
    member.quasi_probabilities.clear()
    return False


def _in_order(counts: Mapping[tuple[int, ...], float], columns: list[BufferColumn], seed: object) -> bytes:
    """Return a row for each shot.

    Shots are independent and alike, so that any order of given counts is as probable as any other.
    """
    entropy = [seed, _ORDER] if isinstance(seed, int) else None
    outcomes = sorted(counts)
    rows: NDArray[np.uint8] = np.frombuffer(
        b"".join(_packed(values, columns) for values in outcomes), dtype=np.uint8
    ).reshape(len(outcomes), -1)
    order: NDArray[np.int64] = np.repeat(np.arange(len(outcomes)), [int(counts[values]) for values in outcomes])
    np.random.default_rng(entropy).shuffle(order)
    return bytes(rows[order].tobytes())


def _packed(values: tuple[int, ...], columns: list[BufferColumn]) -> bytes:
    return b"".join(value.to_bytes(column.width, "big") for value, column in zip(values, columns, strict=True))


def _check_size(size: int, max_bytes: int) -> None:
    if max_bytes and size > max_bytes:
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the result has {size} bytes, and may have at most {max_bytes} (max_result_bytes): use fewer shots, or "
            "measure fewer bits",
        )
