# SPDX-License-Identifier: Apache-2.0
"""What every call goes through: who calls, is the request sound, what went wrong, and one line in the log.

It wraps each handler once, when the server starts; a `grpc.ServerInterceptor` would do the same anew for each call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from qonduit_server.errors import CallError, ResourceExhausted
from qonduit_server.rpc import request_validation
from qonduit_server.rpc.auth import Authenticate
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.error_status import Unimplemented, outcome, status_of
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.rpc.unread_responses import UnreadResponses

_Request = TypeVar("_Request", bound=Message)
#: Bytes in, bytes out: reading and writing messages is done in here.
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Unary = Callable[[_Request, CallContext], Message]
#: Opens a stream: returns once it is being served, and holds no thread after that.
Opening = Callable[[_Request, CallContext, Stream], None]


@dataclass(frozen=True)
class HandlerContext:
    """What the wrapping of a handler needs to know."""

    authenticate: Authenticate
    limits: Limits
    #: Streams are opened in threads of their own, so that no burst of them delays a unary call.
    openers: ThreadPoolExecutor
    limiter: StreamLimiter
    unread: UnreadResponses


class StreamLimiter:
    """Streams that may be open at once; those of health and reflection have seats of their own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.taken = 0

    def take(self) -> None:
        """Take a seat.

        Raises:
            ResourceExhausted: all are taken.
        """
        with self._lock:
            if self.taken >= self._most:
                raise ResourceExhausted(
                    f"stream limit reached (max_streams = {self._most}); close a stream and retry",
                    subject="max_streams",
                )
            self.taken += 1

    def leave(self) -> None:
        """Give a seat back."""
        with self._lock:
            self.taken -= 1


def unary(
    handler_context: HandlerContext,
    method: str,
    request_type: type[_Request],
    handler: Unary[_Request],
    threads: ThreadPoolExecutor | None = None,
) -> Handler:
    """Make a gRPC handler of a function from request to response; `threads`: others than those of most calls."""

    def answer(call: CallContext, data: bytes, context: grpc.ServicerContext) -> bytes:
        call.principal = handler_context.authenticate(context.invocation_metadata())
        response = handler(request_validation.parse(request_type, data, handler_context.limits.max_request_bytes), call)
        sent = response.SerializeToString()
        if len(sent) > handler_context.limits.max_response_bytes:
            raise ResourceExhausted(
                f"the response has {len(sent)} bytes, "
                f"the limit is {handler_context.limits.max_response_bytes} (max_response_bytes)",
                subject="max_response_bytes",
                retry_after=None,
            )
        return sent

    def behave(data: bytes, context: grpc.ServicerContext) -> bytes:
        call = CallContext(method, context.invocation_metadata(), context)
        response, error = outcome(call.request_id, answer, call, data, context)
        call.ended(error)
        if error is not None:
            _abort(context, call, error)
        context.set_trailing_metadata(call.trailer)
        response = response or b""
        handler_context.unread.add(call, context, context.peer(), len(response))
        return response

    behave.method = method  # type: ignore[attr-defined]
    if threads is not None:
        behave.experimental_thread_pool = threads  # type: ignore[attr-defined]
    # No deserializer: grpcio would answer bytes it cannot read with INTERNAL, and read them in its polling thread.
    return grpc.unary_unary_rpc_method_handler(behave)


def streaming(
    handler_context: HandlerContext, method: str, request_type: type[_Request], handler: Opening[_Request]
) -> Handler:
    """Make a gRPC handler of a function that opens a stream of responses.

    The stream has its seat before the function is called: RunJob makes no job that it could not watch.
    """

    def open_stream(call: CallContext, data: bytes, context: grpc.ServicerContext, stream: Stream) -> None:
        call.principal = handler_context.authenticate(context.invocation_metadata())
        handler_context.limiter.take()
        if not stream.on_close(handler_context.limiter.leave):
            handler_context.limiter.leave()
            return
        handler(request_validation.parse(request_type, data, handler_context.limits.max_request_bytes), call, stream)

    def behave(data: bytes, context: grpc.ServicerContext, _send: Callable[[Any], None]) -> None:
        call = CallContext(method, context.invocation_metadata())
        stream = Stream(context, call)
        if not stream.on_close(lambda: _log_end(stream)):
            return
        _, error = outcome(call.request_id, open_stream, call, data, context, stream)
        if error is not None:
            stream.fail(error)

    behave.method = method  # type: ignore[attr-defined]
    behave.experimental_non_blocking = True  # type: ignore[attr-defined]
    behave.experimental_thread_pool = handler_context.openers  # type: ignore[attr-defined]
    return grpc.unary_stream_rpc_method_handler(behave)


def unimplemented() -> Handler:
    """Make the handler of every method that there is not."""

    def behave(_data: bytes, context: grpc.ServicerContext) -> bytes:
        call = CallContext("unknown", context.invocation_metadata())
        error = Unimplemented("this server does not implement the method")
        call.ended(error)
        _abort(context, call, error)
        return b""

    return grpc.unary_unary_rpc_method_handler(behave)


def _abort(context: grpc.ServicerContext, call: CallContext, error: CallError) -> None:
    code, message, details = status_of(error, call.request_id)
    context.set_trailing_metadata((*call.trailer, ("grpc-status-details-bin", details)))
    context.abort(code, message)


def _log_end(stream: Stream) -> None:
    if stream.error is None and not stream.finished:
        stream.call.ended(code="CANCELLED", sent=stream.sent)
    else:
        stream.call.ended(stream.error, sent=stream.sent)
