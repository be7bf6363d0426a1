# SPDX-License-Identifier: Apache-2.0
"""The same request with the same id returns the same job: concurrently, on other servers, after crashes and ends."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from qonduit.v1 import deployment_service_pb2 as deployment_calls
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.contract.rpc_fixture import CALLER_KEY, bell, by_name, descriptions, programs, refused, rpc_fixture
from tests.e2e.faults.checking import assert_ended_well
from tests.e2e.faults.submitting import SIMULATOR, SUCCEEDED, a_job, long_job, watch
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

CLIENTS = 64
_T = TypeVar("_T")


def a_request(**fields: Any) -> calls.CreateJobRequest:
    """Return a request for a Bell job with a unique request id."""
    request = a_job(1, 0, 0)
    request.request_id = str(uuid.uuid4())
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def as_run(request: calls.CreateJobRequest, after: int = 0) -> calls.RunJobRequest:
    """Return the same request, to be run in one call."""
    run = calls.RunJobRequest(
        job=request.job, device=request.device, request_id=request.request_id, after_sequence=after
    )
    if request.HasField("deployment"):
        run.deployment.CopyFrom(request.deployment)
    return run


@contextmanager
def channels(targets: Sequence[str]) -> Iterator[list[grpc.Channel]]:
    """Open a connection for each client, to these servers in turn."""
    opened = [
        grpc.insecure_channel(targets[k % len(targets)], options=[("grpc.use_local_subchannel_pool", 1)])
        for k in range(CLIENTS)
    ]
    try:
        for channel in opened:
            grpc.channel_ready_future(channel).result(100)
        yield opened
    finally:
        for channel in opened:
            channel.close()


def at_once(opened: Sequence[grpc.Channel], call: Callable[[grpc.Channel], _T]) -> list[_T]:
    """Call from all clients at the same moment."""
    barrier = threading.Barrier(len(opened))

    def one(channel: grpc.Channel) -> _T:
        barrier.wait(100)
        return call(channel)

    with ThreadPoolExecutor(len(opened)) as pool:
        return list(pool.map(one, opened))


def create(request: calls.CreateJobRequest) -> Callable[[grpc.Channel], calls.CreateJobResponse]:
    """Submit on a connection."""
    return lambda channel: JobServiceStub(channel).CreateJob(request, timeout=60)


def run(request: calls.RunJobRequest) -> Callable[[grpc.Channel], list[JobEvent]]:
    """Submit and watch on a connection; return the events."""

    def call(channel: grpc.Channel) -> list[JobEvent]:
        replies = JobServiceStub(channel).RunJob(request, timeout=60)
        return [reply.event for reply in replies if reply.event.WhichOneof("event") != "heartbeat"]

    return call


def everything(target: str) -> tuple[list[int], list[int]]:
    """Return the ids of all jobs and of all deployments."""
    with grpc.insecure_channel(target) as channel:
        jobs = JobServiceStub(channel).ListJobs(calls.ListJobsRequest(page_size=1000), timeout=100)
        deployments = DeploymentServiceStub(channel).ListDeployments(
            deployment_calls.ListDeploymentsRequest(page_size=1000), timeout=100
        )
    return [job.id for job in jobs.jobs], [deployment.id for deployment in deployments.deployments]


def submit_everything_64_times(targets: Sequence[str]) -> None:
    """Submit in each way, 64 times at once with the same request id: one job, one deployment."""
    with channels(targets) as opened:
        made = at_once(opened, create(request := a_request()))
        assert sum(not one.deduplicated for one in made) == 1
        (created,) = {one.job.id for one in made}
        (deployment,) = {one.job.deployment_id for one in made}
        assert everything(targets[0]) == ([created], [deployment])

        # A request id is scoped to its method, so this creates another job.
        histories = at_once(opened, run(as_run(request)))
        assert all(history == histories[0] for history in histories)
        assert [event.sequence for event in histories[0]] == list(range(1, len(histories[0]) + 1))
        assert histories[0][-1].state_change.to_state == SUCCEEDED
        ran = histories[0][0].job_id
        assert ran != created

        rerun = calls.RerunJobRequest(id=ran, request_id=str(uuid.uuid4()))
        again = at_once(opened, lambda channel: JobServiceStub(channel).RerunJob(rerun, timeout=60))
        assert sum(not one.deduplicated for one in again) == 1
        (repeated,) = {one.job.id for one in again}

        stored = deployment_calls.CreateDeploymentRequest(deployment=request.deployment, request_id=str(uuid.uuid4()))
        kept = at_once(opened, lambda channel: DeploymentServiceStub(channel).CreateDeployment(stored, timeout=60))
        (alone,) = {one.deployment.id for one in kept}

        jobs, deployments = everything(targets[0])
        assert sorted(jobs) == sorted((created, ran, repeated))
        # The two jobs have equal programs, and share a deployment if one server created both.
        assert sorted(deployments) == sorted({deployment, histories[0][0].created.deployment_id, alone})
    for job_id in jobs:
        assert_ended_well(targets[-1], job_id, 1)


@pytest.mark.timeout(240)
def test_equal_submits_at_once_make_one_job_and_the_same_after_a_crash_and_after_the_end(database_url: str) -> None:
    first, long = a_request(), long_job()
    long.request_id = str(uuid.uuid4())
    settings = {"providers": "IBM", "preload": "IBM", "lease_seconds": "1"}
    with serving(database_url, **settings) as server:
        submit_everything_64_times([server.target])
        before = everything(server.target)
        with channels([server.target]) as opened:
            ended = create(first)(opened[0]).job.id
            assert_ended_well(server.target, ended, 1)
            unfinished = create(long)(opened[0]).job.id
            server.process.kill()
            server.process.wait()
    with serving(database_url, **settings) as server, channels([server.target]) as opened:
        for made, job_id in ((at_once(opened, create(first)), ended), (at_once(opened, create(long)), unfinished)):
            assert {one.job.id for one in made} == {job_id}
            assert all(one.deduplicated for one in made)
        assert create(first)(opened[0]).job.state == SUCCEEDED
        assert_ended_well(server.target, unfinished, 40)
        assert create(long)(opened[0]).job.state == SUCCEEDED
        jobs, deployments = everything(server.target)
        assert set(jobs) == {*before[0], ended, unfinished}
        assert len(deployments) == len(before[1]) + 2


@pytest.mark.timeout(240)
def test_equal_submits_at_two_servers_make_one_job(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    url = postgresql.url(name := postgresql.new_database(postgresql_template))
    settings = {"providers": "IBM", "preload": "IBM"}
    with serving(url, **settings) as first, serving(url, **settings) as second:
        submit_everything_64_times([first.target, second.target])
    postgresql.drop_database(name)


def test_a_repeated_run_resumes_after_the_events_its_caller_has(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        request = bell(request_id=str(uuid.uuid4()))
        stream = rpc.jobs.RunJob(request, timeout=100)
        created = next(stream).event
        stream.cancel()
        rpc.run(created.job_id)
        whole = run(request)(rpc.channel)
        assert whole[0] == created
        for after in range(len(whole) + 1):
            request.after_sequence = after
            assert run(request)(rpc.channel) == whole[after:]
        request.after_sequence = len(whole) + 1
        assert refused(lambda: run(request)(rpc.channel))[0] == "INVALID_ARGUMENT"
        assert list(watch(rpc.target, created.job_id)) == whole


def test_a_request_id_is_scoped_to_its_caller(tmp_path: Path) -> None:
    ben = [(CALLER_KEY, "ben")]
    with rpc_fixture(tmp_path, authenticate=by_name("anna")) as rpc:
        request = a_request()
        deployment = deployment_calls.CreateDeploymentRequest(
            deployment=request.deployment, request_id=request.request_id
        )
        made = []
        for who in (None, ben, None, ben):
            job = rpc.jobs.CreateJob(request, metadata=who).job
            events = rpc.jobs.RunJob(as_run(request), metadata=who)
            ran = next(events).event.job_id
            events.cancel()
            kept = rpc.deployments.CreateDeployment(deployment, metadata=who).deployment.id
            made.append((job.id, job.executed_by, job.deployment_id, ran, kept))
        assert made[:2] == made[2:]
        assert [one[1] for one in made[:2]] == ["anna", "ben"]
        for mine, theirs in zip(*made[:2], strict=True):
            assert mine != theirs


def test_another_request_under_the_same_id_is_refused_and_leaves_the_first(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        first = a_request()
        job = rpc.jobs.CreateJob(first).job
        ran = next(rpc.jobs.RunJob(as_run(first))).event.job_id
        others = {
            "shots": lambda other: setattr(other.job, "shots", 7),
            "name": lambda other: setattr(other.job, "name", "another"),
            "seed": lambda other: setattr(other.job, "seed", 1),
            "inputs": lambda other: other.job.inputs.update({"angle": 1.0}),
            "program": lambda other: setattr(
                other.deployment.programs[0], "quantum_circuit", "OPENQASM 2.0; qreg q[1];"
            ),
            "one more program": lambda other: other.deployment.programs.extend(first.deployment.programs),
            "deployment's name": lambda other: setattr(other.deployment, "name", "another"),
            "stored deployment": lambda other: (
                other.ClearField("deployment"),
                setattr(other.job, "deployment_id", job.deployment_id),
            ),
        }
        for what, change in others.items():
            other = calls.CreateJobRequest()
            other.CopyFrom(first)
            change(other)
            for call in (
                lambda other=other: rpc.jobs.CreateJob(other),
                lambda other=other: next(rpc.jobs.RunJob(as_run(other))),
            ):
                code, details = refused(call)
                assert (code, details["ErrorInfo"].reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED"), what
        rpc.run(job.id)
        rpc.finish(ran)
        # The id still belongs to that request, before and after its job ends.
        other = calls.CreateJobRequest()
        other.CopyFrom(first)
        other.job.shots = 7
        assert refused(lambda: rpc.jobs.CreateJob(other))[0] == "ALREADY_EXISTS"

        rerun = calls.RerunJobRequest(id=job.id, request_id=str(uuid.uuid4()))
        repeated = rpc.jobs.RerunJob(rerun).job.id
        assert (
            refused(lambda: rpc.jobs.RerunJob(calls.RerunJobRequest(id=ran, request_id=rerun.request_id)))[0]
            == "ALREADY_EXISTS"
        )
        stored = deployment_calls.CreateDeploymentRequest(deployment=first.deployment, request_id=str(uuid.uuid4()))
        kept = rpc.deployments.CreateDeployment(stored).deployment.id
        stored.deployment.name = "another"
        assert refused(lambda: rpc.deployments.CreateDeployment(stored))[0] == "ALREADY_EXISTS"
        jobs, deployments = everything(rpc.target)
        assert sorted(jobs) == sorted((job.id, ran, repeated))
        # The first two jobs have equal programs, and so share a deployment.
        assert sorted(deployments) == sorted((job.deployment_id, kept))
        assert rpc.jobs.GetJob(calls.GetJobRequest(id=job.id)).job.shots == first.job.shots


@pytest.mark.parametrize("change", ["device away", "deployment changed", "fewer shots", "source deleted", "queue full"])
def test_a_repetition_is_answered_though_a_new_request_would_be_refused(tmp_path: Path, change: str) -> None:
    from qonduit_server.rpc.server_limits import Limits
    from qonduit_server.store import catalogue

    stored = deployment_calls.CreateDeploymentRequest(deployment=programs("OPENQASM 2.0; qreg q[1];"))
    with rpc_fixture(tmp_path) as rpc:
        deployment = rpc.deployments.CreateDeployment(stored).deployment
        request = calls.CreateJobRequest(
            job=Job(shots=100, deployment_id=deployment.id), device=SIMULATOR, request_id=str(uuid.uuid4())
        )
        job = rpc.jobs.CreateJob(request).job
        rpc.run(job.id)
        rerun = calls.RerunJobRequest(id=job.id, request_id=str(uuid.uuid4()))
        again = rpc.jobs.RerunJob(rerun).job
        if change == "deployment changed":
            update = deployment_calls.UpdateDeploymentRequest(deployment=deployment)
            update.deployment.programs[0].assembler_language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
            rpc.deployments.UpdateDeployment(update)
    limits = Limits(
        **({"max_shots": 50} if change == "fewer shots" else {}),
        **({"max_queued_jobs": 1} if change == "queue full" else {}),
    )
    with rpc_fixture(tmp_path, limits=limits) as rpc:
        if change == "device away":
            here = descriptions()
            for device in here[0].devices:
                device.CopyFrom(Device(name=device.name, num_qubits=20, available=False, status_message="away"))
            catalogue.sync(rpc.db, here)
        if change == "source deleted":
            rpc.jobs.DeleteJob(calls.DeleteJobRequest(id=job.id))
        else:
            assert rpc.jobs.CreateJob(request).job.id == job.id
            assert next(iter(rpc.jobs.CreateJob(request).job.program_runs)).state == SUCCEEDED
        answer = rpc.jobs.RerunJob(rerun)
        assert (answer.job.id, answer.deduplicated) == (again.id, True)
        if change != "source deleted":
            request.request_id = str(uuid.uuid4())
            assert refused(lambda: rpc.jobs.CreateJob(request))[0] in (
                "FAILED_PRECONDITION",
                "INVALID_ARGUMENT",
                "RESOURCE_EXHAUSTED",
            )
