# SPDX-License-Identifier: Apache-2.0
"""A program's end of the socket to the server. It uses only the system calls that the sandbox allows."""

from __future__ import annotations

import os
import select
import time
from typing import Any

from google.protobuf.message import Message

from qonduit.execution.v1.program_pb2 import ProgramCall, ProgramMessage, ProgramReply, ProgramStart
from qonduit_server.process import framing

#: What one read takes.
_READ_BYTES = 1 << 18


class ServerGone(BaseException):
    """The server has closed the socket: the program ends."""


class Channel:
    """The socket of this program. One thread uses it: the sandbox allows no other.

    Args:
        descriptor: the descriptor of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = framing.FrameBuffer()
        self._received: list[bytes] = []
        self._calls = 0
        #: The call with a second reply, and this reply if it has arrived.
        self._followed = 0
        self._second: ProgramReply | None = None
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def start(self) -> ProgramStart:
        """Return the first frame."""
        return ProgramStart.FromString(self._next(None) or b"")

    def send(self, **message: Any) -> None:
        """Send a message; `message` is the member of ProgramMessage to set."""
        self._write(ProgramMessage(**message))

    def call(
        self, method: str, request: bytes, timeout: float | None = None, *, follow: bool = False
    ) -> ProgramReply | None:
        """Make a call and return its reply; None if none arrives within the timeout in seconds.

        With `follow`, there is a second reply, which `second` returns.
        """
        self._calls += 1
        if follow:
            self._followed, self._second = self._calls, None
        self.send(call=ProgramCall(id=self._calls, method=method, request=request, follow=follow))
        return self._reply(self._calls, timeout)

    def has_second(self) -> bool:
        """Return whether the second reply to the last call with `follow` has arrived, or will arrive."""
        return self._second is not None or self._followed == self._calls > 0

    def second(self, timeout: float | None = None) -> ProgramReply | None:
        """Return the second reply to the last call with `follow`; None if none arrives within the timeout."""
        reply = self._second or self._reply(self._followed, timeout)
        if reply is not None:
            self._followed, self._second = 0, None
        return reply

    def _reply(self, call: int, timeout: float | None) -> ProgramReply | None:
        until = None if timeout is None else time.monotonic() + timeout
        while (body := self._next(until)) is not None:
            reply = ProgramReply.FromString(body)
            # Replies to calls that reached their timeouts are dropped.
            if reply.id == call:
                return reply
            if reply.id == self._followed:
                self._second = reply
        return None

    def _write(self, message: Message) -> None:
        rest = memoryview(framing.pack(message))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except (BrokenPipeError, ConnectionResetError):
            raise ServerGone from None

    def _next(self, until: float | None) -> bytes | None:
        """Return the next frame; None if none is complete at the time `until`."""
        while not self._received:
            wait = None if until is None else max(0.0, until - time.monotonic()) * 1000
            if not self._poll.poll(wait):
                return None
            try:
                piece = os.read(self._descriptor, _READ_BYTES)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise ServerGone
            self._received.extend(self._buffer.feed(piece))
        return self._received.pop(0)
