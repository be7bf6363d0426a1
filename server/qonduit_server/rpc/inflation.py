# SPDX-License-Identifier: Apache-2.0
"""Compressed requests: inflated here and not by gRPC, once there is room for what they become.

gRPC's core would inflate each request when it arrives, without looking how large it becomes: a few kilobytes can be
many megabytes. So the server receives requests as they were sent (`grpc.per_message_decompression` is 0). gRPC does
not say which of them are compressed, but no message of protobuf can begin as gzip does: 0x1f is a tag with a wire type
that does not exist. Other algorithms are refused by gRPC (`grpc.compression_enabled_algorithms_bitset`).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from qonduit_server.errors import InvalidArgument

#: Bits of `grpc.compression_enabled_algorithms_bitset`: not compressed, and gzip.
ALGORITHMS: Final = 0b101
_GZIP: Final = b"\x1f\x8b"
#: zlib's number for "with the header and trailer of gzip".
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def inflated_size(data: bytes) -> int:
    """Return how many bytes a request has, or says that it will have once it is inflated."""
    if data.startswith(_GZIP) and len(data) >= 18:
        return int(struct.unpack_from("<I", data, len(data) - 4)[0])
    return len(data)


def inflate(data: bytes) -> bytes:
    """Return a request as it was before it was compressed; one that was not compressed as it is.

    Raises:
        InvalidArgument: it begins as gzip does and is not, or becomes larger than it says.
    """
    if not data.startswith(_GZIP):
        return data
    size = inflated_size(data)
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # One byte more than there should be: it would show that there is more.
        inflated = inflater.decompress(data, size + 1)
    except zlib.error:
        inflated = b""
    if not inflater.eof or len(inflated) != size or inflater.unused_data:
        raise InvalidArgument.of("request", "request.encoding", "the bytes sent are compressed with gzip, but damaged")
    return inflated
