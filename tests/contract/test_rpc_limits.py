# SPDX-License-Identifier: Apache-2.0
"""Limits: the server enforces each limit that GetServerInfo reports; incomplete requests delay no other call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_service_pb2 import ReadBufferRequest
from qonduit.v1.system_service_pb2 import GetServerInfoRequest, ServerLimits
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_server.rpc import request_receiver
from qonduit_server.rpc.auth.principal import Principal
from qonduit_server.rpc.server import MAX_CONCURRENT_STREAMS
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store.admin.retention import sweep
from tests.benchmarks.programs import BELL as SMALL
from tests.benchmarks.programs import layered
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, programs, refused, rpc_fixture, until
from tests.postgresql import PostgresqlServer
from tests.server_process import serving
from tests.watchers.rude import Rude, message

MIB = 1024**2
WATCH = "/qonduit.v1.JobService/WatchJob"


def create(shots: int = 10, deployment: Deployment | None = None) -> calls.CreateJobRequest:
    """Return a request for a job on the simulator."""
    request = calls.CreateJobRequest(job=Job(shots=shots), device="IBM/aer_simulator")
    request.deployment.CopyFrom(deployment or programs(BELL))
    return request


def reported_limits(rpc: RpcFixture) -> ServerLimits:
    """Return the limits that the server reports."""
    return rpc.system.GetServerInfo(GetServerInfoRequest(), timeout=WAIT).limits


def breaks_rule(call: Callable[[], Any], field: str, setting: str, value: int) -> None:
    """Check that the call is refused permanently, naming the field, the limit and its setting."""
    code, details = refused(call)
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    violation = details["BadRequest"].field_violations[0]
    assert violation.field == field
    assert setting in violation.description
    assert str(value) in violation.description


def exhausts(call: Callable[[], Any], setting: str, value: int, *, for_ever: bool = False) -> None:
    """Check that the call is refused because a limit is reached, naming it, its setting and when to retry."""
    code, details = refused(call)
    assert (code, details["ErrorInfo"].reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    violation = details["QuotaFailure"].violations[0]
    assert violation.subject == setting
    assert setting in violation.description
    assert str(value) in violation.description
    if for_ever:
        assert "RetryInfo" not in details
    else:
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def request_bytes(folder: Path) -> None:
    exact = create(deployment=programs(BELL, BELL))
    size = exact.ByteSize()
    with rpc_fixture(folder, limits=Limits(max_request_bytes=size)) as rpc:
        assert reported_limits(rpc).max_request_bytes == size
        rpc.jobs.CreateJob(exact, timeout=WAIT)
        over = calls.CreateJobRequest()
        over.CopyFrom(exact)
        over.deployment.programs[1].quantum_circuit += " "
        exhausts(lambda: rpc.jobs.CreateJob(over, timeout=WAIT), "max_request_bytes", size, for_ever=True)
        # gRPC itself refuses a request far over the limit, without the contract's details.
        far = create(deployment=programs("x" * 2 * MIB))
        with pytest.raises(grpc.RpcError) as raised:
            rpc.jobs.CreateJob(far, timeout=WAIT)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in str(raised.value.details())


def response_bytes(folder: Path) -> None:
    limit = 10_000
    with rpc_fixture(folder, limits=Limits(max_response_bytes=limit)) as rpc:
        assert reported_limits(rpc).max_response_bytes == limit

        def deploy(size: int) -> Any:
            request = CreateDeploymentRequest(deployment=programs("x" * size))
            return rpc.deployments.CreateDeployment(request, timeout=WAIT)

        room = limit - 1000
        deploy(room)
        breaks_rule(lambda: deploy(limit), "deployment.programs", "max_response_bytes", limit)
        # A page that was full under a larger limit is refused with an error that names the limit.
        for _ in range(2):
            rpc.jobs.CreateJob(create(), timeout=WAIT)
        size = rpc.jobs.ListJobs(calls.ListJobsRequest(), timeout=WAIT).ByteSize()
    with rpc_fixture(folder, limits=Limits(max_response_bytes=size)) as rpc:
        rpc.jobs.ListJobs(calls.ListJobsRequest(), timeout=WAIT)
    with rpc_fixture(folder, limits=Limits(max_response_bytes=size - 1)) as rpc:
        page = calls.ListJobsRequest()
        exhausts(lambda: rpc.jobs.ListJobs(page, timeout=WAIT), "max_response_bytes", size - 1, for_ever=True)


def program_bytes(folder: Path) -> None:
    size = len(BELL) + 10
    with rpc_fixture(folder, limits=Limits(max_program_bytes=size)) as rpc:
        assert reported_limits(rpc).max_program_bytes == size
        rpc.jobs.CreateJob(create(deployment=programs(BELL + " " * 10)), timeout=WAIT)
        over = create(deployment=programs(BELL, BELL + " " * 11))
        field = "deployment.programs[1].quantum_circuit"
        breaks_rule(lambda: rpc.jobs.CreateJob(over, timeout=WAIT), field, "max_program_bytes", size)


def programs_of_a_deployment(folder: Path) -> None:
    most = 500
    with rpc_fixture(folder) as rpc:
        assert reported_limits(rpc).max_programs == most
        full = create(deployment=programs(*[BELL] * most))
        job = rpc.jobs.CreateJob(full, timeout=WAIT).job
        assert len(job.program_runs) == most
        rpc.run(job.id)
        # A stored deployment of this size can also be run: a job has the programs of exactly one deployment.
        stored = rpc.deployments.CreateDeployment(CreateDeploymentRequest(deployment=full.deployment), timeout=WAIT)
        again = calls.CreateJobRequest(job=Job(shots=1, deployment_id=stored.deployment.id), device="IBM/aer_simulator")
        assert len(rpc.jobs.CreateJob(again, timeout=WAIT).job.program_runs) == most
        over = programs(*[BELL] * (most + 1))
        for call in (
            lambda: rpc.jobs.CreateJob(create(deployment=over), timeout=WAIT),
            lambda: rpc.deployments.CreateDeployment(CreateDeploymentRequest(deployment=over), timeout=WAIT),
        ):
            breaks_rule(call, "deployment.programs", "max_programs", most)


def shots(folder: Path) -> None:
    with rpc_fixture(folder, limits=Limits(max_shots=1000)) as rpc:
        assert reported_limits(rpc).max_shots == 1000
        rpc.jobs.CreateJob(create(shots=1000), timeout=WAIT)
        breaks_rule(lambda: rpc.jobs.CreateJob(create(shots=1001), timeout=WAIT), "job.shots", "max_shots", 1000)


def queued_jobs(folder: Path) -> None:
    """Of many concurrent submits, exactly as many as the limit are accepted, however they share transactions."""
    most = 50
    with rpc_fixture(folder, limits=Limits(max_queued_jobs=most)) as rpc, ThreadPoolExecutor(16) as pool:
        assert reported_limits(rpc).max_queued_jobs == most

        def submit(_: int) -> str:
            try:
                rpc.jobs.CreateJob(create(), timeout=WAIT)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        outcomes = list(pool.map(submit, range(3 * most)))
        assert outcomes.count("OK") == most
        assert outcomes.count("RESOURCE_EXHAUSTED") == 2 * most
        exhausts(lambda: rpc.jobs.CreateJob(create(), timeout=WAIT), "max_queued_jobs", most)
        exhausts(lambda: list(rpc.jobs.RunJob(bell(), timeout=WAIT)), "max_queued_jobs", most)
        # Running jobs no longer count as queued.
        job_id = rpc.claim()[0].job_id
        rpc.jobs.CreateJob(create(), timeout=WAIT)
        rpc.finish(job_id)


def streams(folder: Path) -> None:
    """WatchJob and RunJob share a limit; RunJob creates no job that it cannot watch; health has a limit to itself."""
    most = 5
    with rpc_fixture(folder, limits=Limits(max_streams=most)) as rpc:
        assert reported_limits(rpc).max_streams == most
        job_id = rpc.jobs.CreateJob(create(), timeout=WAIT).job.id
        request = calls.WatchJobRequest(job_id=job_id)
        open_ones = [rpc.jobs.WatchJob(request, timeout=WAIT) for _ in range(most - 1)]
        open_ones.append(rpc.jobs.RunJob(bell(), timeout=WAIT))
        for stream in open_ones:
            next(stream)
        known = len(rpc.jobs.ListJobs(calls.ListJobsRequest(), timeout=WAIT).jobs)
        exhausts(lambda: list(rpc.jobs.WatchJob(request, timeout=WAIT)), "max_streams", most)
        exhausts(lambda: list(rpc.jobs.RunJob(bell(), timeout=WAIT)), "max_streams", most)
        buffer = ReadBufferRequest(name="results/1")
        exhausts(lambda: list(rpc.results.ReadBuffer(buffer, timeout=WAIT)), "max_streams", most)
        assert len(rpc.jobs.ListJobs(calls.ListJobsRequest(), timeout=WAIT).jobs) == known
        health = rpc.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=WAIT)
        next(health)
        health.cancel()
        # A refused stream counts nothing, and a stream that ends, in any way, is released: no slot leaks.
        for _ in range(3):
            open_ones.pop().cancel()
            until(lambda: rpc.server.streams == len(open_ones))
            open_ones.append(rpc.jobs.WatchJob(request, timeout=WAIT))
            next(open_ones[-1])
            exhausts(lambda: list(rpc.jobs.WatchJob(request, timeout=WAIT)), "max_streams", most)


def job_retention(folder: Path) -> None:
    with rpc_fixture(folder, limits=Limits(retention_days=1.5)) as rpc:
        assert reported_limits(rpc).job_retention.ToSeconds() == 129_600
        job = rpc.jobs.CreateJob(create(), timeout=WAIT).job
        rpc.run(job.id)
        ended = rpc.jobs.GetJob(calls.GetJobRequest(id=job.id), timeout=WAIT).job.finished_at.ToMicroseconds()
        assert sweep(rpc.db, ended, threading.Event()).jobs == 0
        rpc.jobs.GetJob(calls.GetJobRequest(id=job.id), timeout=WAIT)
        assert sweep(rpc.db, ended + 1, threading.Event()).jobs == 1
        assert refused(lambda: rpc.jobs.GetJob(calls.GetJobRequest(id=job.id), timeout=WAIT))[0] == "NOT_FOUND"
    with rpc_fixture(folder) as rpc:
        assert not reported_limits(rpc).HasField("job_retention")


def test_servers_that_share_a_queue_exceed_its_limit_by_little(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    """Neither server waits for the other's count, so concurrent submits alone can exceed the limit."""
    most, clients = 40, 8
    name = postgresql.new_database(postgresql_template)
    limits = Limits(max_queued_jobs=most)
    with (
        rpc_fixture(postgresql.url(name), limits=limits) as here,
        rpc_fixture(postgresql.url(name), limits=limits) as there,
    ):

        def submit(number: int) -> str:
            try:
                (here, there)[number % 2].jobs.CreateJob(create(), timeout=WAIT)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        with ThreadPoolExecutor(2 * clients) as pool:
            outcomes = list(pool.map(submit, range(200)))
        assert set(outcomes) == {"OK", "RESOURCE_EXHAUSTED"}
        taken = outcomes.count("OK")
        # One transaction of the other server is not yet counted: at most as many jobs as it had clients.
        assert most <= taken <= most + clients
        for rpc in (here, there):
            exhausts(lambda rpc=rpc: rpc.jobs.CreateJob(create(), timeout=WAIT), "max_queued_jobs", most)
    postgresql.drop_database(name)


