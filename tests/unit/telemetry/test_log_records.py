# SPDX-License-Identifier: Apache-2.0
"""A line of the log becomes a record with the same values, and without its traceback."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.sdk.resources import Resource

from qonduit_server.telemetry.log_records import record_of
from tests.otlp_receiver import attributes

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def sent(**line: object) -> LogRecord:
    """Return a line as it is sent."""
    request = encode_logs([record_of(line, Resource.create({}))])
    return request.resource_logs[0].scope_logs[0].log_records[0]


def test_a_line_keeps_its_values_and_ids() -> None:
    record = sent(
        event="call", level="info", timestamp="t", method="GetJob", ms=1.5, job_id=3, trace_id=TRACE, span_id=SPAN
    )
    assert record.body.string_value == "call"
    assert record.severity_number == SeverityNumber.SEVERITY_NUMBER_INFO
    assert attributes(record.attributes) == {"method": "GetJob", "ms": 1.5, "job_id": 3}
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE, SPAN)
    assert record.time_unix_nano > 0


def test_a_line_without_a_trace_has_none() -> None:
    assert sent(event="serving", level="warning").trace_id == b""


def test_an_exception_is_named_and_its_text_stays_in_the_log() -> None:
    record = sent(event="fault", level="error", exc_info=ValueError("a secret program"))
    assert attributes(record.attributes) == {"exception.type": "ValueError"}
    assert b"secret" not in record.SerializeToString()


def test_values_of_other_types_become_text() -> None:
    assert attributes(sent(event="serving", providers=["IBM", "AWS"]).attributes) == {"providers": "['IBM', 'AWS']"}
