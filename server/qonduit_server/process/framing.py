# SPDX-License-Identifier: Apache-2.0
"""Frames between the server, its fork servers and its workers: a 4-byte big-endian length, then a message."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, cast

from google.protobuf.message import Message

_LENGTH: Final = struct.Struct(">I")

#: The body of a frame of so many bytes is put together on its own, and not copied any more.
_LARGE_BYTES: Final = 1024**2

#: What is put into a worker's pipe for the n-th task sent to it, from 0. Who takes it out decides about the task: the
#: worker by running it, the server by giving it to another worker.
TOKEN: Final = struct.Struct(">q")


def pack(message: Message) -> bytes:
    """Return the message as one frame."""
    body = message.SerializeToString()
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """Puts frames together from the pieces in which a stream socket delivers them. A large one is held once."""

    def __init__(self) -> None:
        self._data = bytearray()
        #: The body of a large frame, of which so many bytes are still to come.
        self._large = bytearray()
        self._missing = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take what was received and give the bodies of the frames that are complete now, in order."""
        data = self._data
        if self._missing:
            rest = memoryview(piece)[: self._missing]
            self._large += rest
            self._missing -= len(rest)
            if self._missing:
                return
            body, self._large = self._large, bytearray()
            # Protobuf reads it as it is.
            yield cast("bytes", body)
            del body
            piece = piece[len(rest) :]
        data += piece
        start = 0
        while len(data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
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