#: Limits that the execution engine enforces; tests of them need a real server with workers.
MEMORY, SECONDS, RESULT = 30 * MIB, 6.0, 32 * 9


class Engine:
    """A real server with low limits."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.jobs = JobServiceStub(channel)
        self.limits = SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=WAIT).limits

    def submit(self, *texts: str, shots: int = 10) -> int:
        """Queue a job."""
        return int(self.jobs.CreateJob(create(shots, programs(*texts)), timeout=WAIT).job.id)

    def run(self, *texts: str, shots: int = 10) -> Job:
        """Run a job to its end."""
        return self.events(self.submit(*texts, shots=shots))[-1].state_change.job

    def events(self, job_id: int, last: Callable[[JobEvent], bool] = lambda event: False) -> list[JobEvent]:
        """Return the job's events until one of this kind, or all."""
        found: list[JobEvent] = []
        stream = self.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=60)
        for reply in stream:
            found.append(reply.event)
            if last(reply.event):
                stream.cancel()
                break
        return found

    def fails(self, job: Job, reason: str, setting: str, value: str) -> None:
        """Check that the job ended at a limit, naming it and its setting."""
        assert job.state == JobState.JOB_STATE_FAILED
        assert job.failure.category == FailureCategory.FAILURE_CATEGORY_LIMIT
        assert job.failure.reason == reason
        assert setting in job.failure.message
        assert value in job.failure.message


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = {
        "providers": "IBM",
        "workers": "2",
        "max_memory_bytes": str(MEMORY),
        "max_task_memory_bytes": str(MEMORY),
        "max_job_seconds": str(SECONDS),
        "max_result_bytes": str(RESULT),
    }
    url = f"sqlite:///{tmp_path_factory.mktemp('limits') / 'q.sqlite3'}"
    with serving(url, **settings) as server, grpc.insecure_channel(server.target) as channel:
        made = Engine(channel)
        assert made.run(SMALL).state == JobState.JOB_STATE_SUCCEEDED
        yield made


