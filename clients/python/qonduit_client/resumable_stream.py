# SPDX-License-Identifier: Apache-2.0
"""Streams that resume after a break: the next request and the meaning of an end, without a connection."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_service_pb2 import (
    CreateJobResponse,
    GetJobResponse,
    RunJobRequest,
    RunJobResponse,
    WatchJobRequest,
    WatchJobResponse,
)
from qonduit_client import requests
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import LimitExceeded, QonduitError, ServerUnavailable, TimedOut
from qonduit_client.requests import Request
from qonduit_client.retry import Attempts, may_resume
from qonduit_client.states import TERMINAL

Item = TypeVar("Item")
#: The events that are not stored and that a stream has because it requested them.
_REQUESTED: Final = ("partial_result", "queue_change", "final_results")

#: The reason of the error that the log does not contain the last event received.
_RESTORED: Final = "LOG_RESTORED"
#: The subject of the error about too many open streams.
_STREAMS: Final = "max_streams"


class ResumableStream(Generic[Item]):
    """One logical stream over any number of calls; `Transport.resumed` drives it."""

    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._attempts = Attempts(endpoint.retry)
        self._broken: QonduitError | None = None
        self._ended = False

    def ended(self) -> bool:
        """Return whether the stream is complete."""
        return self._ended

    def next_request(self) -> Request[Any]:
        """Return the request that resumes the stream."""
        raise NotImplementedError

    def seconds(self) -> float | None:
        """Return the timeout of that call in seconds; None: unlimited."""
        return None if self._deadline is None else max(0.0, self._deadline - self._endpoint.retry.clock())

    def receive(self, response: Any) -> Item | None:
        """Return the item of a response; None if it has no new item."""
        raise NotImplementedError

    def failed(self, error: QonduitError) -> None:
        """Record the error that broke the stream; raise it if the stream cannot resume.

        The server ends a stream whose token has expired; the next call may have a new token. If the server
        rejects that call too, it raises its error.
        """
        renewable = error.status == "UNAUTHENTICATED" and self._endpoint.renews_token and self._attempts.accepted
        if not (renewable or may_resume(error)):
            raise error
        self._broken = error

    def end_check(self) -> Request[Any] | None:
        """Return the request that checks an end with OK; None if no check is needed."""
        return None

    def confirm_end(self, response: Any) -> None:
        """Process the response to `end_check`."""

    def pause(self) -> float:
        """Return the seconds to wait before resuming; raise the recorded error after the timeout."""
        broken = self._broken or ServerUnavailable("the stream ended early", status="UNAVAILABLE")
        self._broken = None
        return self._attempts.pause(broken, self._endpoint.max_outage, self._deadline)


class EventStream(ResumableStream[JobEvent]):
    """The events of a job, each once and in order, until its end.

    Args:
        endpoint: the server.
        job_id: the job.
        after_sequence: skip the events up to this one.
        after_epoch: the `log_epoch` of that event.
        timeout: seconds until `TimedOut`.
        heartbeat: seconds without an event after which to yield a heartbeat.
        partial_results: request and yield results as they are so far.
        queue_updates: request and yield changes of the place in the queue.
        final_results: request and yield the results of the ended job, if they are few and small.
        omit_intermediate: skip the stored events between the first and the last.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        job_id: int,
        *,
        after_sequence: int = 0,
        after_epoch: int = 0,
        timeout: float | None = None,
        heartbeat: float | None = None,
        partial_results: bool = False,
        queue_updates: bool = False,
        final_results: bool = False,
        omit_intermediate: bool = False,
    ) -> None:
        super().__init__(endpoint, None if timeout is None else endpoint.retry.clock() + timeout)
        self._job_id = job_id
        self._last = after_sequence
        self._epoch = after_epoch
        self._timeout = timeout
        self._heartbeat = heartbeat
        self._partial_results = partial_results
        self._queue_updates = queue_updates
        self._final_results = final_results
        self._omit_intermediate = omit_intermediate

    def next_request(self) -> Request[Any]:
        """Return the request for the events after the last one received."""
        request = WatchJobRequest(
            job_id=self._job_id,
            after_sequence=self._last,
            after_epoch=self._epoch,
            partial_results=self._partial_results,
            queue_updates=self._queue_updates,
            final_results=self._final_results,
            omit_intermediate=self._omit_intermediate,
        )
        if self._heartbeat is not None:
            interval = Duration()
            interval.FromNanoseconds(int(self._heartbeat * 1e9))
            request.heartbeat_interval.CopyFrom(interval)
        return Request("JobService/WatchJob", request, WatchJobResponse)

    def receive(self, response: WatchJobResponse) -> JobEvent | None:
        """Return a new event, also a requested one that is not stored."""
        self._attempts.succeeded()
        event = response.event
        if event.WhichOneof("event") in _REQUESTED:
            return event
        if event.HasField("heartbeat"):
            return None if self._heartbeat is None else event
        if event.sequence <= self._last:
            return None
        self._last, self._epoch = event.sequence, event.log_epoch
        self._ended = event.state_change.to_state in TERMINAL
        return event

    def failed(self, error: QonduitError) -> None:
        """Record the error that broke the stream; a timeout raises an error about the job.

        If the server was restored from a backup, a stream that yields all events cannot continue. One that waits for
        the end of the job starts again.
        """
        if isinstance(error, TimedOut):
            raise late(self._job_id, self._timeout, error.status)
        if error.reason == _RESTORED and self._omit_intermediate and self._last:
            self._last = self._epoch = 0
            self._broken = error
        else:
            super().failed(error)

    def end_check(self) -> Request[GetJobResponse] | None:
        """Return the request that checks whether the job has ended, after an OK without a terminal event."""
        return requests.job(self._job_id)

    def confirm_end(self, response: GetJobResponse) -> None:
        """Check whether the job has ended with the last received event."""
        job = response.job
        self._ended = job.state in TERMINAL and job.last_sequence <= self._last and job.log_epoch == self._epoch


