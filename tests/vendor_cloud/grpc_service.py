# SPDX-License-Identifier: Apache-2.0
"""What the services of vendors over gRPC share: their calls fail as planned, and a relay cuts their connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import grpc
from google.rpc import status_pb2  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]

from tests.vendor_cloud.fake_vendor import SLOW_SECONDS, Service

#: The bytes of an answer that arrive before a connection is cut.
_HALF: Final = 12


class Relay:
    """Copies bytes between clients and the service, and cuts connections on request."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        #: By the port from which the relay called the service.
        self._connections: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._budgets: dict[int, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, peer: str, *, after: int = 0) -> None:
        """Cut the connection of a peer of the service, after a number of further bytes to the client."""
        port = int(peer.rpartition(":")[2])
        if after:
            self._budgets[port] = after
            return
        for each in self._connections[port]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            service = socket.create_connection(("127.0.0.1", self._upstream))
            port = service.getsockname()[1]
            self._connections[port] = client, service
            threading.Thread(target=self._copy, args=(client, service, 0), daemon=True).start()
            threading.Thread(target=self._copy, args=(service, client, port), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                budget = self._budgets.get(port)
                if budget is None:
                    target.sendall(piece)
                    continue
                target.sendall(piece[:budget])
                break
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class GrpcService(Service):
    """The jobs of a vendor with a relay before its calls."""

    relay: Relay


class Call:
    """One call of the service.

    Args:
        service: the service, whose lock is held.
        context: of the call.
    """

    def __init__(self, service: GrpcService, context: grpc.ServicerContext) -> None:
        self.service = service
        self._context = context
        self._after = ""

    def enter(self, kind: str) -> None:
        """Count a request, and refuse it if its token is not valid."""
        self.service.note(kind)
        self._authenticate()

    def _authenticate(self) -> None:
        token = dict(self._context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
        self.service.authorizations.add(token)
        if not token or (self.service.behavior.tokens and not self.is_valid(token)):
            self.abort(grpc.StatusCode.UNAUTHENTICATED, f"the token {token} is not valid")

    def is_valid(self, token: str) -> bool:
        """Whether a token is one of the valid ones."""
        return token in self.service.behavior.tokens

    @contextmanager
    def planned(self, kind: str) -> Iterator[None]:
        """Count a request, and fail as planned for the next one of its kind: before the work, or after it."""
        mode = self.service.next(kind)
        self._authenticate()
        if mode in ("busy", "refuse", "fail", "away", "cut", "hang") or (mode == "half" and kind == "submit"):
            self._fail(mode)
        yield
        self._after = mode.removeprefix("accept-")

    def finish(self) -> None:
        """Fail as planned after the work, without the lock."""
        if self._after == "slow":
            threading.Event().wait(SLOW_SECONDS)
        elif self._after not in ("", "ok"):
            self._fail(self._after)

    def _fail(self, mode: str) -> None:
        if mode == "busy":
            delay = RetryInfo()
            delay.retry_delay.FromMilliseconds(int(self.service.behavior.retry_after * 1000))
            self.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", delay)
        elif mode == "refuse":
            self.abort(grpc.StatusCode.INVALID_ARGUMENT, "the machine has no such gate")
        elif mode == "fail":
            self.abort(grpc.StatusCode.INTERNAL, "internal error")
        elif mode == "away":
            self.abort(grpc.StatusCode.UNAVAILABLE, "no healthy upstream")
        elif mode == "hang":
            raise Hang
        else:
            self.service.relay.cut(self._context.peer(), after=_HALF if mode == "half" else 0)
            if mode == "cut":
                self.abort(grpc.StatusCode.UNAVAILABLE, "the client does not receive this")

    def abort(self, code: grpc.StatusCode, message: str, *details: Any) -> NoReturn:
        """End the call with a status."""
        status = status_pb2.Status(code=code.value[0], message=message)
        for each in details:
            status.details.add().Pack(each)
        if details:
            self._context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        self._context.abort(code, message)
        raise AssertionError("not reached")


class Hang(Exception):
    """The call has no answer, until the client ends it."""


def handled(make: Callable[[grpc.ServicerContext], Call], work: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return a handler of gRPC.

    Args:
        make: makes the call of a context.
        work: makes the answer, as a message of its own.
    """

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        call = make(context)
        try:
            with call.service.lock:
                answer = work(call, request)
            call.finish()
        except Hang:
            ended = threading.Event()
            if context.add_callback(ended.set):
                ended.wait(600)
            context.abort(grpc.StatusCode.CANCELLED, "the client has ended the call")
        return answer

    return handle
