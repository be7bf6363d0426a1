# SPDX-License-Identifier: Apache-2.0
"""Wrap the handlers of all methods: authentication, request validation, error status and log line.

Each handler is wrapped once, when the server starts; a `grpc.ServerInterceptor` would wrap it for each call.
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
from qonduit_server.observer import Observer
from qonduit_server.rpc import request_validation
from qonduit_server.rpc.audited_calls import AuditedCalls, named_object
from qonduit_server.rpc.auth.authorization import CONCERNS_OWNERS, Access, authorize
from qonduit_server.rpc.auth.principal import Authenticate
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.caller_limits import STREAMS, CallerLimits
from qonduit_server.rpc.error_status import Unimplemented, outcome, status_of
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.stream_authorization import StreamAuthorization, access_changed
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.rpc.unread_responses import UnreadResponses
from qonduit_server.store.memberships import Memberships

_Request = TypeVar("_Request", bound=Message)
#: Bytes in, bytes out: this module parses and serializes the messages.
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Unary = Callable[[_Request, CallContext], Message]
#: Opens a stream: returns when the stream is registered, and holds no thread after that.
Opening = Callable[[_Request, CallContext, Stream], None]


@dataclass(frozen=True)
class HandlerContext:
    """The components that wrapped handlers use."""

    authenticate: Authenticate
    #: Returns the projects of a caller.
    memberships: Callable[[str], Memberships]
    limits: Limits
    #: Opens streams. A separate pool, so that a burst of them does not delay unary calls.
    open_pool: ThreadPoolExecutor
    limiter: StreamLimiter
    callers: CallerLimits
    unread: UnreadResponses
    audit: AuditedCalls
    authorization: StreamAuthorization
    observer: Observer

    def admit(self, call: CallContext, context: grpc.ServicerContext, access: Access, size: int = 0) -> None:
        """Authenticate and authorize a call, unless its method is public, and count it against its caller's quotas.

        Args:
            call: the call.
            context: of grpcio.
            access: of its method.
            size: the bytes of its request.

        Raises:
            Unauthenticated: the call has no valid token or certificate.
            PermissionDenied: the caller lacks a role.
            QuotaExceeded: the caller makes too many calls, or sends too many bytes.
            Unavailable: the database does not answer.
        """
        if access is not Access.PUBLIC:
            call.peer = self.audit.address(context.peer(), context.invocation_metadata())
            self._authorize(call, context, access)
            self.callers.admit(call.principal.name, size)

    def _authorize(self, call: CallContext, context: grpc.ServicerContext, access: Access) -> None:
        call.principal = self.authenticate(context.invocation_metadata(), context.auth_context)
        sees_all = authorize(access, call.principal, call.method)
        if access in CONCERNS_OWNERS:
            call.memberships = self.memberships(call.principal.name)
            call.scope = None if sees_all else call.memberships.readable

    def watch_access(self, stream: Stream, context: grpc.ServicerContext, access: Access) -> None:
        """Authorize the call of a stream again and again until it ends, unless its method is public."""
        if access is Access.PUBLIC:
            return
        call = stream.call

        def check() -> None:
            again = CallContext(call.method, ())
            self._authorize(again, context, access)
            if (again.principal, again.scope) != (call.principal, call.scope):
                raise access_changed()

        tokens = tuple(value for key, value in context.invocation_metadata() if key == "authorization")
        self.authorization.add(stream, (tokens, call.principal, call.scope, access), check)


class StreamLimiter:
    """Limits the number of open streams. Health and reflection have separate limits."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.open = 0

    def acquire(self) -> None:
        """Count a new stream.

        Raises:
            ResourceExhausted: the limit is reached.
        """
        with self._lock:
            if self.open >= self._most:
                raise ResourceExhausted(
                    f"stream limit reached (max_streams = {self._most}); close a stream and retry",
                    subject="max_streams",
                )
            self.open += 1

    def release(self) -> None:
        """Count a closed stream."""
        with self._lock:
            self.open -= 1


