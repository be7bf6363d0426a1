# SPDX-License-Identifier: Apache-2.0
"""One channel to a server: unary calls and streams, with deadlines, safe repetition and errors of `errors`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, TypeVar

import grpc
from google.protobuf.message import Message

from qonduit_client.errors import QonduitError, ServerUnavailable, TimedOut
from qonduit_client.retry import Attempts, Retry
from qonduit_client.status import error_of

DEFAULT_TARGET: Final = "127.0.0.1:50051"
_Response = TypeVar("_Response", bound=Message)

#: Reconnect quickly after a restart. The server sends something at least every 20 s on a stream, so that a ping is
#: only ever sent on a connection that is dead.
_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class Transport:
    """Speaks to one server.

    Args:
        target: "HOST:PORT"; without a port, 50051.
        timeout: seconds a call may take, its repetitions included; also how long resuming a stream is tried.
        connect_timeout: the same, as long as the server has never answered.
        retry: how long to wait between attempts.
        credentials: for TLS; without them the connection is plain text.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float,
        connect_timeout: float,
        retry: Retry,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.target = with_port(target)
        self.retry = retry
        self.timeout = timeout
        self._connect_timeout = connect_timeout
        self._answered = False
        options: list[tuple[str, int]] = list(_OPTIONS)
        if self.target.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]"):
            options.append(("grpc.enable_http_proxy", 0))  # a proxy never leads back to this machine
        self._channel = (
            grpc.insecure_channel(self.target, options=options)
            if credentials is None
            else grpc.secure_channel(self.target, credentials, options=options)
        )

    @property
    def patience(self) -> float:
        """Seconds that a server may be away before that is an error."""
        return self.timeout if self._answered else min(self.timeout, self._connect_timeout)

    def call(
        self, method: str, request: Message, response: type[_Response], *, safe: bool, timeout: float | None = None
    ) -> _Response:
        """Makes a unary call.

        Args:
            method: "JobService/GetJob".
            request: its request.
            response: its response's type.
            safe: whether it may be sent twice: reads, and writes with a request id. Others are tried once.
            timeout: seconds, at most and by default the transport's own.

        Raises:
            QonduitError: of the class that says what happened.
        """
        limit = self.timeout if timeout is None else min(timeout, self.timeout)
        deadline = self.retry.clock() + limit
        rpc = self._channel.unary_unary(
            f"/qonduit.v1.{method}",
            request_serializer=_bytes_of,
            response_deserializer=response.FromString,
        )
        attempts = Attempts(self.retry)
        while True:
            try:
                answer = rpc(request, timeout=max(0.0, deadline - self.retry.clock()))
            except grpc.RpcError as refused:
                error = self._error(refused)
                if not (safe and isinstance(error, ServerUnavailable)):
                    raise error from None
                attempts.wait(error, self.patience, deadline)
            else:
                self._answered = True
                return answer

    def stream(
        self, method: str, request: Message, response: type[_Response], *, timeout: float | None
    ) -> Generator[_Response, None, None]:
        """Makes one call that answers with a stream. Ends as the server ends it; closing the iterator ends the call.

        Raises:
            QonduitError: when the stream does not end with OK.
        """
        call = self._channel.unary_stream(
            f"/qonduit.v1.{method}",
            request_serializer=_bytes_of,
            response_deserializer=response.FromString,
        )(request, timeout=timeout)
        try:
            for message in call:
                self._answered = True
                yield message
        except grpc.RpcError as refused:
            raise self._error(refused) from None
        finally:
            call.cancel()

    def close(self) -> None:
        """Ends the connection and every stream on it."""
        self._channel.close()

    def _error(self, refused: grpc.RpcError) -> QonduitError:
        error = error_of(refused)
        if error.reason or not isinstance(error, ServerUnavailable | TimedOut):
            self._answered = True
        elif isinstance(error, ServerUnavailable) and not self._answered:
            error.message = f"no server at {self.target}"
            error.args = (error.message,)
        return error


def with_port(target: str) -> str:
    """Adds the usual port to a host that comes without one."""
    host, colon, port = target.rpartition(":")
    if "/" in target or (colon and port.isdigit() and host and not (":" in host and not host.endswith("]"))):
        return target
    if target.count(":") > 1 and not target.startswith("["):
        target = f"[{target}]"
    return f"{target}:50051"


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
