# SPDX-License-Identifier: Apache-2.0
"""Clients without manners: HTTP/2 by hand, to leave requests unfinished and answers unread."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK = 0x1
_END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4


def message(payload: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, its length, itself."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


class Rude:
    """One connection.

    Args:
        target: HOST:PORT.
        window: bytes a stream may be sent before it is read; 0: none at all.
        polite: begin with what HTTP/2 begins with; if not, nothing is said.
    """

    def __init__(self, target: str, *, window: int = 0, polite: bool = True) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._authority = target
        self._next = 1
        if polite:
            settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
            self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def call(self, method: str, data: bytes = b"", *, ends: bool = True) -> int:
        """Begin a call ("/package.Service/Method") and send these bytes of its request; return the stream's number."""
        number = self._next
        self._next += 2
        headers = b"".join(
            b"\0" + _text(name) + _text(value)
            for name, value in (
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            )
        )
        sent = _frame(_HEADERS, _END_HEADERS, number, headers)
        if data or ends:
            sent += _frame(_DATA, _END_STREAM if ends else 0, number, data)
        self._socket.sendall(sent)
        return number

    def until_ended(self, streams: int, seconds: float) -> dict[int, bytes]:
        """Read until so many streams were ended by the server; return the headers and trailers of each.

        What is read gives no stream more room: windows are never opened. Raises TimeoutError, ConnectionError.
        """
        self._socket.settimeout(seconds)
        told: dict[int, bytes] = {}
        ended: dict[int, bytes] = {}
        while len(ended) < streams:
            size, kind, flags, number = struct.unpack(">IBBI", b"\0" + self._exactly(9))
            body = self._exactly(size)
            if kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._socket.sendall(_frame(_PING, _ACK, 0, body))
            elif kind == _HEADERS:
                told[number] = told.get(number, b"") + body
            if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                ended[number] = told.get(number, b"")
        return ended

    def until_closed(self, seconds: float) -> None:
        """Read until the server closes the connection. Raises TimeoutError."""
        self._socket.settimeout(seconds)
        while self._socket.recv(65536):
            pass

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("the server closed the connection")
            data += more
        return data


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body


def _text(value: str) -> bytes:
    data = value.encode()
    assert len(data) < 127, "longer ones need a longer length"
    return bytes((len(data),)) + data
