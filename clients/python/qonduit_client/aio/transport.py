# SPDX-License-Identifier: Apache-2.0
"""Channels to a server, for asyncio; what to ask, repeat and resume is decided where the waiting one has it from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from qonduit_client.channels import Channels
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import QonduitError
from qonduit_client.requests import Pages, Request, Response
from qonduit_client.resumable_stream import ResumableStream
from qonduit_client.retry import Attempts, may_repeat

Item = TypeVar("Item")


class Transport(Endpoint):
    """Speaks to one server, in the event loop that uses it first. The arguments are those of `Endpoint`."""

    def __init__(self, target: str | None = None, **options: Any) -> None:
        super().__init__(target, **options)
        self._closed = asyncio.Event()
        self._channels: Channels[grpc.aio.Channel] = Channels(self._connect)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, request: Request[Response], *, timeout: float | None = None) -> Response:
        """Make a unary call; see `qonduit_client.transport.Transport.call`."""
        channels = self._open()
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        deadline = self.retry.clock() + limit
        attempts = Attempts(self.retry)
        while True:
            try:
                with channels.one() as channel:
                    answer: Response = await channel.unary_unary(
                        f"/qonduit.v1.{request.method}",
                        request_serializer=_bytes_of,
                        response_deserializer=request.response.FromString,
                    )(request.message, timeout=max(0.0, deadline - self.retry.clock()), metadata=self.metadata())
            except (grpc.RpcError, grpc.aio.UsageError, ValueError, asyncio.CancelledError) as refused:
                error = self._error(refused)
                if not (request.safe and may_repeat(error)):
                    raise error from None
                await self.pause(attempts.pause(error, self.patience, deadline))
            else:
                self.answered()
                return answer

    async def stream(self, request: Request[Response], *, timeout: float | None) -> AsyncGenerator[Response, None]:
        """Make one call that answers with a stream; see `qonduit_client.transport.Transport.stream`."""
        channels = self._open()
        try:
            with channels.one() as channel:
                answers = channel.unary_stream(
                    f"/qonduit.v1.{request.method}",
                    request_serializer=_bytes_of,
                    response_deserializer=request.response.FromString,
                )(request.message, timeout=timeout, metadata=self.metadata())
                try:
                    async for answer in answers:
                        self.answered()
                        yield answer
                finally:
                    answers.cancel()
        except (grpc.RpcError, grpc.aio.UsageError, ValueError, asyncio.CancelledError) as refused:
            raise self._error(refused) from None

    async def items(self, pages: Pages[Item]) -> AsyncGenerator[Item, None]:
        """Yield the items of a list, a page at a time as they are taken."""
        while (request := pages.next_request()) is not None:
            for item in pages.receive(await self.call(request)):
                yield item

    async def resumed(self, stream: ResumableStream[Item]) -> AsyncGenerator[Item, None]:
        """Yield the items of a stream; resume where it breaks, as long as the server comes back in time."""
        while not stream.ended():
            try:
                async with aclosing(self.stream(stream.next_request(), timeout=stream.seconds())) as answers:
                    async for answer in answers:
                        item = stream.receive(answer)
                        if item is not None:
                            yield item
                        if stream.ended():
                            return
            except QonduitError as error:
                stream.failed(error)
            else:
                if (check := stream.end_check()) is not None:
                    stream.confirm_end(await self.call(check, timeout=stream.seconds()))
            if not stream.ended():
                await self.pause(stream.pause())

    async def pause(self, seconds: float) -> None:
        """Wait before another attempt.

        Raises:
            ClientClosed: nobody wants to wait any longer.
        """
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise self.closed()

    async def close(self) -> None:
        """End the connections, and every call and stream on them."""
        self._closed.set()
        for channel in self._channels.close():
            await channel.close()

    def _connect(self) -> grpc.aio.Channel:
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options=self.options)
        return grpc.aio.secure_channel(self.target, self.credentials, options=self.options)

    def _open(self) -> Channels[grpc.aio.Channel]:
        self.check_process()
        loop = asyncio.get_running_loop()
        if self._closed.is_set():
            raise self.closed()
        if self._loop is None:
            self._loop = loop
        elif loop is not self._loop:
            raise QonduitError("this client belongs to another event loop: make one in each asyncio.run(...)")
        return self._channels

    def _error(self, refused: BaseException) -> QonduitError:
        """Return the error of a call; a cancelled task stays one, but gRPC cancels calls of a closed channel, too."""
        task = asyncio.current_task()
        if isinstance(refused, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise refused
        if self._closed.is_set():
            return self.closed()
        if not isinstance(refused, grpc.RpcError):
            raise refused
        return self.error(refused)


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
