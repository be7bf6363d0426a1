# SPDX-License-Identifier: Apache-2.0
"""Streams of buffers: a piece is read when the one before it was taken, so a reader costs a piece and no thread."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Executor
from typing import Final

from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit_server.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from qonduit_server.rpc.auth import Principal
from qonduit_server.rpc.error_status import outcome
from qonduit_server.rpc.job_watches import draining
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.store.database import Database
from qonduit_server.store.stored_buffers import StoredBuffer, find

#: Streams open at once: each may hold a piece in memory, taken or not.
MOST: Final = 1000
#: Beyond that number, a reader that took nothing for so many seconds makes room for the next.
_STUCK_SECONDS: Final = 1.0

SLOW_READER: Final = Unavailable("the client accepted no data for too long; resume at the offset", reason="SLOW_READER")


class BufferStream:
    """One stream: what is read, and how far."""

    __slots__ = ("buffer", "name", "offset", "stream")

    def __init__(self, stream: Stream, name: str, offset: int, buffer: StoredBuffer) -> None:
        self.stream = stream
        self.name = name
        self.offset = offset
        self.buffer = buffer


class BufferStreams:
    """All streams of buffers of this server.

    Args:
        readers: threads that read pieces from the database.
        patience: seconds a reader may take for a piece before it is cut off.
        most: streams open at once.
    """

    def __init__(self, db: Database, readers: Executor, *, patience: float = 60.0, most: int = MOST) -> None:
        self._db = db
        self._readers = readers
        self._patience = patience
        self._most = most
        self._open: set[BufferStream] = set()
        self._lock = threading.Lock()
        self._time = threading.Condition(self._lock)
        self._draining = False
        self._stopping = False
        self._timer = threading.Thread(target=self._time_loop, name="rpc-buffer-timer", daemon=True)
        self._timer.start()

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._open)

    def open(self, stream: Stream, request: ReadBufferRequest, principal: Principal) -> None:
        """Begin to send a buffer.

        Raises:
            NotFound: there is no such buffer, or it belongs to another principal.
            InvalidArgument: the offset lies behind the buffer's end.
            ResourceExhausted: too many are being read.
            Unavailable: the server is stopping.
        """
        buffer = find(self._db, principal.name, request.name)
        if request.offset > buffer.size_bytes:
            raise InvalidArgument.of(
                "offset",
                "offset.max",
                f"offset: must be at most {buffer.size_bytes}, the size of the buffer, got {request.offset}",
            )
        reading = BufferStream(stream, request.name, request.offset, buffer)
        with self._lock:
            if self._draining:
                raise draining()
            stuck = self._make_room()
            self._open.add(reading)
            self._time.notify()
        if stuck is not None:
            stuck.stream.cut(SLOW_READER)
        if stream.on_close(lambda: self._forget(reading)):
            self._go_on(reading)
        else:
            self._forget(reading)

    def drain(self) -> None:
        """End every stream with UNAVAILABLE, once its reader has taken what is under way; open no new ones."""
        with self._lock:
            self._draining = True

    def stop(self) -> None:
        """Ask the readers for nothing any more. Streams still open are left to the server to cancel."""
        with self._lock:
            self._draining = self._stopping = True
            self._time.notify()
        self._timer.join()

    def _make_room(self) -> BufferStream | None:
        """Take the one that is stuck for longest off the list, if there are too many. Under the lock."""
        if len(self._open) < self._most:
            return None
        since, stuck = min(
            ((each.stream.sending_since or float("inf"), each) for each in self._open), key=lambda pair: pair[0]
        )
        if since > time.monotonic() - _STUCK_SECONDS:
            raise ResourceExhausted(
                f"limit of open buffer streams reached ({self._most}); close a stream and retry", subject="buffers"
            )
        self._open.discard(stuck)
        return stuck

    def _forget(self, reading: BufferStream) -> None:
        with self._lock:
            self._open.discard(reading)

    def _go_on(self, reading: BufferStream) -> None:
        """Have the next piece read by another thread than grpcio's, which calls this when a piece was taken."""
        with self._lock:
            if not self._stopping:
                self._readers.submit(self._step, reading)

    def _step(self, reading: BufferStream) -> None:
        _, error = outcome(reading.stream.call.request_id, self._send_next, reading)
        if error is not None:
            reading.stream.fail(error)

    def _send_next(self, reading: BufferStream) -> None:
        if self._draining:
            raise draining()
        start, buffer = reading.offset, reading.buffer
        if start == buffer.size_bytes:
            reading.stream.finish()
            return
        piece, skip = divmod(start, buffer.chunk_bytes)
        data = buffer.read(piece)
        if data is None:
            raise NotFound("buffer", reading.name)
        reading.offset += len(data) - skip
        message = ReadBufferResponse(offset=start, data=data[skip:] if skip else data).SerializeToString()
        if reading.offset < buffer.size_bytes:
            reading.stream.send(message, lambda: self._go_on(reading))
        else:
            reading.stream.finish(message)

    def _time_loop(self) -> None:
        """Cut off who takes too long."""
        while True:
            with self._lock:
                if self._stopping:
                    return
                before = time.monotonic() - self._patience
                slow = [each for each in self._open if 0.0 < each.stream.sending_since < before]
                if not slow:
                    self._time.wait(self._patience / 10 if self._open else None)
            for each in slow:
                each.stream.cut(SLOW_READER)
                self._forget(each)
