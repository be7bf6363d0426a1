# SPDX-License-Identifier: Apache-2.0
"""Streams that are gone on with where they broke: what to ask next and what an end means, without a connection."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_service_pb2 import GetJobResponse, WatchJobRequest, WatchJobResponse
from qonduit_client import requests
from qonduit_client.endpoint import Endpoint
from qonduit_client.errors import QonduitError, ServerUnavailable, TimedOut
from qonduit_client.requests import Request
from qonduit_client.retry import Attempts, may_resume
from qonduit_client.states import TERMINAL

Item = TypeVar("Item")


class ResumableStream(Generic[Item]):
    """One stream, however often it breaks. A transport asks it what to do; see `Transport.resumed`."""

    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._attempts = Attempts(endpoint.retry)
        self._broken: QonduitError | None = None
        self._ended = False

    def ended(self) -> bool:
        """Whether all has come."""
        return self._ended

    def next_request(self) -> Request[Any]:
        """Return the call that resumes the stream."""
        raise NotImplementedError

    def seconds(self) -> float | None:
        """How long that call may take; None: for ever."""
        return None if self._deadline is None else max(0.0, self._deadline - self._endpoint.retry.clock())

    def receive(self, response: Any) -> Item | None:
        """Return the item of a response; None: nothing new."""
        raise NotImplementedError

    def failed(self, error: QonduitError) -> None:
        """Take note of how the stream broke; raise the error when that is no reason to resume."""
        if not may_resume(error):
            raise error
        self._broken = error

    def end_check(self) -> Request[Any] | None:
        """After an end with OK: the call whose answer tells whether this was the end."""
        return None

    def confirm_end(self, answer: Any) -> None:
        """Take the answer to `doubt`."""

    def pause(self) -> float:
        """Seconds to wait before asking again; raises what broke the stream when patience or time is over."""
        broken = self._broken or ServerUnavailable("the stream ended early", status="UNAVAILABLE")
        self._broken = None
        return self._attempts.pause(broken, self._endpoint.patience, self._deadline)


class EventStream(ResumableStream[JobEvent]):
    """The events of a job, each once and in order, until its end.

    Args:
        endpoint: the server.
        job_id: the job.
        after_sequence: leaves out the events up to this one.
        timeout: seconds until `TimedOut`.
        heartbeat: seconds of silence after which a heartbeat is an event, too.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        job_id: int,
        *,
        after_sequence: int = 0,
        timeout: float | None = None,
        heartbeat: float | None = None,
    ) -> None:
        super().__init__(endpoint, None if timeout is None else endpoint.retry.clock() + timeout)
        self._job_id = job_id
        self._last = after_sequence
        self._timeout = timeout
        self._heartbeat = heartbeat

    def next_request(self) -> Request[WatchJobResponse]:
        """Return the events after the last one that came."""
        request = WatchJobRequest(job_id=self._job_id, after_sequence=self._last)
        if self._heartbeat is not None:
            interval = Duration()
            interval.FromNanoseconds(int(self._heartbeat * 1e9))
            request.heartbeat_interval.CopyFrom(interval)
        return Request("JobService/WatchJob", request, WatchJobResponse)

    def receive(self, response: WatchJobResponse) -> JobEvent | None:
        """Return an event that was not seen before, or a heartbeat that was asked for."""
        self._attempts.went_well()
        event = response.event
        if event.HasField("heartbeat"):
            return None if self._heartbeat is None else event
        if event.sequence <= self._last:
            return None
        self._last = event.sequence
        self._ended = event.state_change.to_state in TERMINAL
        return event

    def failed(self, error: QonduitError) -> None:
        """As every stream; a time that is over is told in words about the job."""
        if isinstance(error, TimedOut):
            raise late(self._job_id, self._timeout, error.status)
        super().failed(error)

    def end_check(self) -> Request[GetJobResponse]:
        """Return the call that settles whether a stream that ended with OK and without the end was a real end."""
        return requests.job(self._job_id)

    def confirm_end(self, answer: GetJobResponse) -> None:
        """Check whether the job has ended with the last event that was seen."""
        self._ended = answer.job.state in TERMINAL and answer.job.last_sequence <= self._last


def late(job_id: int, timeout: float | None, status: str = "") -> TimedOut:
    """Return the error of a job that was not waited for any longer."""
    after = "in time" if timeout is None else f"after {timeout:g} s"
    return TimedOut(f"job {job_id} has not ended {after}; it goes on", status=status)
