# SPDX-License-Identifier: Apache-2.0
"""Misbehaving clients: raw HTTP/2 that leaves requests incomplete and responses unread."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK = 0x1
_END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4
_CANCEL = 8
_MAX_FRAME = 16_384


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    """Return a message in gRPC's framing: the compression flag, the length, the payload."""
    return bytes((compressed,)) + struct.pack(">I", len(payload)) + payload


class Rude:
    """One connection.

    Args:
        target: HOST:PORT.
        window: the initial flow-control window of a stream in bytes.
        polite: whether to send the HTTP/2 connection preface; otherwise the client sends nothing.
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

    def call(self, method: str, data: bytes = b"", *, ends: bool = True, gzip: bool = False) -> int:
        """Begin a call ("/package.Service/Method") and send these bytes of its request; return the stream's number."""
        number = self._next
        self._next += 2
        sent = _frame(_HEADERS, _END_HEADERS, number, self._headers(method, gzip))
        if data or ends:
            for start in range(0, max(1, len(data)), _MAX_FRAME):
                last = start + _MAX_FRAME >= len(data)
                sent += _frame(_DATA, _END_STREAM if ends and last else 0, number, data[start : start + _MAX_FRAME])
        self._socket.sendall(sent)
        return number

    def reset(self, method: str, times: int) -> None:
        """Begin a number of calls and reset each of them at once; discard the server's data.

        Acknowledge its settings first, because gRPC accepts only a few calls before that.
        """
        self._socket.settimeout(None)
        reader = threading.Thread(target=self._discard, daemon=True)
        reader.start()
        self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        headers = self._headers(method)
        for _ in range(times // 100):
            sent = b""
            for _ in range(100):
                sent += _frame(_HEADERS, _END_HEADERS, self._next, headers)
                sent += _frame(_RESET, 0, self._next, struct.pack(">I", _CANCEL))
                self._next += 2
            self._socket.sendall(sent)
        self._socket.shutdown(socket.SHUT_WR)
        reader.join()

    def settle(self, seconds: float) -> None:
        """Wait until the server has read all sent data; discard its data. Raises TimeoutError."""
        self._socket.settimeout(seconds)
        self._socket.sendall(_frame(_PING, 0, 0, b"all read"))
        while True:
            size, kind, flags, _ = struct.unpack(">IBBI", b"\0" + self._exactly(9))
            self._exactly(size)
            if kind == _PING and flags & _ACK:
                return

    def _discard(self) -> None:
        with suppress(ConnectionError):
            while self._socket.recv(65536):
                pass

    def _headers(self, method: str, gzip: bool = False) -> bytes:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", self._authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if gzip:
            fields.append(("grpc-encoding", "gzip"))
        return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)

    def until_ended(self, streams: int, seconds: float) -> dict[int, bytes]:
        """Read until the server has ended a number of streams; return the headers and trailers of each.

        The flow-control windows are never enlarged. Raises TimeoutError, ConnectionError.
        """
        self._socket.settimeout(seconds)
        headers: dict[int, bytes] = {}
        ended: dict[int, bytes] = {}
        while len(ended) < streams:
            size, kind, flags, number = struct.unpack(">IBBI", b"\0" + self._exactly(9))
            body = self._exactly(size)
            if kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._socket.sendall(_frame(_PING, _ACK, 0, body))
            elif kind == _HEADERS:
                headers[number] = headers.get(number, b"") + body
            if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                ended[number] = headers.get(number, b"")
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
    assert len(data) < 127, "longer strings need a longer length prefix"
    return bytes((len(data),)) + data
