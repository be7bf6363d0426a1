# SPDX-License-Identifier: Apache-2.0
"""Channels to a server for asyncio; requests, retries and resumption are shared with the blocking transport."""

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
from qonduit_client.job_filters import MatchingJobs
from qonduit_client.named_servers import NamedServer
from qonduit_client.requests import BulkCalls, Pages, Request, Response
from qonduit_client.resumable_stream import ResumableStream
from qonduit_client.retry import Attempts, may_repeat

Item = TypeVar("Item")


class Transport(Endpoint):
    """Calls one server, in the event loop that uses it first. The arguments are those of `Endpoint`."""

    def __init__(self, target: str | NamedServer | None = None, **options: Any) -> None:
        super().__init__(target, **options)
        self._closed = asyncio.Event()
        self._channels: Channels[grpc.aio.Channel] = Channels(self._connect)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, request: Request[Response], *, timeout: float | None = None) -> Response:
        """Make a unary call; see `qonduit_client.transport.Transport.call`."""
        channels = self._open_channels()
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        deadline = self.retry.clock() + limit
        attempts = Attempts(self.retry)
        while True:
            try:
                metadata = await self._current_metadata()
                with channels.one() as channel:
                    response: Response = await channel.unary_unary(
                        f"/qonduit.v1.{request.method}",
                        request_serializer=_bytes_of,
                        response_deserializer=request.response.FromString,
                    )(self.message_of(request), timeout=max(0.0, deadline - self.retry.clock()), metadata=metadata)
            except (grpc.RpcError, grpc.aio.UsageError, ValueError, asyncio.CancelledError) as cause:
                error = self._error(cause)
                if not (request.safe and may_repeat(error)):
                    raise error from None
                await self.pause(attempts.pause(error, self.max_outage, deadline))
            else:
                self.mark_reachable()
                return response

    async def stream(self, request: Request[Response], *, timeout: float | None) -> AsyncGenerator[Response, None]:
        """Make a call that returns a stream; see `qonduit_client.transport.Transport.stream`."""
        channels = self._open_channels()
        try:
            metadata = await self._current_metadata()
            with channels.one() as channel:
                responses = channel.unary_stream(
                    f"/qonduit.v1.{request.method}",
                    request_serializer=_bytes_of,
                    response_deserializer=request.response.FromString,
                )(self.message_of(request), timeout=timeout, metadata=metadata)
                try:
                    async for response in responses:
                        self.mark_reachable()
                        yield response
                finally:
                    responses.cancel()
        except (grpc.RpcError, grpc.aio.UsageError, ValueError, asyncio.CancelledError) as cause:
            raise self._error(cause) from None

    async def items(self, pages: Pages[Item]) -> AsyncGenerator[Item, None]:
        """Yield the items of a list; read the next page on demand."""
        while (request := pages.next_request()) is not None:
            for item in pages.receive(await self.call(request)):
                yield item

    async def changed(self, calls: BulkCalls) -> MatchingJobs:
        """Change all matching jobs, in as many calls as needed."""
        while (request := calls.next_request()) is not None:
            calls.receive(await self.call(request))
        return calls.matching

    async def resumed(self, stream: ResumableStream[Item]) -> AsyncGenerator[Item, None]:
        """Yield the items of a stream; resume it after a break if the server comes back in time."""
        while not stream.ended():
            try:
                async with aclosing(self.stream(stream.next_request(), timeout=stream.seconds())) as responses:
                    async for response in responses:
                        item = stream.receive(response)
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
            ClientClosed: the client was closed meanwhile.
        """
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise self.closed()

    async def close(self) -> None:
        """Close the connections and all their calls and streams."""
        self._closed.set()
        for channel in self._channels.close():
            await channel.close()

    async def _current_metadata(self) -> tuple[tuple[str, str], ...]:
        return await asyncio.to_thread(self.metadata) if self.token_due else self.metadata()

    def _connect(self) -> grpc.aio.Channel:
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options=self.options)
        return grpc.aio.secure_channel(self.target, self.credentials, options=self.options)

    def _open_channels(self) -> Channels[grpc.aio.Channel]:
        self.check_process()
        loop = asyncio.get_running_loop()
        if self._closed.is_set():
            raise self.closed()
        if self._loop is None:
            self._loop = loop
        elif loop is not self._loop:
            raise QonduitError("this client is bound to another event loop: create one in each asyncio.run(...)")
        return self._channels

    def _error(self, cause: BaseException) -> QonduitError:
        """Return the error of a call; re-raise a task's cancellation, which differs from calls of a closed channel."""
        task = asyncio.current_task()
        if isinstance(cause, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise cause
        if self._closed.is_set():
            return self.closed()
        if not isinstance(cause, grpc.RpcError):
            raise cause
        return self.error(cause)


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
