# SPDX-License-Identifier: Apache-2.0
"""Channels to a server: unary calls and streams, with deadlines, safe retries and the exceptions of `errors`."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import Any, Final, TypeVar

import grpc
import grpc.experimental
from google.protobuf.message import Message

from qonduit_client.channels import Channels
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import QonduitError
from qonduit_client.job_filters import MatchingJobs
from qonduit_client.named_servers import NamedServer
from qonduit_client.requests import BulkCalls, Pages, Request, Response
from qonduit_client.resumable_stream import ResumableStream
from qonduit_client.retry import Attempts, may_repeat

Item = TypeVar("Item")

#: The thread that reads a stream also receives it. By default, gRPC starts another thread for each stream.
_IN_ONE_THREAD: Final = (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)


class Transport(Endpoint):
    """Calls one server. Thread-safe. The arguments are those of `Endpoint`."""

    def __init__(self, target: str | NamedServer | None = None, **options: Any) -> None:
        super().__init__(target, **options)
        self._closed = threading.Event()
        self._channels: Channels[grpc.Channel] = Channels(self._connect)

    def call(self, request: Request[Response], *, timeout: float | None = None) -> Response:
        """Make a unary call.

        Args:
            request: the request.
            timeout: seconds; the transport's timeout is the default and the maximum.

        Raises:
            QonduitError: of the class for the gRPC status.
        """
        self.check_process()
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        deadline = self.retry.clock() + limit
        attempts = Attempts(self.retry)
        while True:
            try:
                metadata = self.metadata()  # may refresh a token, so that less time remains
                with self._channels.one() as channel:
                    response: Response = channel.unary_unary(
                        f"/qonduit.v1.{request.method}",
                        request_serializer=_bytes_of,
                        response_deserializer=request.response.FromString,
                    )(self.message_of(request), timeout=max(0.0, deadline - self.retry.clock()), metadata=metadata)
            except (grpc.RpcError, ValueError) as cause:
                error = self._error(cause)
                if not (request.safe and may_repeat(error)):
                    raise error from None
                self.pause(attempts.pause(error, self.max_outage, deadline))
            else:
                self.mark_reachable()
                return response

    def stream(self, request: Request[Response], *, timeout: float | None) -> Generator[Response, None, None]:
        """Make a call that returns a stream. The server ends the stream; closing the iterator cancels the call.

        Raises:
            QonduitError: the stream did not end with OK.
        """
        self.check_process()
        try:
            with self._channels.one() as channel:
                responses = channel.unary_stream(
                    f"/qonduit.v1.{request.method}",
                    request_serializer=_bytes_of,
                    response_deserializer=request.response.FromString,
                )(self.message_of(request), timeout=timeout, metadata=self.metadata())
                try:
                    for response in responses:
                        self.mark_reachable()
                        yield response
                except GeneratorExit:
                    # Only here: an interrupt within gRPC can lose an event, for which this would wait.
                    _cancel_and_drain(responses)
                    raise
                finally:
                    responses.cancel()
        except (grpc.RpcError, ValueError) as cause:
            raise self._error(cause) from None

    def items(self, pages: Pages[Item], *, timeout: float | None = None) -> Iterator[Item]:
        """Yield the items of a list; read the next page on demand, each within the timeout."""
        while (request := pages.next_request()) is not None:
            yield from pages.receive(self.call(request, timeout=timeout))

    def changed(self, calls: BulkCalls) -> MatchingJobs:
        """Change all matching jobs, in as many calls as needed."""
        while (request := calls.next_request()) is not None:
            calls.receive(self.call(request))
        return calls.matching

    def resumed(self, stream: ResumableStream[Item]) -> Generator[Item, None, None]:
        """Yield the items of a stream; resume it after a break if the server comes back in time."""
        while not stream.ended():
            responses = self.stream(stream.next_request(), timeout=stream.seconds())
            try:
                for response in responses:
                    item = stream.receive(response)
                    if item is not None:
                        yield item
                    if stream.ended():
                        return
            except QonduitError as error:
                stream.failed(error)
            else:
                if (check := stream.end_check()) is not None:
                    stream.confirm_end(self.call(check, timeout=stream.seconds()))
            finally:
                responses.close()
            if not stream.ended():
                self.pause(stream.pause())

    def pause(self, seconds: float) -> None:
        """Wait before another attempt.

        Raises:
            ClientClosed: the client was closed meanwhile.
        """
        if self._closed.wait(seconds):
            raise self.closed()

    def close(self) -> None:
        """Close the connections and all their calls and streams."""
        self._closed.set()
        for channel in self._channels.close():
            channel.close()

    def _connect(self) -> grpc.Channel:
        options = [*self.options, _IN_ONE_THREAD]
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options=options)
        return grpc.secure_channel(self.target, self.credentials, options=options)

    def _error(self, cause: Exception) -> QonduitError:
        if self._closed.is_set():
            return self.closed()
        if not isinstance(cause, grpc.RpcError):  # not a connection error: an invalid token, for example
            raise cause
        return self.error(cause)


#: Inside a server program: the transport that reaches its server without a network.
_of_program: Transport | None = None


def use_in_program(transport: Transport) -> None:
    """Make all clients of this process use a transport, whatever their target: the process is a server program."""
    global _of_program
    _of_program = transport


def connected(target: str | NamedServer | None = None, **options: Any) -> Transport:
    """Return a transport to a server, with the arguments of `Endpoint`; in a server program, that of the program."""
    return Transport(target, **options) if _of_program is None else _of_program


def _cancel_and_drain(responses: Any) -> None:
    """Cancel a stream and read its remaining events, which then arrive at once.

    grpcio 1.85 releases the connection of a stream of one thread only when all its events were read, even if the
    channel is closed, and has no public function for that.
    """
    responses.cancel()
    consume = getattr(responses, "_consume_next_event", None)
    while consume is not None and responses._state.due:
        consume()


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
