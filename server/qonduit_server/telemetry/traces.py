# SPDX-License-Identifier: Apache-2.0
"""Spans of calls and jobs, created by hand: an interceptor for each call would cost a fifth of it.

A call is traced if its caller traces it (`traceparent`, W3C Trace Context), or else by chance. The job that it creates
carries the context, so that the server that ends the job, which may be another one, adds the spans of the job.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.lifecycle import FAILED, is_terminal
from qonduit_server.observer import CallTrace, Metadata
from qonduit_server.store.ownership import owner_of

_HEADER: Final = "traceparent"
_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?").fullmatch
#: The codes of faults of the server; other errors are those of the caller (OpenTelemetry's conventions for gRPC).
_FAULTS: Final = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


class Traces:
    """Records spans. Thread-safe.

    Args:
        resource: describes the server.
        export: called with each span that has ended; must return quickly.
        ratio: the share of calls that are traced if their callers do not trace them.
    """

    def __init__(self, resource: Resource, export: Callable[[ReadableSpan], None], ratio: float) -> None:
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(_Exporting(export))
        self._tracer = provider.get_tracer("qonduit")
        self._ratio = ratio

    def begin_call(self, method: str, metadata: Metadata) -> CallTrace | None:
        """Begin the span of a call; None if it is not traced."""
        parent = next((_parsed(str(value)) for key, value in metadata if key == _HEADER), None)
        if not (parent.trace_flags.sampled if parent is not None else random.random() < self._ratio):
            return None
        service, _, name = method.partition("/")
        span = self._tracer.start_span(
            f"qonduit.v1.{method}",
            context=_context(parent),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": f"qonduit.v1.{service}", "rpc.method": name},
        )
        known = span.get_span_context()
        return CallTrace(f"{known.trace_id:032x}", f"{known.span_id:016x}", span)

    def end_call(self, trace: CallTrace, code: str, reason: str, job_id: int) -> None:
        """End the span of a call."""
        span = trace.span
        assert isinstance(span, Span)
        span.set_attribute("rpc.grpc.status_code", code)
        if job_id:
            span.set_attribute("qonduit.job_id", job_id)
        if reason:
            span.set_attribute("error.type", reason)
        if code in _FAULTS:
            span.set_status(Status(StatusCode.ERROR, reason))
        span.end()

    def job_changed(self, job: Job, _before: JobState) -> None:
        """Record the spans of a job that has ended: the job, its wait, and its run."""
        if not (job.traceparent and is_terminal(job.state)):
            return
        parent = _parsed(job.traceparent)
        if parent is None:
            return
        attributes: dict[str, AttributeValue] = {
            "qonduit.job_id": job.id,
            "qonduit.device": job.device,
            "qonduit.owner": owner_of(job),
            "qonduit.state": JobState.Name(job.state).removeprefix("JOB_STATE_"),
            "qonduit.attempt": job.attempt,
        }
        if job.state == FAILED:
            attributes["error.type"] = job.failure.reason
        created, ended = job.created_at.ToNanoseconds(), job.finished_at.ToNanoseconds()
        started = job.started_at.ToNanoseconds() if job.HasField("started_at") else ended
        whole = self._tracer.start_span("job", _context(parent), SpanKind.CONSUMER, attributes, start_time=created)
        if job.state == FAILED:
            whole.set_status(Status(StatusCode.ERROR, job.failure.reason))
        inside = set_span_in_context(whole, Context())
        attributes = {"qonduit.job_id": job.id}
        self._tracer.start_span("queue", inside, attributes=attributes, start_time=created).end(started)
        if job.HasField("started_at"):
            self._tracer.start_span("run", inside, attributes=attributes, start_time=started).end(ended)
        whole.end(ended)


class _Exporting(SpanProcessor):
    def __init__(self, export: Callable[[ReadableSpan], None]) -> None:
        self._export = export

    def on_end(self, span: ReadableSpan) -> None:
        self._export(span)


def _parsed(text: str) -> SpanContext | None:
    """Return the context that a `traceparent` names; None for an invalid one, which is ignored."""
    found = _PARENT(text)
    if found is None or text.startswith("ff"):
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16))
    )
    return context if context.is_valid else None


def _context(parent: SpanContext | None) -> Context:
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
