# SPDX-License-Identifier: Apache-2.0
"""A handle on one job: follow its events across broken connections, wait for it, read its results, cancel it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2 import (
    CancelJobRequest,
    CancelJobResponse,
    GetJobRequest,
    GetJobResponse,
    WatchJobRequest,
    WatchJobResponse,
)
from qonduit.v1.result_service_pb2 import ListResultsRequest, ListResultsResponse
from qonduit_client.errors import JobCancelled, JobFailed, QonduitError, ServerUnavailable, TimedOut
from qonduit_client.result import Result
from qonduit_client.retry import Attempts, may_resume
from qonduit_client.transport import Transport

TERMINAL: Final = frozenset((JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED))


class JobHandle:
    """One job on a server.

    Attributes:
        id: its id.
        request_id: the request id it was submitted with; empty for a job that was looked up.
        deduplicated: whether the request id had been used before and this is the job it made.
    """

    def __init__(
        self,
        transport: Transport,
        job_id: int,
        *,
        known: Job | None = None,
        request_id: str = "",
        deduplicated: bool = False,
    ) -> None:
        self.id = job_id
        self.request_id = request_id
        self.deduplicated = deduplicated
        self._transport = transport
        self._known = known

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} at {self._transport.target}>"

    @property
    def clock(self) -> Callable[[], float]:
        """The clock by which timeouts are told: seconds that only grow."""
        return self._transport.retry.clock

    def job(self) -> Job:
        """Asks the server for the job as it is now."""
        answer = self._transport.call("JobService/GetJob", GetJobRequest(id=self.id), GetJobResponse, safe=True)
        self._known = answer.job
        return answer.job

    @property
    def status(self) -> str:
        """The job's state as it is now: "QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED" or "CANCELLED"."""
        return state_name(self.job().state)

    def events(self, *, after_sequence: int = 0, timeout: float | None = None) -> Iterator[JobEvent]:
        """Yields what has happened and what happens, each event once and in order, until the job has ended.

        A stream that breaks is resumed after the last event, as often as it takes, as long as the server comes back
        within the client's timeout. Heartbeats are not shown. Leaving the loop early leaves the job alone.

        Args:
            after_sequence: leaves out the events up to this one.
            timeout: seconds until `TimedOut`; by default there is no end.

        Raises:
            NotFound: there is no such job, or it was deleted meanwhile.
            TimedOut: the job had not ended by then. It goes on.
            ServerUnavailable: the server did not come back.
        """
        clock = self._transport.retry.clock
        deadline = None if timeout is None else clock() + timeout
        attempts = Attempts(self._transport.retry)
        last = after_sequence
        while True:
            broken: QonduitError | None = None
            stream = self._transport.stream(
                "JobService/WatchJob",
                WatchJobRequest(job_id=self.id, after_sequence=last),
                WatchJobResponse,
                timeout=None if deadline is None else max(0.0, deadline - clock()),
            )
            try:
                for response in stream:
                    attempts.went_well()
                    event = response.event
                    if event.sequence <= last:  # a heartbeat, which has none, or one that was seen
                        continue
                    last = event.sequence
                    self._learn(event)
                    yield event
                    if event.state_change.to_state in TERMINAL:
                        return
            except TimedOut as late:
                after = "in time" if timeout is None else f"after {timeout:g} s"
                raise TimedOut(f"job {self.id} has not ended {after}; it goes on", status=late.status) from None
            except QonduitError as error:
                if not may_resume(error):
                    raise
                broken = error
            finally:
                stream.close()
            if broken is None:
                # Ended with OK, yet the end was not seen: either the caller has it already, or this was no real end.
                job = self.job()
                if job.state in TERMINAL and job.last_sequence <= last:
                    return
                broken = ServerUnavailable(f"the stream of job {self.id} ended early", status="UNAVAILABLE")
            attempts.wait(broken, self._transport.patience, deadline)

    def wait(self, timeout: float | None = None) -> Job:
        """Waits until the job has ended and returns it, however it ended.

        Raises:
            TimedOut: it had not ended by then. It goes on.
        """
        job = self._known if self._known is not None else self.job()
        if job.state not in TERMINAL:
            for event in self.events(after_sequence=job.last_sequence, timeout=timeout):
                if event.state_change.to_state in TERMINAL:
                    return event.state_change.job
            job = self.job()
        return job

    def results(self, timeout: float | None = None) -> list[Result]:
        """Waits for the job and returns one result a program, in the order of its programs.

        What else a program gave (its statevector, where the job asks for it) is told by the same result.

        Raises:
            JobFailed: the job failed. `stored_results` has those of the programs that ran.
            JobCancelled: the job was cancelled.
            TimedOut: it had not ended by then. It goes on.
        """
        job = self.wait(timeout)
        if job.state == JobState.JOB_STATE_FAILED:
            raise JobFailed(job.failure, job)
        if job.state == JobState.JOB_STATE_CANCELLED:
            raise JobCancelled(job)
        of_program: dict[int, Result] = {}
        found: list[Result] = []
        for each in self.stored_results():
            if each.message.HasField("statevector") and each.program_id in of_program:
                of_program[each.program_id].further.append(each)
            else:
                of_program[each.program_id] = each
                found.append(each)
        return found

    def result(self, timeout: float | None = None) -> Result:
        """Waits for a job of one program and returns its result.

        Raises:
            ValueError: the job has several results: use `results`.
            JobFailed, JobCancelled, TimedOut: as in `results`.
        """
        results = self.results(timeout)
        if len(results) != 1:
            raise ValueError(f"job {self.id} has {len(results)} results; use results()")
        return results[0]

    def stored_results(self) -> list[Result]:
        """Returns all results there are now, without waiting and however the job fares."""
        found: list[Result] = []
        token = ""
        while True:
            page = self._transport.call(
                "ResultService/ListResults",
                ListResultsRequest(job_id=self.id, page_size=1000, page_token=token),
                ListResultsResponse,
                safe=True,
            )
            found += [Result(message, self._transport) for message in page.results]
            token = page.next_page_token
            if not token:
                return found

    def cancel(self) -> Job:
        """Asks for the job to be cancelled; returns it as CANCELLING, or as it is when it has ended."""
        request = CancelJobRequest(id=self.id)  # safe: a second cancel changes nothing
        answer = self._transport.call("JobService/CancelJob", request, CancelJobResponse, safe=True)
        self._known = answer.job
        return answer.job

    def _learn(self, event: JobEvent) -> None:
        if event.HasField("created"):
            self._known = self._known or event.created
        elif event.HasField("state_change") and event.state_change.HasField("job"):
            self._known = event.state_change.job


def state_name(state: int) -> str:
    """The short name of a job state; "STATE_<n>" for one that this client does not know yet."""
    if state not in JobState.values():
        return f"STATE_{state}"
    return JobState.Name(state).removeprefix("JOB_STATE_")
