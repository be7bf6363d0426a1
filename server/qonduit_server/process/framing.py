# SPDX-License-Identifier: Apache-2.0
"""Frames between the server, its fork servers and its workers: a 4-byte big-endian length, then a message."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, cast

from google.protobuf.message import Message

_LENGTH: Final = struct.Struct(">I")

#: The body of a frame of at least this size is collected in a separate buffer and not copied again.
_LARGE_BYTES: Final = 1024**2

#: Written to a worker's pipe for the n-th task sent to it, from 0. The process that reads it owns the task: the worker
#: runs it, the server assigns it to another worker.
TOKEN: Final = struct.Struct(">q")


def pack(message: Message) -> bytes:
    """Return the message as one frame."""
    body = message.SerializeToString()
    return _LENGTH.pack(len(body)) + body


class FrameTooLarge(Exception):
    """A frame has more bytes than its receiver accepts."""


class FrameBuffer:
    """Assembles frames from the parts that a stream socket delivers. It holds a large frame once.

    Args:
        max_bytes: the largest body of a frame; 0 means no limit.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()
        #: The body of a large frame, and how many of its bytes are missing.
        self._large = bytearray()
        self._missing = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Add received bytes; yield the bodies of the frames that are now complete, in order. Raises FrameTooLarge."""
        data = self._data
        if self._missing:
            rest = memoryview(piece)[: self._missing]
            self._large += rest
            self._missing -= len(rest)
            if self._missing:
                return
            body, self._large = self._large, bytearray()
            # Protobuf parses a bytearray as well.
            yield cast("bytes", body)
            del body
            piece = piece[len(rest) :]
        data += piece
        start = 0
        while len(data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            if 0 < self._max_bytes < length:
                raise FrameTooLarge(length)
            end = start + _LENGTH.size + length
            if len(data) < end:
                if length >= _LARGE_BYTES:
                    self._large = data[start + _LENGTH.size :]
                    self._missing = end - len(data)
                    start = len(data)
                break
            yield bytes(data[start + _LENGTH.size : end])
            start = end
        if start:
            del data[:start]