def task_memory(engine: Engine) -> None:
    assert engine.limits.max_task_memory_bytes == MEMORY
    assert engine.run(layered(20, 1)).state == JobState.JOB_STATE_SUCCEEDED  # 16 MiB
    engine.fails(engine.run(layered(21, 1)), "MEMORY_LIMIT", "max_task_memory_bytes", "30.0 MiB")


def all_memory(engine: Engine) -> None:
    """One job of 16 MiB runs; the next one waits for it, and logs that it waits."""
    assert engine.limits.max_memory_bytes == MEMORY
    first = engine.submit(*[layered(20, 1)] * 200)
    engine.events(first, last=lambda event: event.program_run.state == JobState.JOB_STATE_RUNNING)
    second = engine.submit(layered(20, 1))
    waits = engine.events(second, last=lambda event: "waits until they are free" in event.log.message)
    assert waits[-1].HasField("log")
    engine.jobs.CancelJob(calls.CancelJobRequest(id=first), timeout=WAIT)
    assert engine.events(second)[-1].state_change.to_state == JobState.JOB_STATE_SUCCEEDED


def job_duration(engine: Engine) -> None:
    assert engine.limits.max_job_duration.ToMilliseconds() == SECONDS * 1e3
    begun = time.monotonic()
    # Each shot is run separately, since the second measurement depends on the first.
    measured = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[12];\ncreg c[12];\ncreg d[12];\n' + (
        "h q;\nmeasure q -> c;\nh q;\nmeasure q -> d;\n"
    )
    job = engine.run(measured, shots=10_000_000)
    engine.fails(job, "TIME_LIMIT", "max_job_seconds", f"{SECONDS:g} s")
    ran = (job.finished_at.ToNanoseconds() - job.started_at.ToNanoseconds()) / 1e9
    assert SECONDS <= ran <= time.monotonic() - begun


