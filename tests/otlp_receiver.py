# SPDX-License-Identifier: Apache-2.0
"""A receiver of OTLP over HTTP on loopback, which keeps what a server sends."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_WAIT = 100.0


class Receiver:
    """What has arrived so far. `status` is the answer to each request."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.requests: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._spans: list[Span] = []
        self._records: list[LogRecord] = []
        self._metrics: dict[str, Metric] = {}
        self._resource: dict[str, object] = {}

    def accept(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Keep the content of a request."""
        with self._changed:
            self.requests.append({"path": path, **headers})
            if self.status == 200:
                self._keep(path, body)
            self._changed.notify_all()

    def _keep(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._resource = attributes(traced.resource.attributes)
                self._spans += [span for scope in traced.scope_spans for span in scope.spans]
        elif path == "/v1/logs":
            for logged in ExportLogsServiceRequest.FromString(body).resource_logs:
                self._records += [record for scope in logged.scope_logs for record in scope.log_records]
        else:
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._metrics |= {metric.name: metric for scope in measured.scope_metrics for metric in scope.metrics}

    def wait_for(self, reached: Callable[[Receiver], bool]) -> None:
        """Wait until a condition holds; it is tested after each request."""
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self), _WAIT)

    def spans(self, name: str) -> list[Span]:
        """Return the spans of a name."""
        return [span for span in self._spans if span.name == name]

    def records(self, body: str) -> list[LogRecord]:
        """Return the log records with a text."""
        return [record for record in self._records if record.body.string_value == body]

    def metrics(self) -> dict[str, Metric]:
        """Return the newest of each metric, by name."""
        return dict(self._metrics)

    def resource(self) -> dict[str, object]:
        """Return the resource of the newest spans."""
        return dict(self._resource)


def attributes(found: object) -> dict[str, object]:
    """Return the attributes of a span, a record, a point or a resource."""
    pairs: Iterator[KeyValue] = iter(found)  # type: ignore[call-overload]
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Start a receiver; its `url` is the endpoint."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.accept(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_WAIT)
