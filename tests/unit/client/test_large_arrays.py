# SPDX-License-Identifier: Apache-2.0
"""Large estimates and samples take the memory of their numbers, and little more."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qonduit.v1.result_pb2 import (
    BufferColumn,
    BufferReference,
    ColumnKind,
    ExpectationValues,
    QuasiDistribution,
    Register,
)
from qonduit.v1.result_pb2 import Result as ResultMessage
from qonduit_client.errors import ServerFault
from qonduit_client.estimates import estimate_of
from qonduit_client.result import Result
from qonduit_client.samples import Sample

POINTS, OBSERVABLES, SHOTS = 10_000, 10, 1_000_000
_CHUNK = 1 << 20


def _served(message: ResultMessage, row: bytes, rows: int, columns: list[BufferColumn]) -> Result:
    """Return a result whose buffer repeats a row, sent in chunks as by a server."""
    per_chunk = _CHUNK // len(row)

    def chunks() -> Iterator[bytes]:
        for begin in range(0, rows, per_chunk):
            yield row * min(per_chunk, rows - begin)

    digest = hashlib.sha256()
    for chunk in chunks():
        digest.update(chunk)
    message.buffer.CopyFrom(
        BufferReference(
            name="results/1", size_bytes=len(row) * rows, rows=rows, sha256=digest.hexdigest(), columns=columns
        )
    )
    return Result(message, lambda reference, offset: chunks())


def _estimates() -> Result:
    message = ResultMessage(expectation_values=ExpectationValues(num_points=POINTS, num_observables=OBSERVABLES))
    row = np.array([0.5, 0.1, 2, 0.3, 0.7, 100, 1], dtype=">f8").tobytes()
    column = BufferColumn(name="number", kind=ColumnKind.COLUMN_KIND_FLOAT64, width=8)
    return _served(message, row, POINTS * OBSERVABLES, [column] * 7)


def _sample(size: int) -> Result:
    message = ResultMessage(
        quasi_distribution=QuasiDistribution(), shots=SHOTS, registers=[Register(name="c", size=size)]
    )
    column = BufferColumn(name="c", kind=ColumnKind.COLUMN_KIND_UINT, width=size // 8)
    return _served(message, _outcome(size).to_bytes(size // 8, "big"), SHOTS, [column])


def _outcome(size: int) -> int:
    return 0xFEDCBA9876543210 >> (64 - size)


def _peak(run: Callable[[], Any]) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        return run(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_estimates() -> None:
    result = _estimates()
    size = result.message.buffer.size_bytes
    found, peak = _peak(lambda: estimate_of(result, has_points=True))
    assert found.values.shape == (POINTS, OBSERVABLES)
    assert (found.values == 0.5).all()
    assert (found.shots == 100).all()
    assert found.bounded.all()
    np.testing.assert_array_equal(found.confidence_intervals[7, 3], [0.3, 0.7])
    assert peak < 2.3 * size + 3 * _CHUNK, "the rows, and the arrays"


@pytest.mark.parametrize(("size", "factor"), [(8, 1.0), (24, 4.0), (64, 2.0)])
def test_a_million_shots(size: int, factor: float) -> None:
    result = _sample(size)
    found, peak = _peak(lambda: Sample(result).outcomes)
    assert found.shape == (SHOTS, 1)
    assert (found == _outcome(size)).all()
    assert peak < factor * result.message.buffer.size_bytes + 3 * _CHUNK, "the rows, and an array of whole integers"


def test_a_buffer_that_changed_is_refused() -> None:
    result = _estimates()
    result.message.buffer.sha256 = "0" * 64
    with pytest.raises(ServerFault, match="SHA-256"):
        estimate_of(result, has_points=True)


@pytest.mark.parametrize("size", [1, 8, 9, 17, 33, 64, 65, 130])
def test_registers_of_any_size(size: int) -> None:
    numbers = [0, 1, (1 << size) - 1, 1 << (size - 1)]
    width = (size + 7) // 8
    message = ResultMessage(
        quasi_distribution=QuasiDistribution(
            outcomes=b"".join(number.to_bytes(width, "big") + b"\x01" for number in numbers)
        ),
        shots=len(numbers),
        registers=[Register(name="c", size=size), Register(name="d", size=1)],
    )
    sample = Sample(Result(message))
    outcomes = sample.outcomes
    assert outcomes is not None
    assert outcomes.tolist() == [[number, 1] for number in numbers]
    assert outcomes.dtype == (object if size > 64 else f"u{next(each for each in (1, 2, 4, 8) if 8 * each >= size)}")
    assert list(sample.rows()) == [(number, 1) for number in numbers]
    bits = sample.bits
    assert bits is not None
    assert [sum(int(bit) << place for place, bit in enumerate(row)) for row in bits["c"]] == numbers


def test_an_empty_register_has_no_bits() -> None:
    message = ResultMessage(
        quasi_distribution=QuasiDistribution(outcomes=b"\x01\x00"),
        shots=2,
        registers=[Register(name="none", size=0), Register(name="c", size=1)],
    )
    sample = Sample(Result(message))
    assert sample.outcomes is not None
    assert sample.outcomes.tolist() == [[0, 1], [0, 0]]
    assert sample.bits is not None
    assert sample.bits["none"].shape == (2, 0)