def result_bytes(engine: Engine) -> None:
    """Return the size of rows of nine bytes: one of bits, eight of their number."""
    assert engine.limits.max_result_bytes == RESULT

    def all_outcomes(qubits: int) -> str:
        return f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}];\ncreg c[{qubits}];\nh q;\nmeasure q -> c;\n'

    assert engine.run(all_outcomes(5), shots=5000).state == JobState.JOB_STATE_SUCCEEDED
    engine.fails(engine.run(all_outcomes(6), shots=5000), "RESULT_TOO_LARGE", "max_result_bytes", str(RESULT))


#: For each field of ServerLimits: a value at the limit passes, and a value over it is refused as documented.
AT_THE_DOOR: dict[str, Callable[[Path], None]] = {
    "max_request_bytes": request_bytes,
    "max_response_bytes": response_bytes,
    "max_program_bytes": program_bytes,
    "max_programs": programs_of_a_deployment,
    "max_shots": shots,
    "max_queued_jobs": queued_jobs,
    "max_streams": streams,
    "job_retention": job_retention,
}
IN_THE_ENGINE: dict[str, Callable[[Engine], None]] = {
    "max_task_memory_bytes": task_memory,
    "max_memory_bytes": all_memory,
    "max_job_duration": job_duration,
    "max_result_bytes": result_bytes,
}


