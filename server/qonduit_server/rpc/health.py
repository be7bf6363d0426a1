# SPDX-License-Identifier: Apache-2.0
"""grpc.health.v1, for each service and for the server as a whole (the empty name)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from qonduit_server.errors import NotFound
from qonduit_server.rpc.call import Call
from qonduit_server.rpc.stream import Stream

SERVICE: Final = "grpc.health.v1.Health"


class Health:
    """SERVING until the server drains, then NOT_SERVING for ever."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._lock = threading.Lock()
        self._serving = True
        self._watchers: set[Stream] = set()

    def check(self, request: HealthCheckRequest, call: Call) -> HealthCheckResponse:
        """Tell how a service is. Raises NotFound for one that is not here."""
        if request.service not in self._services:
            raise NotFound("service", request.service)
        return HealthCheckResponse(status=self._status(request.service))

    def watch(self, request: HealthCheckRequest, call: Call, stream: Stream) -> None:
        """Tell how a service is, and again when that changes."""
        with self._lock:
            status = self._status(request.service)
            if request.service in self._services and self._serving:
                self._watchers.add(stream)
                stream.on_close(lambda: self._watchers.discard(stream))
            # Under the lock, so that nothing is told twice or in the wrong order; it does not wait for the reader.
            message = HealthCheckResponse(status=status).SerializeToString()
            stream.send(message, lambda: self._tell_the_end([stream]))

    def drain(self) -> None:
        """Tell everybody that this server takes no more calls."""
        with self._lock:
            self._serving = False
        self._tell_the_end(list(self._watchers))

    def _tell_the_end(self, streams: Iterable[Stream]) -> None:
        """Tell watchers that it is over, if it is: one whose first message is on its way, once that is through."""
        told = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING).SerializeToString()
        for stream in streams:
            with self._lock:
                over = not self._serving and stream in self._watchers and not stream.sending_since
                if over:
                    self._watchers.discard(stream)
            if over:
                stream.finish(told)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING
