# SPDX-License-Identifier: Apache-2.0
"""The connection to a collector of OpenTelemetry: OTLP over HTTP, with one outbox for each signal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from qonduit_server.telemetry.log_records import record_of
from qonduit_server.telemetry.metrics import Metrics
from qonduit_server.telemetry.otlp_metrics import converted
from qonduit_server.telemetry.outbox import Outbox
from qonduit_server.telemetry.traces import Traces

METRICS: Final = "metrics"
TRACES: Final = "traces"
LOGS: Final = "logs"
#: The interval of metrics, and that of spans and log lines.
_METRICS_SECONDS: Final = 15.0
_ITEMS_SECONDS: Final = 1.0
#: The time limit of a request, with its retries.
_REQUEST_SECONDS: Final = 5.0


class Collector:
    """Sends the signals of a server to a collector, until `stop`.

    Args:
        endpoint: the URL of the collector; the paths of the signals are appended.
        signals: those to send.
        metrics: the metrics, which also count losses.
        version: of the server.
        server: its id.
        ratio: the share of calls that are traced if their callers do not trace them.
    """

    def __init__(
        self, endpoint: str, signals: Collection[str], metrics: Metrics, version: str, server: str, ratio: float
    ) -> None:
        # The outboxes log whether the collector is available. A line for each failure would also be exported itself.
        for library in ("opentelemetry", "urllib3"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        named = {"service.name": "qonduit", "service.version": version, "service.instance.id": server}
        # Adds those of the variable OTEL_RESOURCE_ATTRIBUTES.
        self._resource = Resource.create(named)
        self._started_at = time.time_ns()
        self._metrics = metrics
        self._outboxes: list[Outbox[Any]] = []
        self._shutdowns: list[Callable[[], None]] = []
        #: Traces calls and jobs, if spans are sent.
        self.traces: Traces | None = None
        #: Receives the lines of the log, if they are sent.
        self.log_line: Callable[[Mapping[str, Any]], None] | None = None
        self._url = endpoint.rstrip("/")
        if METRICS in signals:
            self._send_metrics()
        if TRACES in signals:
            self._send_spans(ratio)
        if LOGS in signals:
            self._send_log_lines()

    def _arguments(self, signal: str) -> dict[str, Any]:
        return {
            "endpoint": f"{self._url}/v1/{signal}",
            "timeout": _REQUEST_SECONDS,
            "compression": Compression.Gzip,
        }

    def _send_metrics(self) -> None:
        exporter = OTLPMetricExporter(**self._arguments(METRICS))

        def produce() -> list[MetricsData]:
            return [converted(self._metrics.registry, self._resource, self._started_at)]

        def send(batch: Collection[MetricsData]) -> bool:
            return all(exporter.export(data) is MetricExportResult.SUCCESS for data in batch)

        lost = self._metrics.telemetry_lost(METRICS)
        self._outboxes.append(Outbox(METRICS, send, lost, _METRICS_SECONDS, produce))
        self._shutdowns.append(exporter.shutdown)

    def _send_spans(self, ratio: float) -> None:
        exporter = OTLPSpanExporter(**self._arguments(TRACES))
        outbox: Outbox[ReadableSpan] = Outbox(
            TRACES,
            lambda batch: exporter.export(batch) is SpanExportResult.SUCCESS,
            self._metrics.telemetry_lost(TRACES),
            _ITEMS_SECONDS,
        )
        self._outboxes.append(outbox)
        self._shutdowns.append(exporter.shutdown)
        self.traces = Traces(self._resource, outbox.put, ratio)

    def _send_log_lines(self) -> None:
        exporter = OTLPLogExporter(**self._arguments(LOGS))
        outbox: Outbox[ReadableLogRecord] = Outbox(
            LOGS,
            lambda batch: exporter.export(batch) is LogRecordExportResult.SUCCESS,
            self._metrics.telemetry_lost(LOGS),
            _ITEMS_SECONDS,
        )
        self._outboxes.append(outbox)
        self._shutdowns.append(exporter.shutdown)
        self.log_line = lambda line: outbox.put(record_of(line, self._resource))

    def stop(self, seconds: float) -> None:
        """Send what waits, and give up after `seconds` for each signal."""
        for outbox in self._outboxes:
            outbox.stop(seconds)
        for shutdown in self._shutdowns:
            shutdown()
