# SPDX-License-Identifier: Apache-2.0
"""What the server measures while it works: components call an `Observer`, which telemetry implements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from google.protobuf.struct_pb2 import Struct

#: The metadata of a call.
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class CallTrace(NamedTuple):
    """The trace of a call.

    Attributes:
        trace_id: in hexadecimal.
        span_id: of the call, in hexadecimal.
        span: belongs to the observer.
    """

    trace_id: str
    span_id: str
    span: object

    @property
    def traceparent(self) -> str:
        """The context in which the call creates a job, as in W3C Trace Context."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class Observer:
    """Receives measurements; this one drops them. Any thread calls it, also while it holds a lock: return quickly."""

    def call_began(self, method: str, metadata: Metadata) -> CallTrace | None:
        """Observe the begin of a call; return its trace, or None if it has none."""
        return None

    def call_ended(
        self,
        method: str,
        code: str,
        reason: str,
        seconds: float,
        *,
        streamed: bool,
        trace: CallTrace | None = None,
        job_id: int = 0,
    ) -> None:
        """Observe the end of a call.

        Args:
            method: the service and its method, "JobService/GetJob".
            code: the gRPC code.
            reason: the reason of its error; empty without an error.
            seconds: its time.
            streamed: whether it was a stream, whose time is its client's choice.
            trace: its trace.
            job_id: the job that it concerned; 0 without one.
        """

    def events_delivered(self, seconds: float) -> None:
        """Observe a stream that begins to send events, and the time since the notification of them."""

    def committed(self, calls: int, seconds: float) -> None:
        """Observe a committed transaction of the store, its number of calls, and its time."""

    def commit_failed(self) -> None:
        """Observe a transaction of the store that was rolled back."""

    def claimed(self, jobs: Mapping[str, int], seconds: float | None) -> None:
        """Observe a claim: the number of its jobs by provider, and its time; None as part of another transaction."""

    def program_succeeded(self, metadata: Struct) -> None:
        """Observe a program that succeeded, by the metadata of its result."""

    def task_lost(self, kind: str) -> None:
        """Observe a task that ended without a report of its worker: "died", "cancelled", "time limit", "stopped"."""

    def worker_ended(self, provider: str, cause: str, count: int = 1) -> None:
        """Observe ends of worker processes: "died", the kind of the loss for which they were killed, or "replaced"."""

    def retention_failed(self) -> None:
        """Observe a sweep of retention that failed: the database or the archive does not take it."""


#: Drops every measurement.
UNOBSERVED: Final = Observer()
