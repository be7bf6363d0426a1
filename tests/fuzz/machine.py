# SPDX-License-Identifier: Apache-2.0
"""A state machine that calls a gRPC server as callers and workers may, and compares each response with a model.

    Machine   the rules that change something, here
    Observer  the rules that only read, and all comparing (observing.py)
    StoredJob what must be true (model.py)

The test plays the dispatcher, and its clock stands still until a lease is to run out. Each run has a caller of its own,
so that runs share a server and see nothing of each other.
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
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store.jobs import queue
from tests import store_fixture
from tests.fuzz.model import CANCELLED_REASON, Program, StoredDeployment, StoredJob
from tests.fuzz.observing import NAMES, WHICH, Follower, Observer

DEVICE: Final = "IBM/aer_simulator"
OWNER: Final = "machine"
LEASE: Final = timedelta(minutes=5)
REQUEST_IDS: Final = st.sampled_from(["", "", *(str(uuid.UUID(int=number)) for number in (1, 2))])


class Machine(Observer):
    """The rules that change something; those that read are the observer's."""

    # Deployments.

    @initialize()
    def something_is_there(self) -> None:
        self.create_deployment(1, "one", "")

    @rule(count=st.integers(1, 3), name=NAMES, request_id=REQUEST_IDS)
    def create_deployment(self, count: int, name: str | None, request_id: str) -> None:
        """A request id that was used before gives what it made, as it is now, or a refusal."""
        first = next((each for each in self.deployments if request_id and each.request_id == request_id), None)
        made = self.sources(count)
        if first is not None and count == 1:
            made = first.body
        elif name is not None:
            made.name = name
        request = deployment_service.CreateDeploymentRequest(deployment=made, request_id=request_id)
        if first is not None and made != first.body:
            self.refused("ALREADY_EXISTS", self.house.deployments.CreateDeployment, request)
            return
        got = self.call(self.house.deployments.CreateDeployment, request).deployment
        if first is None:
            first = StoredDeployment(got.id, made.name if made.HasField("name") else None, self.known(got))
            first.request_id, first.body = request_id, made
            assert [each.text for each in first.programs] == [each.quantum_circuit for each in made.programs]
            self.deployments.append(first)
        self.check_deployment(first, got)

    @precondition(lambda self: self.deployments)
    @rule(which=WHICH, name=NAMES, count=st.integers(0, 2), masked=st.booleans())
    def update_deployment(self, which: int, name: str | None, count: int, masked: bool) -> None:
        """New programs are new rows; what ran keeps the old ones."""
        stored: StoredDeployment = self.pick(which, self.deployments)
        request = deployment_service.UpdateDeploymentRequest(deployment=self.sources(count))
        request.deployment.id = stored.id
        if name is not None:
            request.deployment.name = name
        if masked:
            request.update_mask.paths.extend(["name", "programs"] if count else ["name"])
        got = self.call(self.house.deployments.UpdateDeployment, request).deployment
        if masked or name is not None:
            stored.name = name
        if count:
            stored.programs = self.known(got)
        self.check_deployment(stored, got)

    @precondition(lambda self: self.deployments)
    @rule(which=WHICH)
    def delete_deployment(self, which: int) -> None:
        """Only one that no job refers to goes."""
        stored: StoredDeployment = self.pick(which, self.deployments)
        request = deployment_service.DeleteDeploymentRequest(id=stored.id)
        if any(job.deployment is stored for job in self.jobs):
            self.refused("FAILED_PRECONDITION", self.house.deployments.DeleteDeployment, request)
            return
        self.call(self.house.deployments.DeleteDeployment, request)
        self.deployments.remove(stored)
        self.refused("NOT_FOUND", self.house.deployments.DeleteDeployment, request)
        self.refused(
            "NOT_FOUND", self.house.deployments.GetDeployment, deployment_service.GetDeploymentRequest(id=stored.id)
        )

    # Submitting.

    @rule(
        run=st.booleans(), name=NAMES, count=st.integers(0, 2), which=WHICH, request_id=REQUEST_IDS,
        other=st.integers(0, 3), only_validate=st.sampled_from([False] * 5 + [True]),
    )  # fmt: skip
    def submit(
        self, run: bool, name: str | None, count: int, which: int, request_id: str, other: int, only_validate: bool
    ) -> None:
        """CreateJob or RunJob: with programs of its own or stored ones, for the first time or again."""
        method = "RunJob" if run else "CreateJob"
        kind = job_service.RunJobRequest if run else job_service.CreateJobRequest
        first = self.of_request(method, request_id)
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
            got = self.call(self.house.jobs.RunJob, request) if run else None
            job = next(got).event.created if got else self.call(self.house.jobs.CreateJob, request).job
            assert (job.id, job.state) == (0, QUEUED)
            return
        if first is not None and body != first.body:
            self.refused("ALREADY_EXISTS", getattr(self.house.jobs, method), request)
            return
        if run:
            request.after_sequence = min(which, len(first.said)) if first else 0
            stream = self.call(self.house.jobs.RunJob, request)
            if first is None:
                created = next(stream).event
                assert created.sequence == 1
                self.made(created.created, stored, method, request_id, body, request)
                stream.cancel()
            else:
                self.read(Follower(stream, first, request.after_sequence), leave=True)
        else:
            answer = self.call(self.house.jobs.CreateJob, request)
            assert answer.deduplicated == (first is not None)
            if first is None:
                self.made(answer.job, stored, method, request_id, body, request)
            else:
                self.check_job(first, answer.job)

    def of_request(self, method: str, request_id: str) -> StoredJob | None:
        """The job that a request id made, as long as it is there."""
        found = (job for job in self.jobs if request_id and (job.method, job.request_id) == (method, request_id))
        return next(found, None)

    def made(
        self, got: Job, stored: StoredDeployment | None, method: str, request_id: str, body: Any, request: Any
    ) -> None:
        """Note a new job, and the deployment that came with it."""
        if stored is None:
            asked = deployment_service.GetDeploymentRequest(id=got.deployment_id)
            deployment = self.call(self.house.deployments.GetDeployment, asked).deployment
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
        """Run again what ran, whatever its deployment holds by now."""
        source: StoredJob = self.pick(which, self.jobs)
        request = job_service.RerunJobRequest(id=source.id, request_id=request_id)
        first = self.of_request("RerunJob", request_id)
        if first is not None and first.body != source.id:
            self.refused("ALREADY_EXISTS", self.house.jobs.RerunJob, request)
            return
        answer = self.call(self.house.jobs.RerunJob, request)
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
        """In every state; one that has ended stays as it is."""
        job: StoredJob = self.pick(which, self.jobs)
        answer = self.call(self.house.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        job.cancel()
        self.check_job(job, answer.job)

    @precondition(lambda self: self.jobs)
    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        """Only one that has ended goes, with its events and results."""
        job: StoredJob = self.pick(which, self.jobs)
        request = job_service.DeleteJobRequest(id=job.id)
        if not job.ended:
            self.refused("FAILED_PRECONDITION", self.house.jobs.DeleteJob, request)
            self.check(job)
            return
        found = self.call(self.house.jobs.GetJob, job_service.GetJobRequest(id=job.id)).job.program_runs
        self.call(self.house.jobs.DeleteJob, request)
        self.jobs.remove(job)
        self.gone.append(job)
        for run in found:
            for result_id in run.result_ids:
                self.refused("NOT_FOUND", self.house.results.GetResult, result_service.GetResultRequest(id=result_id))
        self.check_gone(job)

    # What a dispatcher does.

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        """Oldest first, and with the programs that the job was made with."""
        waiting = [job for job in self.jobs if job.state == QUEUED][:most]
        tasks = queue.claim(self.house.db, OWNER, {"IBM": most}, LEASE)
        assert [task.job_id for task in tasks] == [job.id for job in waiting]
        for job, task in zip(waiting, tasks, strict=True):
            job.claim()
            assert task.attempt == job.attempt
            assert [Program(each.program_id, each.text) for each in task.programs] == job.programs
            self.tasks[job.id] = task

    @precondition(lambda self: any(job.state == QUEUED for job in self.jobs))
    @rule(reason=st.sampled_from(["", "TIME_LIMIT"]))
    def work(self, reason: str) -> None:
        """What a dispatcher mostly does: take what waits, and bring one to its end."""
        self.claim(20)
        self.program(1, 0, "start")
        self.advance(1, 0.5)
        self.finish(1, reason, not reason)

    @precondition(lambda self: any(job.state == QUEUED for job in self.jobs))
    @rule(lost=st.booleans())
    def work_until_cancelled(self, lost: bool) -> None:
        """A cancel while it runs: the worker says that it stopped, or is lost meanwhile."""
        self.claim(20)
        job = self.worked_on(1)
        self.program(1, 0, "succeed")
        self.call(self.house.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        job.cancel()
        self.check(job)
        if lost:
            self.pass_time(True)
        else:
            self.finish(1, CANCELLED_REASON, False)

    def tell(self, job: StoredJob, note: Callable[[], None], **what: Any) -> None:
        """Record what a worker says; from an attempt that is not the current one it changes nothing."""
        task = self.tasks[job.id]
        refused = queue.record(self.house.db, OWNER, [TaskEvent(job_id=job.id, attempt=task.attempt, **what)])
        if job.leased and task.attempt == job.attempt and job in self.jobs:
            assert not refused
            note()
        else:
            assert refused == {(job.id, task.attempt)}

    def worked_on(self, which: int) -> StoredJob:
        """A job that is being worked on; at times one that was, and may have been lost, ended or deleted since."""
        if which % 4 and (leased := [job for job in self.jobs if job.leased]):
            return self.pick(which, leased)  # type: ignore[no-any-return]
        return self.pick(which, [job for job in (*self.jobs, *self.gone) if job.id in self.tasks])  # type: ignore[no-any-return]

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, progress=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, -1.0, float("nan")]))
    def advance(self, which: int, progress: float) -> None:
        job = self.worked_on(which)
        self.tell(job, lambda: job.advance(progress), progress=TaskProgress(progress=progress))

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, index=st.integers(0, 2), what=st.sampled_from(["start", "succeed", "succeed", "fail"]))
    def program(self, which: int, index: int, what: str) -> None:
        job = self.worked_on(which)
        index %= len(job.programs)
        said: dict[str, Any] = {
            "start": {"program_started": ProgramStarted(index=index)},
            "succeed": {"program_succeeded": ProgramSucceeded(index=index, result=store_fixture.result(f"0x{index}"))},
            "fail": {"program_failed": ProgramFailed(index=index, failure=store_fixture.failure("SYNTAX_ERROR"))},
        }
        self.tell(job, lambda: getattr(job, what)(index), **said[what])

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH, reason=st.sampled_from(["", "", "", "TIME_LIMIT", CANCELLED_REASON]), after_all=st.booleans())
    def finish(self, which: int, reason: str, after_all: bool) -> None:
        job = self.worked_on(which)
        if after_all:
            for index in range(len(job.programs)):
                self.program(which, index, "succeed")
        failure = store_fixture.failure(reason) if reason else None
        self.tell(job, lambda: job.finish(reason), finished=TaskFinished(failure=failure))

    @precondition(lambda self: self.tasks)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        """A dispatcher hands a job back, or one that is not its own any more."""
        job = self.worked_on(which)
        attempt = self.tasks[job.id].attempt
        queue.release(self.house.db, OWNER, [(job.id, attempt)], "the worker died")
        if job.leased and attempt == job.attempt and job in self.jobs:
            job.take_back()

    @rule(lost=st.booleans())
    def pass_time(self, lost: bool) -> None:
        """Leases run out, or do not yet."""
        if not lost:
            self.clock.now += timedelta(seconds=1)
            queue.renew(self.house.db, OWNER, LEASE)
            assert queue.expire(self.house.db) == 0
            return
        self.clock.now += LEASE + timedelta(seconds=1)
        leased = [job for job in self.jobs if job.leased]
        assert queue.expire(self.house.db) == len(leased)
        for job in leased:
            job.take_back()

    def clear(self) -> None:
        for job in self.jobs:
            self.call(self.house.jobs.CancelJob, job_service.CancelJobRequest(id=job.id))
        self.clock.now += 2 * LEASE
        queue.expire(self.house.db)