def test_every_reported_limit_has_a_case() -> None:
    fields = {field.name for field in ServerLimits.DESCRIPTOR.fields}
    assert fields == AT_THE_DOOR.keys() | IN_THE_ENGINE.keys()


@pytest.mark.parametrize("limit", AT_THE_DOOR)
def test_a_limit_of_the_rpc_layer_is_enforced(limit: str, tmp_path: Path) -> None:
    AT_THE_DOOR[limit](tmp_path)


@pytest.mark.parametrize("limit", IN_THE_ENGINE)
def test_a_limit_of_the_execution_engine_is_enforced(limit: str, engine: Engine) -> None:
    IN_THE_ENGINE[limit](engine)


def test_calls_without_their_request_occupy_no_thread(tmp_path: Path) -> None:
    """More unfinished calls of each kind than there are threads: other calls are served, and slots are free."""
    with rpc_fixture(tmp_path) as rpc, Rude(rpc.target) as rude:
        whole = calls.GetJobRequest(id=1).SerializeToString()
        for _ in range(20):
            rude.call("/qonduit.v1.JobService/GetJob", ends=False)
            rude.call("/qonduit.v1.JobService/GetJob", message(whole)[:-1], ends=False)
            rude.call(WATCH, message(whole)[:3], ends=False)
        job_id = rpc.jobs.CreateJob(create(), timeout=WAIT).job.id
        stream = rpc.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=WAIT)
        assert next(stream).event.sequence == 1
        assert rpc.server.streams == 1
        stream.cancel()


def test_a_request_that_does_not_arrive_is_refused_in_time_and_later_ones_are_served(tmp_path: Path) -> None:
    """More incomplete requests than one connection may have received at once: each is refused in its turn."""
    with rpc_fixture(tmp_path, request_receive_timeout_seconds=0.5) as rpc, Rude(rpc.target) as rude:
        half = rpc.server._receiver.slots.limit
        for _ in range(half):
            rude.call("/qonduit.v1.JobService/GetJob", message(b"\x08\x01")[:-1], ends=False)
        reported_limits(rpc)
        ended = rude.until_ended(half, WAIT)
        assert all(b"request_receive_timeout_seconds" in trailers for trailers in ended.values())
        # No thread waits for them any more.
        until(lambda: not rpc.server._receiver.receiving)
        assert rpc.server._receiver.waiting.total == 0


