# SPDX-License-Identifier: Apache-2.0
"""Streams a buffer: one piece is read and sent at a time, so that a reader costs one piece of memory and no thread."""

from __future__ import annotations

from concurrent.futures import Executor

from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit_server.errors import InvalidArgument, NotFound
from qonduit_server.rpc.call import Call
from qonduit_server.rpc.status import outcome
from qonduit_server.rpc.stream import Stream
from qonduit_server.store import buffers
from qonduit_server.store.database import Database


class Reading:
    """One stream of a buffer's pieces.

    Args:
        readers: threads that read pieces from the database.
    """

    def __init__(self, db: Database, readers: Executor, request: ReadBufferRequest, call: Call, stream: Stream) -> None:
        self._db = db
        self._readers = readers
        self._call = call
        self._stream = stream
        self._name = request.name
        self._offset = request.offset
        self._result, self._size = buffers.find(db, call.caller, request.name)
        if self._offset > self._size:
            raise InvalidArgument.of("offset", "offset.max", f"offset: the buffer has {self._size} bytes")

    def go_on(self) -> None:
        """Send the next piece; when the reader has taken it, the one after it, and so on to the end."""
        if self._offset >= self._size:
            self._stream.finish()
            return
        piece, skip = divmod(self._offset, buffers.PIECE_BYTES)
        data = buffers.read(self._db, self._result, piece)
        if data is None:
            raise NotFound("buffer", self._name)
        message = ReadBufferResponse(offset=self._offset, data=data[skip:]).SerializeToString()
        self._offset += len(data) - skip
        self._stream.send(message, self._later)

    def _later(self) -> None:
        self._readers.submit(self._step)

    def _step(self) -> None:
        _, error = outcome(self._call.request_id, self.go_on)
        if error is not None:
            self._stream.fail(error)
