# SPDX-License-Identifier: Apache-2.0
"""A state machine that calls a gRPC server as callers and workers may, and compares each response with a model.

    Machine   the rules that change state, here
    Observer  the read-only rules and all comparisons (observing.py)
    StoredJob the expected state (model.py)

The test acts as the dispatcher; its clock advances only to expire leases. Each run has its own caller,
so that runs share a server without seeing each other's jobs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramStarted,
    ProgramSucceeded,
    TaskEvent,
    TaskFinished,
    TaskProgress,
)
from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import result_service_pb2 as result_service
from qonduit.v1.job_pb2 import Job
from qonduit_client.job_filters import quoted
from qonduit_server.lifecycle import QUEUED, RUNNING, TERMINAL
from qonduit_server.store.jobs import queue
from tests import store_fixture
from tests.fuzz.model import CANCELLED_REASON, Program, StoredDeployment, StoredJob
from tests.fuzz.observing import NAMES, WHICH, Follower, Observer

DEVICE: Final = "IBM/aer_simulator"
OWNER: Final = "machine"
LEASE: Final = timedelta(minutes=5)
REQUEST_IDS: Final = st.sampled_from(["", "", *(str(uuid.UUID(int=number)) for number in (1, 2))])


class Machine(Observer):
    """The rules that change state; `Observer` has the read-only ones."""

    # Deployments.

    @initialize()
    def objects_exist(self) -> None:
        self.create_deployment(1, "one", "")

    @rule(count=st.integers(1, 3), name=NAMES, request_id=REQUEST_IDS)
    def create_deployment(self, count: int, name: str | None, request_id: str) -> None:
        """A repeated request id returns the deployment in its current state, or is refused."""
        first = next((each for each in self.deployments if request_id and each.request_id == request_id), None)
        made = self.sources(count)
        if first is not None and count == 1:
            made = first.body
        elif name is not None:
            made.name = name
        request = deployment_service.CreateDeploymentRequest(deployment=made, request_id=request_id)
        if first is not None and made != first.body:
            self.refused("ALREADY_EXISTS", self.server.deployments.CreateDeployment, request)
            return
        got = self.call(self.server.deployments.CreateDeployment, request).deployment
        if first is None:
            first = StoredDeployment(got.id, made.name if made.HasField("name") else None, self.known(got))
            first.request_id, first.body = request_id, made
            assert [each.text for each in first.programs] == [each.quantum_circuit for each in made.programs]
            self.deployments.append(first)
        self.check_deployment(first, got)

    @precondition(lambda self: self.deployments)
    @rule(which=WHICH, name=NAMES, count=st.integers(0, 2), masked=st.booleans())
    def update_deployment(self, which: int, name: str | None, count: int, masked: bool) -> None:
        """New programs are new rows; existing jobs keep the old ones."""
        stored: StoredDeployment = self.pick(which, self.deployments)
        request = deployment_service.UpdateDeploymentRequest(deployment=self.sources(count))
        request.deployment.id = stored.id
        if name is not None:
            request.deployment.name = name
        if masked:
            request.update_mask.paths.extend(["name", "programs"] if count else ["name"])
        got = self.call(self.server.deployments.UpdateDeployment, request).deployment
        if masked or name is not None:
            stored.name = name
        if count:
            stored.programs = self.known(got)
        self.check_deployment(stored, got)

    @precondition(lambda self: self.deployments)
    @rule(which=WHICH)
    def delete_deployment(self, which: int) -> None:
        """A deployment is deleted only if no job refers to it."""
        stored: StoredDeployment = self.pick(which, self.deployments)
        request = deployment_service.DeleteDeploymentRequest(id=stored.id)
        if any(job.deployment is stored for job in self.jobs):
            self.refused("FAILED_PRECONDITION", self.server.deployments.DeleteDeployment, request)
            return
        self.call(self.server.deployments.DeleteDeployment, request)
        self.deployments.remove(stored)
        self.refused("NOT_FOUND", self.server.deployments.DeleteDeployment, request)
        self.refused(
            "NOT_FOUND", self.server.deployments.GetDeployment, deployment_service.GetDeploymentRequest(id=stored.id)
        )

    # Submitting.

    @rule(
        run=st.booleans(), name=NAMES, count=st.integers(0, 2), which=WHICH, request_id=REQUEST_IDS,
        other=st.integers(0, 3), only_validate=st.sampled_from([False] * 5 + [True]),
    )  # fmt: skip
    def submit(
        self, run: bool, name: str | None, count: int, which: int, request_id: str, other: int, only_validate: bool
    ) -> None:
        """CreateJob or RunJob, with inline or stored programs, for the first time or repeated."""
        method = "RunJob" if run else "CreateJob"
        kind = job_service.RunJobRequest if run else job_service.CreateJobRequest
        first = self.job_of_request(method, request_id)
        request: Any = kind(job=Job(shots=10, name=name), device=DEVICE, request_id=request_id)
        stored = self.pick(which, self.deployments) if self.deployments and not count else None
        if stored is not None:
            request.job.deployment_id = stored.id
        else:
            request.deployment.CopyFrom(self.sources(max(count, 1)))
        if first is not None and other:
            request = kind.FromString(first.body)
        body = request.SerializeToString()
        if only_validate:
            request.validate_only = True
            got = self.call(self.server.jobs.RunJob, request) if run else None
            job = next(got).event.created if got else self.call(self.server.jobs.CreateJob, request).job
            assert (job.id, job.state) == (0, QUEUED)
            return
        if first is not None and body != first.body:
            self.refused("ALREADY_EXISTS", getattr(self.server.jobs, method), request)
            return
        if run:
            request.after_sequence = min(which, len(first.entries)) if first else 0
            stream = self.call(self.server.jobs.RunJob, request)
            if first is None:
                created = next(stream).event
                assert created.sequence == 1
                self.made(created.created, stored, method, request_id, body, request)
                stream.cancel()
            else:
                self.read(Follower(stream, first, request.after_sequence), leave=True)
        else:
            answer = self.call(self.server.jobs.CreateJob, request)
            assert answer.deduplicated == (first is not None)
            if first is None:
                self.made(answer.job, stored, method, request_id, body, request)
            else:
                self.check_job(first, answer.job)

    def job_of_request(self, method: str, request_id: str) -> StoredJob | None:
        """Return the job created under a request id, or None if it was deleted."""
        found = (job for job in self.jobs if request_id and (job.method, job.request_id) == (method, request_id))
        return next(found, None)

    def made(
        self, got: Job, stored: StoredDeployment | None, method: str, request_id: str, body: Any, request: Any
    ) -> None:
        """Record a new job and its inline deployment."""
        if stored is None:
            asked = deployment_service.GetDeploymentRequest(id=got.deployment_id)
            deployment = self.call(self.server.deployments.GetDeployment, asked).deployment
            stored = StoredDeployment(deployment.id, None, self.known(deployment))
            assert [each.text for each in stored.programs] == [p.quantum_circuit for p in request.deployment.programs]
            self.deployments.append(stored)
        name = request.job.name if request.job.HasField("name") else None
        job = StoredJob(got.id, name, 10, stored, list(stored.programs), method, request_id, body)
        assert not self.jobs or job.id > self.jobs[-1].id
        self.jobs.append(job)
        self.check_job(job, got)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH, request_id=REQUEST_IDS)
    def rerun(self, which: int, request_id: str) -> None:
        """A rerun uses the job's programs, even if its deployment has changed."""
        source: StoredJob = self.pick(which, self.jobs)
        request = job_service.RerunJobRequest(id=source.id, request_id=request_id)
        first = self.job_of_request("RerunJob", request_id)
        if first is not None and first.body != source.id:
            self.refused("ALREADY_EXISTS", self.server.jobs.RerunJob, request)
            return
        answer = self.call(self.server.jobs.RerunJob, request)
        assert answer.deduplicated == (first is not None)
        if first is None:
            first = StoredJob(
                answer.job.id, source.name, source.shots, source.deployment, list(source.programs),
                "RerunJob", request_id, source.id,
            )  # fmt: skip
            self.jobs.append(first)
        self.check_job(first, answer.job)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        """A job may be cancelled in every state; an ended one does not change."""
        job: StoredJob = self.pick(which, self.jobs)
        answer = self.call(self.server.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        job.cancel()
        self.check_job(job, answer.job)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """Only an ended job is deleted, with its events and results."""
        job: StoredJob = self.pick(which, self.jobs)
        request = job_service.DeleteJobRequest(id=job.id)
        if not job.ended:
            self.refused("FAILED_PRECONDITION", self.server.jobs.DeleteJob, request)
            self.check(job)
            return
        found = self.call(self.server.jobs.GetJob, job_service.GetJobRequest(id=job.id)).job.program_runs
        self.call(self.server.jobs.DeleteJob, request)
        self.jobs.remove(job)
        self.gone.append(job)
        for run in found:
            for result_id in run.result_ids:
                self.refused("NOT_FOUND", self.server.results.GetResult, result_service.GetResultRequest(id=result_id))
        self.check_gone(job)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH, by=st.sampled_from(["deployment_id", "name"]), only_count=st.booleans(), cancels=st.booleans())
    def change_matching(self, which: int, by: str, only_count: bool, cancels: bool) -> None:
        """CancelJobs and DeleteJobs change the matching jobs in some states, state by state, the newest first."""
        like: StoredJob = self.pick(which, self.jobs)
        if by == "name":
            filter = "NOT name:*" if like.name is None else f"name = {quoted(like.name)}"
        else:
            filter = f"deployment_id = {like.deployment.id}"
        matching = [
            job
            for job in reversed(self.jobs)
            if (job.name == like.name if by == "name" else job.deployment is like.deployment)
        ]
        states = (QUEUED, RUNNING) if cancels else tuple(sorted(TERMINAL))
        expected = [job for state in states for job in matching if job.state == state]
        kind = job_service.CancelJobsRequest if cancels else job_service.DeleteJobsRequest
        method = self.server.jobs.CancelJobs if cancels else self.server.jobs.DeleteJobs
        answer = self.call(method, kind(filter=filter, validate_only=only_count))
        assert list(answer.job_ids) == [job.id for job in expected]
        assert (answer.count, answer.next_page_token) == (len(expected), "")
        if only_count:
            return
        for job in expected:
            if cancels:
                job.cancel()
                self.check(job)
            else:
                self.jobs.remove(job)
                self.gone.append(job)

    # Dispatching.

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        """The oldest jobs are claimed first, with the programs they were created with."""
        waiting = [job for job in self.jobs if job.state == QUEUED][:most]
        tasks = queue.claim(self.server.db, OWNER, {"IBM": most}, LEASE)
        assert [task.job_id for task in tasks] == [job.id for job in waiting]
        for job, task in zip(waiting, tasks, strict=True):
            job.claim()
            assert task.attempt == job.attempt
            assert [Program(each.program_id, each.text) for each in task.programs] == job.programs
            self.tasks[job.id] = task

    @precondition(lambda self: any(job.state == QUEUED for job in self.jobs))
    @rule(reason=st.sampled_from(["", "TIME_LIMIT"]))
    def work(self, reason: str) -> None:
        """Claim queued jobs and run one to its end, as a dispatcher mostly does."""
        self.claim(20)
        self.program(1, 0, "start")
        self.advance(1, 0.5)
        self.finish(1, reason, not reason)

    @precondition(lambda self: any(job.state == QUEUED for job in self.jobs))
    @rule(lost=st.booleans())
    def work_until_cancelled(self, lost: bool) -> None:
        """Cancel a running job: its worker reports the cancellation, or is lost meanwhile."""
        self.claim(20)
        job = self.running_job(1)
        self.program(1, 0, "succeed")
        self.call(self.server.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        job.cancel()
        self.check(job)
        if lost:
            self.pass_time(True)
        else:
            self.finish(1, CANCELLED_REASON, False)

    def record(self, job: StoredJob, note: Callable[[], None], **what: Any) -> None:
        """Record a worker's event; an event of an earlier attempt changes nothing."""
        task = self.tasks[job.id]
        refused = queue.record(self.server.db, OWNER, [TaskEvent(job_id=job.id, attempt=task.attempt, **what)])
        if job.leased and task.attempt == job.attempt and job in self.jobs:
            assert not refused
            note()
        else:
            assert refused == {(job.id, task.attempt)}

    def running_job(self, which: int) -> StoredJob:
        """Return a running job; sometimes one that was lost, ended or deleted meanwhile."""
        if which % 4 and (leased := [job for job in self.jobs if job.leased]):
            return self.pick(which, leased)  # type: ignore[no-any-return]
        return self.pick(which, [job for job in (*self.jobs, *self.gone) if job.id in self.tasks])  # type: ignore[no-any-return]

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, progress=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -1.0, float("nan")]))
    def advance(self, which: int, progress: float) -> None:
        job = self.running_job(which)
        self.record(job, lambda: job.advance(progress), progress=TaskProgress(progress=progress))

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, index=st.integers(0, 2), what=st.sampled_from(["start", "succeed", "succeed", "fail"]))
    def program(self, which: int, index: int, what: str) -> None:
        job = self.running_job(which)
        index %= len(job.programs)
        changes: dict[str, Any] = {
            "start": {"program_started": ProgramStarted(index=index)},
            "succeed": {"program_succeeded": ProgramSucceeded(index=index, result=store_fixture.result(f"0x{index}"))},
            "fail": {"program_failed": ProgramFailed(index=index, failure=store_fixture.failure("SYNTAX_ERROR"))},
        }
        self.record(job, lambda: getattr(job, what)(index), **changes[what])

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, reason=st.sampled_from(["", "", "", "TIME_LIMIT", CANCELLED_REASON]), after_all=st.booleans())
    def finish(self, which: int, reason: str, after_all: bool) -> None:
        job = self.running_job(which)
        if after_all:
            for index in range(len(job.programs)):
                self.program(which, index, "succeed")
        failure = store_fixture.failure(reason) if reason else None
        self.record(job, lambda: job.finish(reason), finished=TaskFinished(failure=failure))

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        """A dispatcher releases a job, possibly one that it no longer owns."""
        job = self.running_job(which)
        attempt = self.tasks[job.id].attempt
        queue.release(self.server.db, OWNER, {(job.id, attempt): None}, "the worker died")
        if job.leased and attempt == job.attempt and job in self.jobs:
            job.requeue()

    @rule(lost=st.booleans())
    def pass_time(self, lost: bool) -> None:
        """Advance the clock; leases expire if `lost`."""
        if not lost:
            self.clock.now += timedelta(seconds=1)
            queue.renew(self.server.db, OWNER, LEASE)
            assert queue.expire(self.server.db) == 0
            return
        self.clock.now += LEASE + timedelta(seconds=1)
        leased = [job for job in self.jobs if job.leased]
        assert queue.expire(self.server.db) == len(leased)
        for job in leased:
            job.requeue()

    def clear(self) -> None:
        for job in self.jobs:
            self.call(self.server.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        self.clock.now += 2 * LEASE
        queue.expire(self.server.db)