def unary(
    handler_context: HandlerContext,
    method: str,
    request_type: type[_Request],
    handler: Unary[_Request],
    access: Access,
    threads: ThreadPoolExecutor | None = None,
) -> Handler:
    """Return the gRPC handler of a function from request to response; `threads` replaces the default pool."""
    audit = handler_context.audit
    name_object = named_object(method, request_type)

    def respond(call: CallContext, data: bytes, context: grpc.ServicerContext) -> bytes:
        handler_context.admit(call, context, access, len(data))
        request = request_validation.parse(request_type, data, handler_context.limits.max_request_bytes)
        call.object = name_object(request)
        with audit.answering(call, access) as responses:
            response = handler(request, call)
            responses.append(response)
        serialized = response.SerializeToString()
        if len(serialized) > handler_context.limits.max_response_bytes:
            raise ResourceExhausted(
                f"the response has {len(serialized)} bytes, "
                f"the limit is {handler_context.limits.max_response_bytes} (max_response_bytes)",
                subject="max_response_bytes",
                retry_after=None,
            )
        return serialized

    def behave(data: bytes, context: grpc.ServicerContext) -> bytes:
        call = CallContext(method, context.invocation_metadata(), context, handler_context.observer)
        response, error = outcome(call.request_id, respond, call, data, context)
        call.ended(error)
        if error is not None:
            audit.refused(call, error)
            _abort(context, call, error)
        context.set_trailing_metadata(call.trailer)
        response = response or b""
        handler_context.unread.add(call, context, context.peer(), len(response))
        return response

    behave.method = method  # type: ignore[attr-defined]
    behave.is_public = access is Access.PUBLIC  # type: ignore[attr-defined]
    if threads is not None:
        behave.experimental_thread_pool = threads  # type: ignore[attr-defined]
    # No deserializer: grpcio would parse in its polling thread, and return INTERNAL for invalid bytes.
    return grpc.unary_unary_rpc_method_handler(behave)


def streaming(
    handler_context: HandlerContext,
    method: str,
    request_type: type[_Request],
    handler: Opening[_Request],
    access: Access,
) -> Handler:
    """Return the gRPC handler of a function that opens a stream of responses.

    The stream is counted before the function is called, so that RunJob creates no job that it cannot watch.
    """
    audit = handler_context.audit
    name_object = named_object(method, request_type)

    def open_stream(call: CallContext, data: bytes, context: grpc.ServicerContext, stream: Stream) -> None:
        handler_context.admit(call, context, access, len(data))
        caller = call.principal.name
        handler_context.callers.acquire(caller, STREAMS)
        try:
            handler_context.limiter.acquire()
        except ResourceExhausted:
            handler_context.callers.release(caller, STREAMS)
            raise

        def release() -> None:
            handler_context.callers.release(caller, STREAMS)
            handler_context.limiter.release()

        if not stream.on_close(release):
            release()
            return
        request = request_validation.parse(request_type, data, handler_context.limits.max_request_bytes)
        call.object = name_object(request)
        # Before the stream, so that an operator cannot read without an entry.
        if access is Access.READ:
            audit.read(call, access)
        handler_context.watch_access(stream, context, access)
        with audit.acting(call):
            handler(request, call, stream)

    def behave(data: bytes, context: grpc.ServicerContext, _send: Callable[[Any], None]) -> None:
        call = CallContext(method, context.invocation_metadata(), observer=handler_context.observer)
        stream = Stream(context, call)
        if not stream.on_close(lambda: _log_end(stream, audit)):
            return
        _, error = outcome(call.request_id, open_stream, call, data, context, stream)
        if error is not None:
            stream.fail(error)

    behave.method = method  # type: ignore[attr-defined]
    behave.is_public = access is Access.PUBLIC  # type: ignore[attr-defined]
    behave.experimental_non_blocking = True  # type: ignore[attr-defined]
    behave.experimental_thread_pool = handler_context.open_pool  # type: ignore[attr-defined]
    return grpc.unary_stream_rpc_method_handler(behave)


def unimplemented(observer: Observer) -> Handler:
    """Return the handler of all unknown methods."""

    def behave(_data: bytes, context: grpc.ServicerContext) -> bytes:
        call = CallContext("unknown", context.invocation_metadata(), observer=observer)
        error = Unimplemented("this server does not implement the method")
        call.ended(error)
        _abort(context, call, error)
        return b""

    return grpc.unary_unary_rpc_method_handler(behave)


def _abort(context: grpc.ServicerContext, call: CallContext, error: CallError) -> None:
    code, message, details = status_of(error, call.request_id)
    context.set_trailing_metadata((*call.trailer, ("grpc-status-details-bin", details)))
    context.abort(code, message)


def _log_end(stream: Stream, audit: AuditedCalls) -> None:
    if stream.error is None and not stream.finished:
        stream.call.ended(code="CANCELLED", sent=stream.sent)
    else:
        stream.call.ended(stream.error, sent=stream.sent)
        if stream.error is not None:
            audit.refused(stream.call, stream.error)
