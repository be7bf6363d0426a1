# SPDX-License-Identifier: Apache-2.0
"""The endpoint from which Prometheus collects metrics: `GET /metrics` over HTTP, on an address of its own.

A few threads answer one connection each, and a connection has a few seconds: slow clients delay each other and nothing
else. Nothing but GET of the one path is served, so the server needs no HTTP framework.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from qonduit_server.errors import StartError

PATH: Final = "/metrics"
_THREADS: Final = 4
_MAX_REQUEST_BYTES: Final = 8192
#: Time limits of a request, and of the client for reading the response.
_RECEIVE_SECONDS: Final = 5.0
_SEND_SECONDS: Final = 10.0
_END: Final = b"\r\n\r\n"

_log = structlog.get_logger("qonduit.metrics")


class MetricsEndpoint:
    """Serves a registry from its creation until `stop`.

    Args:
        address: HOST:PORT; port 0 selects a free one.
        registry: the metrics.

    Raises:
        StartError: the address cannot be used.
    """

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        self._registry = registry
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host.strip("[]"), int(port)), family=family)
        except OSError as error:
            raise StartError(f"cannot listen on {address} (metrics_address): {error.strerror or error}") from error
        #: The address that it listens on, with the selected port.
        self.address: Final = f"{host}:{self._socket.getsockname()[1]}"
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"metrics-endpoint-{number}", daemon=True)
            for number in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; those that answer a client end afterwards."""
        self._stopping = True
        # Wakes the threads that wait in accept.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # Without file descriptors, a connection cannot be accepted now.
                time.sleep(0.0 if self._stopping else 0.1)
                continue
            with connection, contextlib.suppress(OSError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = _receive(connection)
        if head is None:
            return
        status, kind, body = self._response(head)
        lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
        connection.settimeout(_SEND_SECONDS)
        connection.sendall("\r\n".join(lines).encode() + _END + body)

    def _response(self, head: str) -> tuple[str, str, bytes]:
        request, *fields = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path != PATH:
            return "404 Not Found", "text/plain", f"metrics are at {PATH}\n".encode()
        if method != "GET":
            return "405 Method Not Allowed\r\nAllow: GET", "text/plain", b"use GET\n"
        accepted = (value.strip() for name, _, value in (f.partition(":") for f in fields) if name.lower() == "accept")
        encode, kind = choose_encoder(next(accepted, ""))
        return "200 OK", kind, encode(self._registry)


def _receive(connection: socket.socket) -> str | None:
    """Return the head of a request; None if it is too large, or incomplete when its time ends."""
    until = time.monotonic() + _RECEIVE_SECONDS
    data = b""
    while _END not in data:
        left = until - time.monotonic()
        if left <= 0 or len(data) > _MAX_REQUEST_BYTES:
            return None
        connection.settimeout(left)
        received = connection.recv(_MAX_REQUEST_BYTES)
        if not received:
            return None
        data += received
    return data.partition(_END)[0].decode("latin-1")
