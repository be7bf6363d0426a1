# SPDX-License-Identifier: Apache-2.0
"""Compressed requests: inflated here and not by gRPC, once there is room for what they become.

gRPC's core would inflate each request when it arrives, without looking how large it becomes: a few kilobytes can be
many megabytes. So the server receives requests as they were sent (`grpc.per_message_decompression` is 0). gRPC does
not say which of them are compressed, but their first bytes do. No message of protobuf can begin as gzip does: 0x1f is a
tag with a wire type that does not exist. What begins as deflate does (zlib's format) and is not is taken as it is.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from qonduit_server.errors import InvalidArgument

_GZIP: Final = b"\x1f\x8b"
_DEFLATE: Final = tuple(bytes((0x78, second)) for second in (0x01, 0x5E, 0x9C, 0xDA))
#: zlib's number for "with the header and trailer of gzip".
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def decompressed_size(data: bytes, most: int) -> int:
    """Return how many bytes a request has once it is inflated; `most` if it does not say that."""
    if data.startswith(_GZIP) and len(data) >= 18:
        return int(struct.unpack_from("<I", data, len(data) - 4)[0])
    if data.startswith(_DEFLATE):
        return max(most, len(data))
    return len(data)


def decompress(data: bytes, size: int) -> bytes:
    """Return a request as it was before it was compressed; one that was not compressed as it is.

    Args:
        size: what `decompressed_size` returned for it: it does not become larger.

    Raises:
        InvalidArgument: it begins as gzip does and is not, or becomes larger than that.
    """
    gzip = data.startswith(_GZIP)
    if not gzip and not data.startswith(_DEFLATE):
        return data
    inflater = zlib.decompressobj(_GZIP_WINDOW if gzip else zlib.MAX_WBITS)
    try:
        # One byte more than there should be: it would show that there is more.
        inflated = inflater.decompress(data, size + 1)
    except zlib.error:
        inflated = b""
    whole = inflater.eof and not inflater.unused_data
    if whole and (len(inflated) == size if gzip else len(inflated) <= size):
        return inflated
    if not gzip and len(inflated) <= size:
        return data
    raise InvalidArgument.of("request", "request.encoding", "the compressed request is damaged or too long")
