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
    """The health of the server: the empty name reports liveness, the name of a service reports readiness.

    The empty name is SERVING until the server drains, also while the database is unavailable: a supervisor must not
    restart the server, which would not help. Services are NOT_SERVING while the database is unavailable, so that a load
    balancer can select another server.

    Args:
        services: the names of the services.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._lock = threading.Lock()
        self._draining = False
        self._database_available = True
        #: The service of each watcher, and the last status sent to it.
        self._watchers: dict[Stream, tuple[str, Any]] = {}

    def check(self, request: HealthCheckRequest, call: CallContext) -> HealthCheckResponse:
        """Return the status of a service. Raises NotFound for an unknown service."""
        if request.service not in self._services:
            raise NotFound("service", request.service)
        return HealthCheckResponse(status=self._status(request.service))

    def watch(self, request: HealthCheckRequest, call: CallContext, stream: Stream) -> None:
        """Send the status of a service, and again after each change."""
        with self._lock:
            status = self._status(request.service)
            if request.service in self._services and not self._draining:
                self._watchers[stream] = (request.service, status)
                stream.on_close(lambda: self._forget(stream))
            self._send(stream, status)

    def set_database_available(self, available: bool) -> None:
        """Record whether the database is available, and notify the watchers."""
        with self._lock:
            self._database_available = available
            watchers = list(self._watchers)
        self._notify(watchers)

    def drain(self) -> None:
        """Report NOT_SERVING to all watchers and end their streams."""
        with self._lock:
            self._draining = True
            watchers = list(self._watchers)
        self._notify(watchers)

    def _notify(self, streams: Iterable[Stream]) -> None:
        """Send a changed status to watchers. A stream with a current send is notified when that send completes."""
        for stream in streams:
            last = False
            with self._lock:
                service, sent = self._watchers.get(stream, (None, None))
                if service is None or stream.sending_since:
                    continue
                status = self._status(service)
                last = self._draining
                if last:
                    del self._watchers[stream]
                elif status != sent:
                    self._watchers[stream] = (service, status)
                    self._send(stream, status)
            if last:
                stream.finish(HealthCheckResponse(status=status).SerializeToString())

    def _send(self, stream: Stream, status: Any) -> None:
        # Under the lock, so that statuses are sent once and in order; it does not wait for the client.
        stream.send(HealthCheckResponse(status=status).SerializeToString(), lambda: self._notify([stream]))

    def _forget(self, stream: Stream) -> None:
        self._watchers.pop(stream, None)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        serving = not self._draining and (self._database_available or not service)
        return HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
