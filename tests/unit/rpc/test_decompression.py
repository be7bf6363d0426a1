# SPDX-License-Identifier: Apache-2.0
"""Compressed requests are decompressed, or refused."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest

from qonduit_server.errors import InvalidArgument
from qonduit_server.rpc.decompression import decompress, decompressed_size

MOST = 1_000_000
PACKED = gzip.compress(bytes(range(256)) * 400, mtime=0)


def inflated(data: bytes) -> bytes:
    """Return the decompressed request."""
    return decompress(data, decompressed_size(data, MOST))


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"\x0a\x03abc" * 10_000])
def test_compressed_data_is_inflated_and_other_data_is_unchanged(data: bytes) -> None:
    packed = gzip.compress(data)
    assert decompressed_size(packed, MOST) == decompressed_size(data, MOST) == len(data)
    assert inflated(packed) == inflated(data) == data
    assert inflated(zlib.compress(data)) == data
    assert decompressed_size(zlib.compress(data), MOST) == MOST


def test_data_that_only_starts_like_deflate_is_unchanged() -> None:
    message = b"\x78\x01" + b"\x08\x01" * 10  # field 15 is 1, field 1 is 1, ...
    assert inflated(message) == message


@pytest.mark.parametrize(
    "packed",
    [
        PACKED[:-4] + struct.pack("<I", 10),  # decompresses to more than it declares
        PACKED[:-4] + struct.pack("<I", 10_000_000),  # or to less
        PACKED[: len(PACKED) // 2],
        PACKED + b"more",
        PACKED[:20] + bytes((PACKED[20] ^ 0xFF,)) + PACKED[21:],
        PACKED[:10],
        PACKED[:2],
        zlib.compress(bytes(MOST + 1)),
    ],
)
def test_damaged_data_and_wrong_declared_sizes_are_refused(packed: bytes) -> None:
    with pytest.raises(InvalidArgument):
        inflated(packed)
