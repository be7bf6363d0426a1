# SPDX-License-Identifier: Apache-2.0
"""Results and inputs that are too large for a message; the client reads them from the server on first access."""

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

#: References the bytes of a result, or of an option of a job.
Reference: TypeAlias = BufferReference | OptionReference
#: Yields the bytes of a buffer, starting at an offset.
Source: TypeAlias = Callable[[BufferReference, int], Iterator[bytes]]

_FLOAT64: Final = struct.Struct(">d")


class BufferStream(ResumableStream[bytes]):
    """The bytes of a buffer, starting at an offset."""

    def __init__(self, endpoint: Endpoint, reference: Reference, offset: int = 0) -> None:
        super().__init__(endpoint)
        self._reference = reference
        self._offset = self._request_offset = offset
        self._ended = offset >= reference.size_bytes

    def next_request(self) -> Request[ReadBufferResponse]:
        """Return the request for the remaining bytes."""
        self._request_offset = self._offset
        request = ReadBufferRequest(name=self._reference.name, offset=self._offset)
        return Request("ResultService/ReadBuffer", request, ReadBufferResponse)

    def seconds(self) -> float:
        """Return the client's timeout: it limits each stream."""
        return self._endpoint.timeout

    def receive(self, response: ReadBufferResponse) -> bytes:
        """Return the next chunk."""
        self._attempts.succeeded()
        if response.offset != self._offset:
            raise ServerFault(f"{self._reference.name}: expected offset {self._offset}, got {response.offset}")
        self._offset += len(response.data)
        self._ended = self._offset >= self._reference.size_bytes
        return response.data

    def failed(self, error: QonduitError) -> None:
        """Record how the stream broke; also resume after a timeout if the stream made progress."""
        if isinstance(error, ClientClosed):
            name = self._reference.name
            raise ClientClosed(f"the client was closed before {name} was read; read it before closing the client")
        if isinstance(error, TimedOut) and self._offset > self._request_offset:  # a large buffer on a slow connection
            self._broken = error
        else:
            super().failed(error)


def read(transport: Transport, reference: Reference, offset: int = 0) -> Iterator[bytes]:
    """Yield the bytes of a buffer in chunks, starting at an offset."""
    return transport.resumed(BufferStream(transport, reference, offset))


def checked(reference: Reference, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield all chunks of a buffer.

    Raises:
        ServerFault: the SHA-256 does not match the reference; raised after the last chunk.
    """
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != reference.sha256:
        raise ServerFault(f"{reference.name} is corrupt: its SHA-256 is not {reference.sha256}")


class Buffer:
    """The rows of a large result, on the server.

    The client reads buffers as streams. A broken stream resumes at the last byte received, any number of times, as
    long as the server comes back within the client's timeout. The client checks the SHA-256 of the result.

    Attributes:
        reference: the message as the server sent it: name, size, hash, rows, columns.
    """

    def __init__(self, reference: BufferReference, source: Source | None) -> None:
        self.reference = reference
        self._source = source

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.reference.rows

    def __repr__(self) -> str:
        return f"<Buffer {self.reference.name}: {self.reference.rows} rows, {self.reference.size_bytes} bytes>"

    def read(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes in chunks, starting at an offset. This method does not check the hash.

        Raises:
            NotFound: the job was deleted.
            ServerUnavailable: the server did not come back in time.
            ClientClosed: the client is closed.
        """
        if self._source is None:
            raise QonduitError(f"{self.reference.name} cannot be read: this result has no connection to a server")
        return self._source(self.reference, offset)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows, each with one number per column: int or float, by the column's kind.

        Raises:
            ServerFault: the SHA-256 does not match; raised after the last row.
            NotFound, ServerUnavailable: as for `read`.
        """
        columns: list[tuple[int, int, bool]] = []
        width = 0
        for column in self.reference.columns:
            if column.kind not in (ColumnKind.COLUMN_KIND_UINT, ColumnKind.COLUMN_KIND_FLOAT64):
                raise QonduitError(f"column {column.name} of {self.reference.name} has a kind unknown to this client")
            columns.append((width, width + column.width, column.kind == ColumnKind.COLUMN_KIND_FLOAT64))
            width += column.width
        rest = b""
        for chunk in checked(self.reference, self.read()):
            data = rest + chunk
            end = len(data) - len(data) % width if width else 0
            for at in range(0, end, width or 1):
                yield tuple(
                    _FLOAT64.unpack_from(data, at + start)[0]
                    if is_float
                    else int.from_bytes(data[at + start : at + stop])
                    for start, stop, is_float in columns
                )
            rest = data[end:]

    def pairs(self) -> Iterator[tuple[float, float]]:
        """Yield rows of two float64 columns; like `rows`, but faster."""
        rest = b""
        for chunk in checked(self.reference, self.read()):
            data = rest + chunk
            end = len(data) - len(data) % 16
            yield from struct.iter_unpack(">dd", memoryview(data)[:end])
            rest = data[end:]

    def checked_bytes(self) -> bytearray:
        """Return all bytes after checking the hash; raises like `rows`."""
        data = bytearray(self.reference.size_bytes)  # filled in place: chunks to join would take the memory twice
        end = 0
        for chunk in checked(self.reference, self.read()):
            data[end : end + len(chunk)] = chunk
            end += len(chunk)
        return data