def test_a_client_that_disconnects_within_its_request_leaks_nothing(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        arrivals = rpc.server._receiver
        for _ in range(3):
            with Rude(rpc.target) as rude:
                for _ in range(arrivals.slots.limit):
                    rude.call(WATCH, message(b"\x08\x01")[:-1], ends=False)
                until(lambda: len(arrivals.receiving) == arrivals.slots.limit // 2)
            until(lambda: arrivals.waiting.total == 0)
        reported_limits(rpc)


def test_a_connection_whose_calls_do_not_arrive_delays_no_other(tmp_path: Path) -> None:
    """As many header-only calls as one connection may open: other calls are received at once."""
    with rpc_fixture(tmp_path) as rpc, Rude(rpc.target) as rude:
        arrivals = rpc.server._receiver
        for _ in range(MAX_CONCURRENT_STREAMS):
            rude.call("/qonduit.v1.JobService/GetJob", ends=False)
        until(lambda: arrivals.waiting.total == MAX_CONCURRENT_STREAMS)
        for _ in range(100):
            reported_limits(rpc)
        # None of them had to be refused for that.
        assert arrivals.waiting.total == MAX_CONCURRENT_STREAMS
        assert len(arrivals.receiving) == arrivals.slots.limit // 2


def test_calls_over_the_waiting_limit_are_refused_at_once_with_details_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection may leave calls waiting only up to the room reserved for other connections."""
    monkeypatch.setattr("qonduit_server.rpc.server.MOST_WAITING", 100)
    with rpc_fixture(tmp_path, limits=Limits(max_streams=10)) as rpc, Rude(rpc.target) as rude:
        for _ in range(60):
            rude.call("/qonduit.v1.JobService/GetJob", ends=False)
        ended = rude.until_ended(10, WAIT)
        # Repeated trailers are sent once.
        assert any(b"waiting_calls" in trailers for trailers in ended.values())
        assert rpc.server._receiver.waiting.total == 50
        reported_limits(rpc)


def test_large_requests_that_wait_for_a_thread_are_received_a_few_at_a_time(tmp_path: Path) -> None:
    """With all threads busy, large requests arrive: the server buffers a bounded number of their bytes."""
    free = threading.Event()

    def slow(_metadata: object, _peer: object) -> Principal:
        assert free.wait(WAIT)
        return Principal("alice")

    size = 8 * MIB
    with rpc_fixture(tmp_path, threads=2, authenticate=slow, limits=Limits(max_program_bytes=size)) as rpc:
        request = create(deployment=programs("x" * size)).SerializeToString()
        create_job = rpc.channel.unary_unary("/qonduit.v1.JobService/CreateJob")
        futures = [create_job.future(request, timeout=60) for _ in range(24)]
        pool = rpc.server._receiver._pools[0]
        # Half of the total budget, because they arrive over one connection.
        until(lambda: pool.waiting_bytes.total >= request_receiver._WAITING_BYTES // 2)
        # Requests in transit when the limit was reached add to it, and no others.
        assert pool.waiting_bytes.total <= len(futures) * len(request)
        free.set()
        for future in futures:
            with pytest.raises(grpc.RpcError):
                future.result()
        until(lambda: rpc.server._receiver.waiting.total == 0)
        assert pool.waiting_bytes.total == 0


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path, request_receive_timeout_seconds=1.0) as rpc:
        silent = [Rude(rpc.target, polite=False) for _ in range(20)]
        for one in silent:
            with one:
                one.until_closed(WAIT)
        reported_limits(rpc)


def test_metadata_is_bounded(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        rpc.system.GetServerInfo(GetServerInfoRequest(), metadata=[("x-note", "n" * 4000)], timeout=WAIT)
        with pytest.raises(grpc.RpcError) as raised:
            rpc.system.GetServerInfo(GetServerInfoRequest(), metadata=[("x-note", "n" * 20_000)], timeout=WAIT)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        reported_limits(rpc)


@pytest.mark.parametrize("form", ["page_token", "filter"])
def test_tokens_and_filters_are_bounded(tmp_path: Path, form: str) -> None:
    with rpc_fixture(tmp_path) as rpc:
        request = calls.ListJobsRequest(**{form: "x" * 10_000})
        code, details = refused(lambda: rpc.jobs.ListJobs(request, timeout=WAIT))
        assert code == "INVALID_ARGUMENT"
        assert details["BadRequest"].field_violations[0].field == form


def test_heartbeat_intervals_have_a_minimum_of_fifty_milliseconds(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        request = calls.WatchJobRequest(job_id=1)
        request.heartbeat_interval.FromMilliseconds(49)
        code, details = refused(lambda: list(rpc.jobs.WatchJob(request, timeout=WAIT)))
        assert code == "INVALID_ARGUMENT"
        assert details["BadRequest"].field_violations[0].field == "heartbeat_interval"


def test_text_sent_as_binary_is_counted_in_bytes(tmp_path: Path) -> None:
    """The limit of a program is in bytes, also where characters have several."""
    with rpc_fixture(tmp_path, limits=Limits(max_program_bytes=len(BELL) + 6)) as rpc:
        rpc.jobs.CreateJob(create(deployment=programs(BELL + "//éé")), timeout=WAIT)
        over = create(deployment=programs(BELL + "//ééé"))
        over.deployment.programs[0].assembler_language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        field = "deployment.programs[0].quantum_circuit"
        breaks_rule(lambda: rpc.jobs.CreateJob(over, timeout=WAIT), field, "max_program_bytes", len(BELL) + 6)
