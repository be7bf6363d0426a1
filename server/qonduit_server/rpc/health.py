# SPDX-License-Identifier: Apache-2.0
"""grpc.health.v1, for each service and for the server as a whole (the empty name)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from qonduit_server.errors import NotFound
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.stream_sender import Stream

SERVICE: Final = "grpc.health.v1.Health"


class Health:
    """How the server is: under the empty name whether it lives, under a service's name whether it can serve now.

    The empty name is SERVING until the server drains, also while the database is away: whoever restarts servers that
    are not well must not restart this one, which would not help. Services are NOT_SERVING for as long as the database
    is away, so that whoever spreads calls over servers may take one that is not cut off.

    Args:
        services: their names.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._lock = threading.Lock()
        self._draining = False
        self._database = True
        #: The service each asked for, and what it was told last.
        self._watchers: dict[Stream, tuple[str, Any]] = {}

    def check(self, request: HealthCheckRequest, call: CallContext) -> HealthCheckResponse:
        """Tell how a service is. Raises NotFound for one that is not here."""
        if request.service not in self._services:
            raise NotFound("service", request.service)
        return HealthCheckResponse(status=self._status(request.service))

    def watch(self, request: HealthCheckRequest, call: CallContext, stream: Stream) -> None:
        """Tell how a service is, and again whenever that changes."""
        with self._lock:
            status = self._status(request.service)
            if request.service in self._services and not self._draining:
                self._watchers[stream] = (request.service, status)
                stream.on_close(lambda: self._forget(stream))
            self._send(stream, status)

    def database(self, present: bool) -> None:
        """Note that the database went away, or came back."""
        with self._lock:
            self._database = present
            watchers = list(self._watchers)
        self._tell(watchers)

    def drain(self) -> None:
        """Tell everybody that this server takes no more calls."""
        with self._lock:
            self._draining = True
            watchers = list(self._watchers)
        self._tell(watchers)

    def _tell(self, streams: Iterable[Stream]) -> None:
        """Tell watchers what is new to them: one that is being told something, once that is through."""
        for stream in streams:
            over = False
            with self._lock:
                service, told = self._watchers.get(stream, (None, None))
                if service is None or stream.sending_since:
                    continue
                status = self._status(service)
                over = self._draining
                if over:
                    del self._watchers[stream]
                elif status != told:
                    self._watchers[stream] = (service, status)
                    self._send(stream, status)
            if over:
                stream.finish(HealthCheckResponse(status=status).SerializeToString())

    def _send(self, stream: Stream, status: Any) -> None:
        # Under the lock, so that nothing is told twice or in the wrong order; it does not wait for the reader.
        stream.send(HealthCheckResponse(status=status).SerializeToString(), lambda: self._tell([stream]))

    def _forget(self, stream: Stream) -> None:
        self._watchers.pop(stream, None)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        well = not self._draining and (self._database or not service)
        return HealthCheckResponse.SERVING if well else HealthCheckResponse.NOT_SERVING