class RunStream(EventStream):
    """The first and the last event of a job that the stream creates, and its results if they are few and small.

    The request id makes repetitions of the request return the same job.

    Args:
        endpoint: the server.
        request: creates the job; with a request id.
        timeout: seconds until `TimedOut`; the job is created in any case, within the endpoint's timeout.
    """

    def __init__(self, endpoint: Endpoint, request: Request[CreateJobResponse], timeout: float | None) -> None:
        super().__init__(endpoint, 0, timeout=timeout, final_results=True, omit_intermediate=True)
        self._submitted_by = endpoint.retry.clock() + endpoint.timeout
        # The fields of both requests have the same numbers.
        self._request = RunJobRequest.FromString(endpoint.message_of(request).SerializeToString())
        self._request.final_results = self._request.omit_intermediate = True

    def next_request(self) -> Request[RunJobResponse]:
        """Return the request that creates the job, or resumes its stream.

        A job that a restore of the server may have lost is watched, so that it is not created again.
        """
        if self._job_id and not self._last:
            return super().next_request()
        self._request.after_sequence, self._request.after_epoch = self._last, self._epoch
        return Request("JobService/RunJob", self._request, RunJobResponse)

    def seconds(self) -> float | None:
        """Return the timeout of the next call; before the first event the server's answer has its own limit.

        A stream has one deadline for all of its events: that of the first call ends a longer stream, which resumes.
        """
        if self._job_id:
            return super().seconds()
        now = self._endpoint.retry.clock()
        ends = self._submitted_by if self._deadline is None or self._is_late() else self._deadline
        return max(0.0, min(ends, self._submitted_by) - now)

    def receive(self, response: Any) -> JobEvent | None:
        """Return a new event; a timeout names the job, so it waits for the first event."""
        self._job_id = response.event.job_id
        event = super().receive(response)
        if not self._ended and self._is_late():
            raise late(self._job_id, self._timeout)
        return event

    def failed(self, error: QonduitError) -> None:
        """Record the error that broke the stream; raise it if the stream cannot resume, or if it rejects the job."""
        if isinstance(error, TimedOut) and not self._is_over():
            return
        if not self._job_id and (isinstance(error, TimedOut) or _rejects_job(error)):
            raise error
        super().failed(error)

    def end_check(self) -> Request[GetJobResponse] | None:
        """Return the request that checks whether the job has ended; None before the first event."""
        self._broken = ServerUnavailable("the stream ended early", status="UNAVAILABLE")
        return super().end_check() if self._job_id else None

    def pause(self) -> float:
        """Return the seconds to wait before resuming; a call that reached its own deadline resumes at once."""
        broken, self._broken = self._broken, None
        if broken is None:
            return 0.0
        deadline = self._deadline if self._job_id else self._submitted_by
        return self._attempts.pause(broken, self._endpoint.max_outage, deadline)

    def _is_late(self) -> bool:
        return self._deadline is not None and self._endpoint.retry.clock() >= self._deadline

    def _is_over(self) -> bool:
        """Return whether no time is left: for the job, or before the first event for the submission."""
        return self._is_late() if self._job_id else self._endpoint.retry.clock() >= self._submitted_by


def _rejects_job(error: QonduitError) -> bool:
    """Return whether a limit rejects a job, and not its stream alone."""
    return isinstance(error, LimitExceeded) and all(each.field != _STREAMS for each in error.violations)


def late(job_id: int, timeout: float | None, status: str = "") -> TimedOut:
    """Return the timeout error of a job."""
    after = "in time" if timeout is None else f"after {timeout:g} s"
    return TimedOut(f"job {job_id} has not ended {after}; it continues", status=status)
