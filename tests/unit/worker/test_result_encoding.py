# SPDX-License-Identifier: Apache-2.0
"""The encoding of results: entries in the message, or rows in a buffer."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Mapping

import numpy as np
import pytest

from qonduit.v1.result_pb2 import BufferColumn, ColumnKind, Register, Result, ResultType
from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.worker import result_encoding

UINT, FLOAT64 = ColumnKind.COLUMN_KIND_UINT, ColumnKind.COLUMN_KIND_FLOAT64


def circuit(**sizes: int) -> Circuit:
    """Registers side by side, in the order of declaration."""
    registers, first = [], 0
    for name, size in sizes.items():
        registers.append(ClassicalRegister(name, tuple(range(first, first + size))))
        first += size
    return Circuit(None, tuple(registers))  # type: ignore[arg-type]


def packed(of: Circuit, counts: Mapping[int, int], max_bytes: int = 0) -> tuple[Result, bytes]:
    result = Result(
        shots=sum(counts.values()),
        registers=[Register(name=each.name, size=len(each.bits)) for each in reversed(of.registers)],
    )
    rows = result_encoding.encode_counts(result, of, counts, max_bytes)
    return result, rows


def outcomes(bits: int, number: int) -> dict[int, int]:
    draw = random.Random(5)
    return {draw.getrandbits(bits): draw.randrange(1, 1000) for _ in range(number)}


def test_few_outcomes_are_entries_of_the_message() -> None:
    result, rows = packed(circuit(a=2, b=3), {0b00101: 3, 0b11110: 1})
    assert rows == b""
    assert not result.HasField("buffer")
    assert result.result_type == ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES
    assert dict(result.counts_and_probabilities.counts) == {"0x1 0x1": 3, "0x7 0x2": 1}
    assert dict(result.counts_and_probabilities.probabilities) == {"0x1 0x1": 0.75, "0x7 0x2": 0.25}


def test_many_outcomes_are_rows_in_ascending_order_of_their_columns() -> None:
    counts = outcomes(127, 20_000)
    of = circuit(low=9, none=0, high=118)
    result, rows = packed(of, counts)
    assert result.WhichOneof("result_dict") == "counts_and_probabilities"
    assert not result.counts_and_probabilities.counts
    assert not result.counts_and_probabilities.probabilities
    assert list(result.buffer.columns) == [
        BufferColumn(name="high", kind=UINT, width=15),
        BufferColumn(name="none", kind=UINT, width=0),
        BufferColumn(name="low", kind=UINT, width=2),
        BufferColumn(name="count", kind=UINT, width=8),
    ]
    assert result.buffer.rows == len(counts)
    assert result.buffer.size_bytes == len(rows) == 25 * len(counts)
    assert result.buffer.sha256 == hashlib.sha256(rows).hexdigest()
    assert result.buffer.name == ""
    read = [
        (int.from_bytes(row[:15], "big"), int.from_bytes(row[15:17], "big"), int.from_bytes(row[17:], "big"))
        for row in (rows[start : start + 25] for start in range(0, len(rows), 25))
    ]
    assert read == sorted(read)
    assert {high << 9 | low: count for high, low, count in read} == counts
    assert result.ByteSize() < 1000


def test_equal_outcomes_share_a_row_and_few_are_entries_of_the_message() -> None:
    counts = {outcome << 20 | place: 1 for place in range(20_000) for outcome in (1, 2)}
    result, rows = packed(circuit(low=20), counts)
    assert (len(rows), result.buffer.rows) == (20_000 * 11, 20_000)
    assert {rows[start + 10] for start in range(0, len(rows), 11)} == {2}
    result, rows = packed(circuit(low=3), counts)
    assert rows == b""
    assert dict(result.counts_and_probabilities.counts) == {hex(place): 5000 for place in range(8)}


def test_results_above_256_kib_have_a_buffer() -> None:
    sizes = {}
    for number in (6_000, 8_600, 8_650, 8_700, 8_750, 9_000, 11_000):
        result, rows = packed(circuit(c=14), dict.fromkeys(range(number), 1))
        sizes[number] = (result.ByteSize(), bool(rows))
        assert result.HasField("buffer") == bool(rows)
    assert all(size <= result_encoding.MESSAGE_BYTES for size, _ in sizes.values())
    assert not sizes[6_000][1]
    assert sizes[11_000][1]
    largest = max(size for size, is_buffered in sizes.values() if not is_buffered)
    assert largest > result_encoding.MESSAGE_BYTES * 0.9


def test_a_program_without_registers_shows_nothing() -> None:
    result, rows = packed(circuit(), {0: 10})
    assert rows == b""
    assert result.WhichOneof("result_dict") == "counts_and_probabilities"
    assert not result.counts_and_probabilities.counts


def test_more_outcomes_than_fit_are_refused_and_exactly_as_many_are_not() -> None:
    counts = outcomes(127, 20_000)
    of = circuit(c=127)
    _, rows = packed(of, counts, max_bytes=24 * len(counts))
    assert len(rows) == 24 * len(counts)
    with pytest.raises(LimitError, match=r"more than 19999 different outcomes of 24 bytes.*use fewer shots") as refused:
        packed(of, counts, max_bytes=24 * len(counts) - 1)
    assert refused.value.reason == "RESULT_TOO_LARGE"
    with pytest.raises(LimitError, match="max_result_bytes"):
        packed(circuit(c=2), {0: 1, 1: 1}, max_bytes=9)


def test_names_that_leave_no_room_are_refused() -> None:
    of = circuit(**{f"{place:04}" + "n" * 1000: 1 for place in range(4000)})
    with pytest.raises(LimitError, match="4000 registers"):
        packed(of, {0: 1})


def statevector(amplitudes: np.ndarray, max_bytes: int = 0) -> tuple[Result, bytes]:  # type: ignore[type-arg]
    result = Result()
    rows = result_encoding.encode_statevector(result, amplitudes, max_bytes)
    return result, rows


def state(qubits: int) -> np.ndarray:  # type: ignore[type-arg]
    draw = np.random.default_rng(3)
    return draw.normal(size=1 << qubits) + 1j * draw.normal(size=1 << qubits)


def test_a_small_statevector_is_in_the_message() -> None:
    result, rows = statevector(np.array([0.6, 0.8j]))
    assert rows == b""
    assert result.result_type == ResultType.RESULT_TYPE_STATEVECTOR
    assert (result.statevector.num_qubits, list(result.statevector.real), list(result.statevector.imaginary)) == (
        1, [0.6, 0.0], [0.0, 0.8])  # fmt: skip
    assert not statevector(state(13))[1]


def test_a_large_statevector_is_rows() -> None:
    amplitudes = state(14)
    result, rows = statevector(amplitudes)
    assert result.statevector.num_qubits == 14
    assert not result.statevector.real
    assert list(result.buffer.columns) == [
        BufferColumn(name="real", kind=FLOAT64, width=8),
        BufferColumn(name="imaginary", kind=FLOAT64, width=8),
    ]
    assert (result.buffer.rows, result.buffer.size_bytes) == (1 << 14, len(rows))
    assert result.buffer.sha256 == hashlib.sha256(rows).hexdigest()
    assert [complex(*row) for row in struct.iter_unpack(">dd", rows)] == amplitudes.tolist()


def test_a_statevector_over_the_limit_is_refused_before_it_is_computed() -> None:
    result_encoding.check_statevector(22, 64 * 1024**2)
    with pytest.raises(LimitError, match="at most 22 qubits") as refused:
        result_encoding.check_statevector(23, 64 * 1024**2)
    assert refused.value.reason == "RESULT_TOO_LARGE"
    with pytest.raises(LimitError, match=r"2\^4004 bytes"):
        result_encoding.check_statevector(4000, 64 * 1024**2)
    with pytest.raises(LimitError, match="at most 2 qubits"):
        statevector(state(3), max_bytes=127)
