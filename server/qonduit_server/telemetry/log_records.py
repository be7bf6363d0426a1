# SPDX-License-Identifier: Apache-2.0
"""Convert the lines of the log to log records of OpenTelemetry, with the same names."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_SCOPE: Final = InstrumentationScope("qonduit")
#: These have a place of their own in a record. Tracebacks may quote data: they stay in the log of the server.
_OMITTED: Final = frozenset(
    ("event", "level", "timestamp", "trace_id", "span_id", "exc_info", "exception", "stack_info")
)


def record_of(line: Mapping[str, Any], resource: Resource) -> ReadableLogRecord:
    """Return a line of the log as a record; the type of an exception replaces its traceback."""
    level = str(line.get("level", "info"))
    attributes = {name: _plain(value) for name, value in line.items() if name not in _OMITTED}
    error = line.get("exc_info")
    if isinstance(error, BaseException):
        attributes["exception.type"] = type(error).__name__
    context = None
    if "trace_id" in line and "span_id" in line:
        span = SpanContext(int(line["trace_id"], 16), int(line["span_id"], 16), False, TraceFlags(TraceFlags.SAMPLED))
        context = set_span_in_context(NonRecordingSpan(span))
    record = LogRecord(
        timestamp=time.time_ns(),
        context=context,
        severity_text=level,
        severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
        body=str(line.get("event", "")),
        attributes=attributes,
    )
    return ReadableLogRecord(record, resource, _SCOPE)


def _plain(value: object) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else str(value)
