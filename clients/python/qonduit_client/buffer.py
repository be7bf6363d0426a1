# SPDX-License-Identifier: Apache-2.0
"""Results and inputs that are too large for a message, read from the server when they are asked for."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from qonduit.v1.job_pb2 import OptionReference
from qonduit.v1.result_pb2 import BufferReference, ColumnKind
from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit_client.errors import ClientClosed, QonduitError, ServerFault, TimedOut
from qonduit_client.requests import Request
from qonduit_client.resumable_stream import ResumableStream

if TYPE_CHECKING:
    from qonduit_client.endpoint import Endpoint
    from qonduit_client.transport import Transport

#: Where the bytes of a result, or of an option of a job, are read.
Reference: TypeAlias = BufferReference | OptionReference
#: Yields the bytes of a buffer from an offset on.
Source: TypeAlias = Callable[[BufferReference, int], Iterator[bytes]]

_FLOAT64: Final = struct.Struct(">d")


class BufferStream(ResumableStream[bytes]):
    """The bytes of a buffer, from an offset on."""

    def __init__(self, endpoint: Endpoint, reference: Reference, offset: int = 0) -> None:
        super().__init__(endpoint)
        self._reference = reference
        self._offset = self._begun = offset
        self._ended = offset >= reference.size_bytes

    def next_request(self) -> Request[ReadBufferResponse]:
        """Return the call for the bytes that are missing."""
        self._begun = self._offset
        request = ReadBufferRequest(name=self._reference.name, offset=self._offset)
        return Request("ResultService/ReadBuffer", request, ReadBufferResponse)

    def seconds(self) -> float:
        """One stream may take as long as a call."""
        return self._endpoint.timeout

    def receive(self, response: ReadBufferResponse) -> bytes:
        """Return the next piece."""
        self._attempts.went_well()
        if response.offset != self._offset:
            raise ServerFault(f"{self._reference.name} came out of order: {response.offset} after {self._offset}")
        self._offset += len(response.data)
        self._ended = self._offset >= self._reference.size_bytes
        return response.data

    def failed(self, error: QonduitError) -> None:
        """As every stream; one that took too long is gone on with if it brought anything."""
        if isinstance(error, ClientClosed):
            name = self._reference.name
            raise ClientClosed(f"the client was closed before {name} was read: read it while the client is open")
        if isinstance(error, TimedOut) and self._offset > self._begun:  # it is large, and the way to it slow
            self._broken = error
        else:
            super().failed(error)


def read(transport: Transport, reference: Reference, offset: int = 0) -> Iterator[bytes]:
    """Yield the bytes of a buffer from an offset on, in pieces as they come."""
    return transport.resumed(BufferStream(transport, reference, offset))


def checked(reference: Reference, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield all pieces of a buffer.

    Raises:
        ServerFault: their SHA-256 is not the one of the reference; known only after the last piece.
    """
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.hexdigest() != reference.sha256:
        raise ServerFault(f"{reference.name} came damaged: its SHA-256 is not {reference.sha256}")


class Buffer:
    """The rows of a large result, on the server.

    Reading is streamed, and a stream that breaks is gone on with where it broke, as often as it takes, as long as the
    server comes back within the client's timeout. What was read is checked against the SHA-256 that the result tells.

    Attributes:
        reference: the message as the server sent it: name, size, hash, rows, columns.
    """

    def __init__(self, reference: BufferReference, source: Source | None) -> None:
        self.reference = reference
        self._source = source

    def __len__(self) -> int:
        """How many rows there are."""
        return self.reference.rows

    def __repr__(self) -> str:
        return f"<Buffer {self.reference.name}: {self.reference.rows} rows, {self.reference.size_bytes} bytes>"

    def read(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes from an offset on, in pieces as they come. The hash is not checked here.

        Raises:
            NotFound: the job was deleted.
            ServerUnavailable: the server did not come back.
            ClientClosed: the client was closed before.
        """
        if self._source is None:
            raise QonduitError(f"{self.reference.name} cannot be read: this result did not come from a connection")
        return self._source(self.reference, offset)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows, each with a number a column: int or float, as the column's kind says.

        Raises:
            ServerFault: what came is not what the result's hash tells; known only after the last row.
            NotFound, ServerUnavailable: as for `read`.
        """
        columns: list[tuple[int, int, bool]] = []
        width = 0
        for column in self.reference.columns:
            if column.kind not in (ColumnKind.COLUMN_KIND_UINT, ColumnKind.COLUMN_KIND_FLOAT64):
                raise QonduitError(
                    f"column {column.name} of {self.reference.name} is of a kind this client cannot read"
                )
            columns.append((width, width + column.width, column.kind == ColumnKind.COLUMN_KIND_FLOAT64))
            width += column.width
        begun = b""
        for piece in checked(self.reference, self.read()):
            data = begun + piece
            end = len(data) - len(data) % width if width else 0
            for at in range(0, end, width or 1):
                yield tuple(
                    _FLOAT64.unpack_from(data, at + start)[0]
                    if is_float
                    else int.from_bytes(data[at + start : at + stop])
                    for start, stop, is_float in columns
                )
            begun = data[end:]

    def pairs(self) -> Iterator[tuple[float, float]]:
        """Yield rows of two float64 columns, quicker than `rows` does; else as `rows`."""
        begun = b""
        for piece in checked(self.reference, self.read()):
            data = begun + piece
            end = len(data) - len(data) % 16
            yield from struct.iter_unpack(">dd", memoryview(data)[:end])
            begun = data[end:]

    def checked_bytes(self) -> bytes:
        """Return all bytes, checked against the hash; else as `rows`."""
        return b"".join(checked(self.reference, self.read()))
