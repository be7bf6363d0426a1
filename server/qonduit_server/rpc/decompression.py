# SPDX-License-Identifier: Apache-2.0
"""Decompress requests when memory for their decompressed size is available, in place of gRPC.

gRPC's core would decompress each request on arrival without a check of its decompressed size: a few kilobytes can
become many megabytes. So the server receives requests as they were sent (`grpc.per_message_decompression` is 0). gRPC
does not report which requests are compressed, so the server checks their first bytes. No protobuf message can begin
like gzip: 0x1f is a tag with a wire type that does not exist. A request that begins like deflate (zlib's format) but is
not valid deflate is used unchanged.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from qonduit_server.errors import InvalidArgument

_GZIP: Final = b"\x1f\x8b"
_DEFLATE: Final = tuple(bytes((0x78, second)) for second in (0x01, 0x5E, 0x9C, 0xDA))
#: zlib's window size that selects the gzip format.
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def decompressed_size(data: bytes, most: int) -> int:
    """Return the decompressed size of a request in bytes; `most` if the request does not contain its size."""
    if data.startswith(_GZIP) and len(data) >= 18:
        return int(struct.unpack_from("<I", data, len(data) - 4)[0])
    if data.startswith(_DEFLATE):
        return max(most, len(data))
    return len(data)


def decompress(data: bytes, size: int) -> bytes:
    """Return a decompressed request; one that is not compressed is returned unchanged.

    Args:
        size: the limit of the decompressed size, from `decompressed_size`.

    Raises:
        InvalidArgument: it begins like gzip and is not valid gzip, or its decompressed size exceeds `size`.
    """
    gzip = data.startswith(_GZIP)
    if not gzip and not data.startswith(_DEFLATE):
        return data
    inflater = zlib.decompressobj(_GZIP_WINDOW if gzip else zlib.MAX_WBITS)
    try:
        # Request one byte more than the limit, to detect a larger size.
        inflated = inflater.decompress(data, size + 1)
    except zlib.error:
        inflated = b""
    whole = inflater.eof and not inflater.unused_data
    if whole and (len(inflated) == size if gzip else len(inflated) <= size):
        return inflated
    if not gzip and len(inflated) <= size:
        return data
    raise InvalidArgument.of("request", "request.encoding", "the compressed request is damaged or too long")
