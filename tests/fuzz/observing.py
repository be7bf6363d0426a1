# SPDX-License-Identifier: Apache-2.0
"""The read-only half of the state machine: compare every view of jobs, results and deployments with the model."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import result_service_pb2 as result_service
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.result_pb2 import Result
from qonduit_client.job_filters import quoted
from qonduit_server.lifecycle import FAILED, QUEUED, SUCCEEDED
from tests.contract.rpc_fixture import CALLER_KEY, RpcFixture, programs, refused
from tests.fuzz.model import Program, StoredDeployment, StoredJob, entry

_WAIT: Final = 100.0
_numbers: Final = itertools.count(1)
#: An index into a list of the model, modulo its length.
WHICH: Final = st.integers(0, 20)
NAMES: Final = st.sampled_from([None, "", "one", 'a "b" \\ é'])


class Clock:
    """A clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


class Follower:
    """A stream that stays open while other rules run."""

    def __init__(self, call: Any, job: StoredJob, position: int) -> None:
        self.call = call
        self.job = job
        self.position = position


class Observer(RuleBasedStateMachine):
    """The model, and the rules that read the server.

    Args:
        server: the server.
        clock: the server's clock.
    """

    def __init__(self, server: RpcFixture, clock: Clock) -> None:
        super().__init__()
        self.server = server
        self.clock = clock
        self.number = next(_numbers)
        self.jobs: list[StoredJob] = []
        self.gone: list[StoredJob] = []
        self.deployments: list[StoredDeployment] = []
        self.tasks: dict[int, Task] = {}
        self.followers: list[Follower] = []
        self.program_ids: set[int] = set()
        self.texts = itertools.count(1)

    # Calling.

    def call(self, method: Any, request: Any, who: str = "") -> Any:
        """Make a call as this run's caller."""
        return method(request, timeout=_WAIT, metadata=[(CALLER_KEY, who or f"machine-{self.number}")])

    def listed(self, method: Any, asked: Any, field: str) -> list[Any]:
        """All pages of a list, put together."""
        found: list[Any] = []
        while True:
            page = self.call(method, asked)
            items = getattr(page, field)
            assert len(items) <= (asked.page_size or 50)
            found += items
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    def refused(self, code: str, method: Any, request: Any, who: str = "") -> None:
        """Make a call that the server must refuse."""

        def first() -> None:
            answer = self.call(method, request, who)
            if hasattr(answer, "cancel"):
                next(answer)

        assert refused(first)[0] == code

    def pick(self, which: int, among: list[Any]) -> Any:
        return among[which % len(among)]

    def sources(self, count: int) -> Deployment:
        """Return a deployment of programs with texts not used before."""
        return programs(*(f"OPENQASM 2.0; // {self.number}.{next(self.texts)}" for _ in range(count)))

    def known(self, got: Deployment) -> list[Program]:
        """Return the programs of a deployment just created or updated; assert that their ids are new."""
        found = [Program(each.id, each.quantum_circuit) for each in got.programs]
        ids = {each.id for each in found}
        assert len(ids) == len(found)
        assert not ids & self.program_ids
        self.program_ids |= ids
        return found

    def check_deployment(self, stored: StoredDeployment, got: Deployment) -> None:
        assert got.id == stored.id
        assert (got.name if got.HasField("name") else None) == stored.name
        assert [Program(each.id, each.quantum_circuit) for each in got.programs] == stored.programs
        assert all(each.deployment_id == stored.id for each in got.programs)

    # Jobs.

    def check_job(self, job: StoredJob, got: Job) -> None:
        """Compare a received job with the model."""
        assert (got.id, got.shots, got.deployment_id) == (job.id, job.shots, job.deployment.id)
        assert (got.name if got.HasField("name") else None) == job.name
        assert (got.state, got.attempt, got.progress) == (job.state, job.attempt, job.progress)
        assert got.last_sequence == len(job.entries)
        assert [run.program_id for run in got.program_runs] == [each.id for each in job.programs]
        assert [run.state for run in got.program_runs] == job.runs
        assert [len(run.result_ids) for run in got.program_runs] == [run == SUCCEEDED for run in job.runs]
        assert got.HasField("started_at") == (job.attempt > 0)
        assert got.HasField("finished_at") == job.ended
        assert got.HasField("failure") == (job.state == FAILED)

    def check(self, job: StoredJob, page_size: int = 0) -> None:
        """Read a job by every method and compare."""
        got = self.call(self.server.jobs.GetJob, job_service.GetJobRequest(id=job.id)).job
        self.check_job(job, got)
        asked = job_service.ListJobEventsRequest(job_id=job.id, page_size=page_size)
        events: list[JobEvent] = self.listed(self.server.jobs.ListJobEvents, asked, "events")
        assert [event.sequence for event in events] == list(range(1, len(job.entries) + 1))
        assert [entry(event) for event in events] == job.entries
        times = [event.event_time.ToNanoseconds() for event in events]
        assert times == sorted(times)
        assert all(event.job_id == job.id for event in events)
        if job.ended:
            ended = Job()
            ended.CopyFrom(got)
            ended.ClearField("inputs")  # only the first event has them: they never change
            assert events[-1].state_change.job == ended
            assert events[0].created.inputs == got.inputs
        self.check_results(job, got, page_size)

    def check_results(self, job: StoredJob, got: Job, page_size: int) -> None:
        """Results are in program order, one for each program that ran, and never change."""
        asked = result_service.ListResultsRequest(job_id=job.id, page_size=page_size)
        found: list[Result] = self.listed(self.server.results.ListResults, asked, "results")
        assert [each.id for each in found] == [id for run in got.program_runs for id in run.result_ids]
        ran = [each.id for each, run in zip(job.programs, job.runs, strict=True) if run == SUCCEEDED]
        assert [each.program_id for each in found] == ran
        for each in found:
            one = self.call(self.server.results.GetResult, result_service.GetResultRequest(id=each.id)).result
            assert one == each
            data = each.SerializeToString(deterministic=True)
            assert job.results.setdefault(each.id, data) == data

    def check_gone(self, job: StoredJob) -> None:
        """Every method answers NOT_FOUND for a deleted job and for another caller's."""
        self.refused("NOT_FOUND", self.server.jobs.GetJob, job_service.GetJobRequest(id=job.id))
        self.refuse_all(job, "")

    def refuse_all(self, job: StoredJob, who: str) -> None:
        jobs, results = self.server.jobs, self.server.results
        self.refused("NOT_FOUND", jobs.CancelJob, job_service.CancelJobRequest(id=job.id), who)
        self.refused("NOT_FOUND", jobs.DeleteJob, job_service.DeleteJobRequest(id=job.id), who)
        self.refused("NOT_FOUND", jobs.RerunJob, job_service.RerunJobRequest(id=job.id), who)
        self.refused("NOT_FOUND", jobs.WatchJob, job_service.WatchJobRequest(job_id=job.id), who)
        self.refused("NOT_FOUND", jobs.ListJobEvents, job_service.ListJobEventsRequest(job_id=job.id), who)
        self.refused("NOT_FOUND", results.ListResults, result_service.ListResultsRequest(job_id=job.id), who)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH, page_size=st.integers(0, 3))
    def check_one(self, which: int, page_size: int) -> None:
        self.check(self.pick(which, self.jobs), page_size)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH)
    def another_caller(self, which: int) -> None:
        """Another caller cannot see or change a job."""
        job: StoredJob = self.pick(which, self.jobs)
        self.refuse_all(job, "stranger")
        for id in job.results:
            self.refused("NOT_FOUND", self.server.results.GetResult, result_service.GetResultRequest(id=id), "stranger")
        asked = deployment_service.GetDeploymentRequest(id=job.deployment.id)
        self.refused("NOT_FOUND", self.server.deployments.GetDeployment, asked, "stranger")
        assert not self.call(self.server.jobs.ListJobs, job_service.ListJobsRequest(), "stranger").jobs
        self.check(job)

    # Lists.

    @rule(page_size=st.integers(0, 4), by=st.sampled_from(["", "state", "name", "deployment_id", "both"]), which=WHICH)
    def list_jobs(self, page_size: int, by: str, which: int) -> None:
        """Lists are newest first, complete, without duplicates, and current."""
        like: StoredJob | None = self.pick(which, self.jobs) if self.jobs and by else None
        state = like.state if like else QUEUED
        wanted, filter = self.jobs, ""
        if like is not None and by == "name":
            wanted, filter = (
                [job for job in self.jobs if job.name == (like.name or "")],
                f"name = {quoted(like.name or '')}",
            )
        elif like is not None and by != "state":
            wanted = [job for job in self.jobs if job.deployment is like.deployment]
            filter = f"deployment_id = {like.deployment.id}"
        if like is not None and by in ("state", "both"):
            wanted = [job for job in wanted if job.state == state]
            filter += f"{' AND ' if filter else ''}state = {JobState.Name(state).removeprefix('JOB_STATE_')}"
        asked = job_service.ListJobsRequest(page_size=page_size, filter=filter)
        found: list[Job] = self.listed(self.server.jobs.ListJobs, asked, "jobs")
        assert [job.id for job in found] == [job.id for job in reversed(wanted)]
        for job, got in zip(reversed(wanted), found, strict=True):
            self.check_job(job, got)

    @rule(page_size=st.integers(0, 3), name=NAMES)
    def list_deployments(self, page_size: int, name: str | None) -> None:
        """Lists are newest first, complete and without duplicates."""
        wanted = [each for each in self.deployments if name is None or each.name == name]
        filter = "" if name is None else f"name = {quoted(name)}"
        asked = deployment_service.ListDeploymentsRequest(page_size=page_size, filter=filter)
        found: list[Deployment] = self.listed(self.server.deployments.ListDeployments, asked, "deployments")
        assert [each.id for each in found] == [each.id for each in reversed(wanted)]
        for stored, got in zip(reversed(wanted), found, strict=True):
            self.check_deployment(stored, got)

    # Streams.

    def watch(self, job: StoredJob, after: int) -> Follower:
        asked = job_service.WatchJobRequest(job_id=job.id, after_sequence=after)
        return Follower(self.call(self.server.jobs.WatchJob, asked), job, after)

    def read(self, follower: Follower, *, most: int = 1_000_000, leave: bool = False) -> bool:
        """Read the available events, each once and in order; return whether the stream has ended.

        The stream of a job deleted meanwhile may end early, with NOT_FOUND.
        """
        job = follower.job
        deleted = job not in self.jobs
        try:
            while follower.position < len(job.entries) and most:
                event = next(follower.call).event
                if event.HasField("heartbeat"):
                    assert event.heartbeat.last_sequence == follower.position
                    continue
                assert event.sequence == follower.position + 1
                assert entry(event) == job.entries[follower.position]
                follower.position += 1
                most -= 1
            if follower.position == len(job.entries) and (job.ended or deleted):
                # It ends with OK if and only if the terminal event was sent.
                for response in follower.call:
                    assert response.event.HasField("heartbeat")
                assert follower.call.code() is grpc.StatusCode.OK
                assert job.ended
                return True
        except grpc.RpcError as error:
            if not deleted or error.code() is not grpc.StatusCode.NOT_FOUND:  # type: ignore[attr-defined]
                raise
            return True
        if leave:
            follower.call.cancel()
        return leave

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH, after=st.integers(0, 12), most=st.integers(0, 6))
    def watch_a_while(self, which: int, after: int, most: int) -> None:
        """Watch from any event, cancel the stream midway, and resume after the last event received."""
        job: StoredJob = self.pick(which, self.jobs)
        if after > len(job.entries):
            asked = job_service.WatchJobRequest(job_id=job.id, after_sequence=after)
            self.refused("INVALID_ARGUMENT", self.server.jobs.WatchJob, asked)
            return
        follower = self.watch(job, after)
        if after == len(job.entries) and not job.ended:
            assert next(follower.call).event.heartbeat.last_sequence == after
        if not self.read(follower, most=most, leave=True):
            raise AssertionError("an abandoned stream continues")
        self.read(self.watch(job, follower.position), leave=True)

    @precondition(lambda self: self.jobs and len(self.followers) < 4)
    @rule(which=WHICH, after=st.integers(0, 3))
    def follow(self, which: int, after: int) -> None:
        """Leave a stream open while other rules run."""
        job: StoredJob = self.pick(which, self.jobs)
        self.followers.append(self.watch(job, min(after, len(job.entries))))

    @precondition(lambda self: self.followers)
    @rule(which=WHICH)
    def catch_up(self, which: int) -> None:
        """Read the events of an open stream."""
        follower = self.pick(which, self.followers)
        if self.read(follower):
            self.followers.remove(follower)

    def teardown(self) -> None:
        """Check everything once more, and delete all objects of this run."""
        try:
            for follower in self.followers:
                self.read(follower, leave=True)
            for job in self.jobs:
                self.check(job)
            for job in self.gone:
                self.check_gone(job)
            self.list_jobs(2, "", 0)
            self.list_deployments(2, None)
        finally:
            self.clear()

    def clear(self) -> None:
        """Leave no active job; subclasses override it."""
