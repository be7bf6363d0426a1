# SPDX-License-Identifier: Apache-2.0
"""Compressed requests become what they were, or are refused."""

from __future__ import annotations

import gzip
import struct

import pytest

from qonduit_server.errors import InvalidArgument
from qonduit_server.rpc.inflation import inflate, inflated_size


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"\x0a\x03abc" * 10_000])
def test_what_was_compressed_is_inflated_and_what_was_not_stays(data: bytes) -> None:
    packed = gzip.compress(data)
    assert inflated_size(packed) == inflated_size(data) == len(data)
    assert inflate(packed) == inflate(data) == data


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-4] + struct.pack("<I", 10),  # becomes larger than it says
        lambda packed: packed[:-4] + struct.pack("<I", 10_000_000),  # or smaller
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed + b"more",
        lambda packed: packed[:20] + bytes((packed[20] ^ 0xFF,)) + packed[21:],
        lambda packed: packed[:10],
        lambda packed: packed[:2],
    ],
)
def test_what_is_damaged_or_lies_about_its_size_is_refused(damage: object) -> None:
    packed = gzip.compress(bytes(range(256)) * 400)
    with pytest.raises(InvalidArgument):
        inflate(damage(packed))  # type: ignore[operator]
