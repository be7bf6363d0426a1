# SPDX-License-Identifier: Apache-2.0
"""Spans of calls and jobs have the context of their callers, and the times of their jobs."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job
from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.telemetry.traces import Traces

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = f"00-{TRACE}-{PARENT}-01"


def recorder(ratio: float = 0.0) -> tuple[Traces, list[ReadableSpan]]:
    spans: list[ReadableSpan] = []
    return Traces(Resource.create({"service.name": "test"}), spans.append, ratio), spans


def test_the_span_of_a_call_belongs_to_the_trace_of_its_caller() -> None:
    traces, spans = recorder()
    trace = traces.begin_call("JobService/CreateJob", [("x", "y"), ("traceparent", CALLER)])
    assert trace is not None
    assert trace.trace_id == TRACE
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"
    traces.end_call(trace, "OK", "", 7)
    (span,) = spans
    assert span.name == "qonduit.v1.JobService/CreateJob"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert dict(span.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "qonduit.v1.JobService",
        "rpc.method": "CreateJob",
        "rpc.grpc.status_code": "OK",
        "qonduit.job_id": 7,
    }
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_an_invalid_context_is_ignored(header: str) -> None:
    traces, _ = recorder(ratio=1.0)
    trace = traces.begin_call("JobService/GetJob", [("traceparent", header)])
    assert trace is not None
    assert trace.trace_id != TRACE


def test_a_call_that_its_caller_does_not_sample_is_not_traced() -> None:
    traces, _ = recorder(ratio=1.0)
    assert traces.begin_call("JobService/GetJob", [("traceparent", CALLER[:-1] + "0")]) is None


def test_without_a_context_the_ratio_decides() -> None:
    none, _ = recorder(ratio=0.0)
    assert not any(none.begin_call("JobService/GetJob", []) for _ in range(200))
    some, _ = recorder(ratio=0.5)
    assert 50 < sum(some.begin_call("JobService/GetJob", []) is not None for _ in range(200)) < 150


@pytest.mark.parametrize(("code", "failed"), [("NOT_FOUND", False), ("INTERNAL", True), ("UNAVAILABLE", True)])
def test_only_faults_of_the_server_make_a_span_an_error(code: str, failed: bool) -> None:
    traces, spans = recorder(ratio=1.0)
    trace = traces.begin_call("JobService/GetJob", [])
    assert trace is not None
    traces.end_call(trace, code, "A_REASON", 0)
    assert (spans[0].status.status_code is StatusCode.ERROR) == failed
    assert (spans[0].attributes or {})["error.type"] == "A_REASON"


def ended(**fields: object) -> Job:
    times = {"created_at": Timestamp(seconds=10), "finished_at": Timestamp(seconds=14)}
    return Job(id=3, device="IBM/a", executed_by="anna", traceparent=CALLER, **times, **fields)  # type: ignore[arg-type]


def test_the_spans_of_a_job_are_its_wait_and_its_run() -> None:
    traces, spans = recorder()
    traces.job_changed(ended(state=RUNNING), QUEUED)
    assert spans == []
    traces.job_changed(ended(state=SUCCEEDED, attempt=1, started_at=Timestamp(seconds=11)), RUNNING)
    queue, run, whole = spans
    assert [(span.name, span.start_time, span.end_time) for span in spans] == [
        ("queue", 10 * 10**9, 11 * 10**9),
        ("run", 11 * 10**9, 14 * 10**9),
        ("job", 10 * 10**9, 14 * 10**9),
    ]
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == PARENT
    assert f"{whole.context.trace_id:032x}" == TRACE
    assert [queue.parent, run.parent] == [whole.context] * 2
    assert (whole.attributes or {})["qonduit.state"] == "SUCCEEDED"
    assert (whole.attributes or {})["qonduit.owner"] == "anna"


def test_a_job_that_never_started_has_no_run() -> None:
    traces, spans = recorder()
    traces.job_changed(ended(state=CANCELLED), QUEUED)
    assert [span.name for span in spans] == ["queue", "job"]
    assert spans[0].end_time == 14 * 10**9


def test_a_failed_job_is_an_error_with_its_reason() -> None:
    traces, spans = recorder()
    job = ended(state=FAILED, started_at=Timestamp(seconds=11), failure=Failure(reason="SYNTAX_ERROR"))
    traces.job_changed(job, RUNNING)
    assert spans[-1].status.status_code is StatusCode.ERROR
    assert (spans[-1].attributes or {})["error.type"] == "SYNTAX_ERROR"


def test_a_job_without_a_context_has_no_spans() -> None:
    traces, spans = recorder(ratio=1.0)
    job = ended(state=SUCCEEDED)
    job.traceparent = ""
    traces.job_changed(job, RUNNING)
    assert spans == []
