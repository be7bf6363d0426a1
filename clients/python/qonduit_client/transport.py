# SPDX-License-Identifier: Apache-2.0
"""Channels to a server: unary calls and streams, with deadlines, safe repetition and errors of `errors`."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from qonduit_client.channels import Channels
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import QonduitError
from qonduit_client.requests import Pages, Request, Response
from qonduit_client.resumable_stream import ResumableStream
from qonduit_client.retry import Attempts, may_repeat

Item = TypeVar("Item")


class Transport(Endpoint):
    """Speaks to one server; several threads may use it. The arguments are those of `Endpoint`."""

    def __init__(self, target: str | None = None, **options: Any) -> None:
        super().__init__(target, **options)
        self._closed = threading.Event()
        self._channels: Channels[grpc.Channel] = Channels(self._connect)

    def call(self, request: Request[Response], *, timeout: float | None = None) -> Response:
        """Make a unary call.

        Args:
            request: what to ask.
            timeout: seconds, at most and by default the transport's own.

        Raises:
            QonduitError: of the class that says what happened.
        """
        self.check_process()
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        deadline = self.retry.clock() + limit
        attempts = Attempts(self.retry)
        while True:
            try:
                with self._channels.one() as channel:
                    answer: Response = channel.unary_unary(
                        f"/qonduit.v1.{request.method}",
                        request_serializer=_bytes_of,
                        response_deserializer=request.response.FromString,
                    )(request.message, timeout=max(0.0, deadline - self.retry.clock()), metadata=self.metadata())
            except (grpc.RpcError, ValueError) as refused:
                error = self._error(refused)
                if not (request.safe and may_repeat(error)):
                    raise error from None
                self.pause(attempts.pause(error, self.patience, deadline))
            else:
                self.answered()
                return answer

    def stream(self, request: Request[Response], *, timeout: float | None) -> Generator[Response, None, None]:
        """Make one call that answers with a stream. It ends as the server ends it; closing the iterator ends the call.

        Raises:
            QonduitError: when the stream does not end with OK.
        """
        self.check_process()
        try:
            with self._channels.one() as channel:
                answers = channel.unary_stream(
                    f"/qonduit.v1.{request.method}",
                    request_serializer=_bytes_of,
                    response_deserializer=request.response.FromString,
                )(request.message, timeout=timeout, metadata=self.metadata())
                try:
                    for answer in answers:
                        self.answered()
                        yield answer
                finally:
                    answers.cancel()
        except (grpc.RpcError, ValueError) as refused:
            raise self._error(refused) from None

    def items(self, pages: Pages[Item], *, timeout: float | None = None) -> Iterator[Item]:
        """Yield the items of a list, a page at a time as they are taken; each page within the timeout."""
        while (request := pages.next_request()) is not None:
            yield from pages.receive(self.call(request, timeout=timeout))

    def resumed(self, stream: ResumableStream[Item]) -> Generator[Item, None, None]:
        """Yield the items of a stream; resume where it breaks, as long as the server comes back in time."""
        while not stream.ended():
            answers = self.stream(stream.next_request(), timeout=stream.seconds())
            try:
                for answer in answers:
                    item = stream.receive(answer)
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
                answers.close()
            if not stream.ended():
                self.pause(stream.pause())

    def pause(self, seconds: float) -> None:
        """Wait before another attempt.

        Raises:
            ClientClosed: nobody wants to wait any longer.
        """
        if self._closed.wait(seconds):
            raise self.closed()

    def close(self) -> None:
        """End the connections, and every call and stream on them."""
        self._closed.set()
        for channel in self._channels.close():
            channel.close()

    def _connect(self) -> grpc.Channel:
        if self.credentials is None:
            return grpc.insecure_channel(self.target, options=self.options)
        return grpc.secure_channel(self.target, self.credentials, options=self.options)

    def _error(self, refused: Exception) -> QonduitError:
        if self._closed.is_set():
            return self.closed()
        if not isinstance(refused, grpc.RpcError):  # no matter of the connection: a token, say
            raise refused
        return self.error(refused)


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
