# SPDX-License-Identifier: Apache-2.0
"""Sockets of processes that exchange frames with this one."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable

from qonduit_server.process import framing


class Channel:
    """A non-blocking socket for frames.

    Args:
        sock: the socket.
        max_bytes: the largest frame to receive; a larger one ends the channel. 0 means no limit.
    """

    def __init__(self, sock: socket.socket, max_bytes: int = 0) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.ended = False
        #: Whether a frame was too large.
        self.too_large = False
        self._buffer = framing.FrameBuffer(max_bytes)
        self._out: deque[tuple[bytes | memoryview, tuple[int, ...]]] = deque()

    @property
    def full(self) -> bool:
        """Whether data waits until the socket is writable."""
        return bool(self._out)

    @property
    def unsent(self) -> int:
        """The number of frames that wait, some in part."""
        return len(self._out)

    def send(self, data: bytes | memoryview, descriptors: tuple[int, ...] = ()) -> None:
        """Send data, later if the socket is full. Descriptors are sent with it and then closed here."""
        self._out.append((data, descriptors))
        self.flush()

    def try_send(self, data: bytes) -> bytes | memoryview:
        """Send data at once, unless other data waits; return the rest, which the socket did not accept."""
        if self._out:
            return data
        try:
            return memoryview(data)[self.sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:  # `receive` detects a closed socket
            return b""

    def flush(self) -> None:
        """Send as much waiting data as the socket accepts. `receive` detects a closed socket."""
        while self._out:
            data, descriptors = self._out.popleft()
            try:
                sent = socket.send_fds(self.sock, [data], descriptors) if descriptors else self.sock.send(data)
            except BlockingIOError:
                self._out.appendleft((data, descriptors))
                return
            except OSError:
                _close(descriptors)
                continue
            _close(descriptors)
            if sent < len(data):
                self._out.appendleft((memoryview(data)[sent:], ()))

    def receive(self, *, everything: bool = False) -> list[bytes]:
        """Return frames that have arrived, or all of them; set `ended` if the other end is closed."""
        bodies: list[bytes] = []
        while not self.ended:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.ended = not data
            try:
                bodies.extend(self._buffer.feed(data))
            except framing.FrameTooLarge:
                self.ended = self.too_large = True
            if len(data) < 1 << 16 and not everything:
                break
        return bodies

    def close(self) -> None:
        """Close the socket and drop the waiting data."""
        for _, descriptors in self._out:
            _close(descriptors)
        self._out.clear()
        self.sock.close()


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
