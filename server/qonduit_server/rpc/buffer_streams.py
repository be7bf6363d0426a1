# SPDX-License-Identifier: Apache-2.0
"""Streams of buffers: a chunk is read when the previous one was sent, so a stream costs a chunk and no thread."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Executor
from typing import Final

from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit_server.errors import CallError, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from qonduit_server.rpc.caller_limits import ANNOUNCE_SECONDS, BUFFERS, CallerLimits
from qonduit_server.rpc.error_status import outcome
from qonduit_server.rpc.job_watches import draining
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import Scope
from qonduit_server.store.stored_buffers import StoredBuffer, find

#: The maximum number of open streams: each may hold a chunk in memory.
MOST: Final = 1000
#: At the maximum, a new stream replaces one whose client has taken nothing for this time.
_STUCK_SECONDS: Final = 1.0

SLOW_READER: Final = Unavailable("the client accepted no data for too long; resume at the offset", reason="SLOW_READER")


class BufferStream:
    """One stream: its buffer and its offset."""

    __slots__ = ("buffer", "name", "offset", "stream")

    def __init__(self, stream: Stream, name: str, offset: int, buffer: StoredBuffer) -> None:
        self.stream = stream
        self.name = name
        self.offset = offset
        self.buffer = buffer


class BufferStreams:
    """All streams of buffers of this server.

    Args:
        readers: threads that read chunks from the database.
        callers: counts the streams of each caller.
        patience: seconds a client may take for a chunk before its stream is cancelled.
        most: the maximum number of open streams.
    """

    def __init__(
        self, db: Database, readers: Executor, callers: CallerLimits, *, patience: float = 60.0, most: int = MOST
    ) -> None:
        self._db = db
        self._readers = readers
        self._callers = callers
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
        """Return the number of open streams."""
        return len(self._open)

    def open(self, stream: Stream, request: ReadBufferRequest, scope: Scope) -> None:
        """Begin to send a buffer.

        Raises:
            NotFound: the buffer does not exist, or is not in the scope.
            InvalidArgument: the offset is larger than the buffer.
            ResourceExhausted: too many streams are open.
            Unavailable: the server is stopping.
        """
        buffer = find(self._db, scope, request.name)
        if request.offset > buffer.size_bytes:
            raise InvalidArgument.of(
                "offset",
                "offset.max",
                f"offset: must be at most {buffer.size_bytes}, the size of the buffer, got {request.offset}",
            )
        reading = BufferStream(stream, request.name, request.offset, buffer)
        caller = stream.call.principal.name
        self._callers.acquire(caller, BUFFERS)
        try:
            with self._lock:
                if self._draining:
                    raise draining()
                stuck = self._make_room()
                self._open.add(reading)
                self._time.notify()
        except CallError:
            self._callers.release(caller, BUFFERS)
            raise
        if stuck is not None:
            stuck.stream.cut(SLOW_READER)

        def close() -> None:
            self._callers.release(caller, BUFFERS)
            self._forget(reading)

        if stream.on_close(close):
            self._submit_next(reading)
        else:
            close()

    def drain(self) -> None:
        """End every stream with UNAVAILABLE after its current chunk; open no new ones."""
        with self._lock:
            self._draining = True

    def stop(self) -> None:
        """Submit no more reads. The server cancels the streams that are still open."""
        with self._lock:
            self._draining = self._stopping = True
            self._time.notify()
        self._timer.join()

    def _make_room(self) -> BufferStream | None:
        """Remove and return the stream that has been stuck for longest, if there are too many. Under the lock."""
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

    def _submit_next(self, reading: BufferStream) -> None:
        """Submit the read of the next chunk to a reader; grpcio's polling thread calls this after each send."""
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
        chunk, skip = divmod(start, buffer.chunk_bytes)
        data = buffer.read(chunk)
        if data is None:
            raise NotFound("buffer", reading.name)
        reading.offset += len(data) - skip
        message = ReadBufferResponse(offset=start, data=data[skip:] if skip else data).SerializeToString()
        if reading.offset < buffer.size_bytes:
            reading.stream.send(message, lambda: self._submit_next(reading))
        else:
            reading.stream.finish(message)

    def _time_loop(self) -> None:
        """Cancel the streams of slow readers, and send other servers the numbers of open streams."""
        while True:
            self._callers.announce()
            with self._lock:
                if self._stopping:
                    return
                before = time.monotonic() - self._patience
                slow = [each for each in self._open if 0.0 < each.stream.sending_since < before]
                if not slow:
                    self._time.wait(min(self._patience / 10, ANNOUNCE_SECONDS) if self._open else None)
            for each in slow:
                each.stream.cut(SLOW_READER)
                self._forget(each)
