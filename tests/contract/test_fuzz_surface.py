# SPDX-License-Identifier: Apache-2.0
"""For any input, a server answers at once with one of the contract's errors, and keeps serving.

The calls are random with a fixed seed; `make fuzz-surface` generates new ones for as long as required. The named tests
below cover faults found by reading and by manual tests, which random calls rarely reach.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from structlog.testing import capture_logs

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_INTERNAL, FAILURE_CATEGORY_WORKER
from qonduit.v1.job_pb2 import Job
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.rpc import reflection
from qonduit_server.rpc.server import SERVICES
from qonduit_server.rpc.server_limits import Limits
from tests.contract.rpc_fixture import WAIT, RpcFixture, bell, programs, refused, rpc_fixture
from tests.fuzz.calls import methods, path
from tests.fuzz.process import SMALL, fuzzed_server
from tests.fuzz.server_fixture import fill_server
from tests.fuzz.surface import fuzz, sweep

LIMITS = Limits(
    max_request_bytes=400_000, max_program_bytes=100_000, max_programs=20, max_shots=2_000, max_queued_jobs=200
)
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc")) as it:
        yield it


def test_no_call_breaks_a_server_without_workers(database_url: str) -> None:
    examples = 4 if database_url.startswith("postgresql") else 8
    with capture_logs() as lines, rpc_fixture(database_url, limits=LIMITS) as it:

        def finish(ids: list[int]) -> None:
            it.claim()
            for job_id in ids:
                it.finish(job_id)

        known = fill_server(it.channel, finish)
        seen = fuzz(it.channel, known, examples=examples, most_request_bytes=LIMITS.max_request_bytes)
        sweep(it.channel)
        every = {path(method) for method in methods(it.channel)}
    # All methods were called: those of the contract, of health, and of reflection.
    contract = {f"/{service.full_name}/{method.name}" for service in SERVICES.values() for method in service.methods}
    assert contract < every == {name for name, _ in seen}
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "a first message"} <= {
        code for _, code in seen
    }
    assert [line for line in lines if line["event"] != "call" or line["code"] == "INTERNAL"] == []


def test_no_call_breaks_a_server_with_workers(tmp_path: Path) -> None:
    with fuzzed_server(tmp_path) as (running, channel, known):
        before = running.resident()
        fuzz(channel, known, examples=3, most_request_bytes=int(SMALL["max_request_bytes"]))
        jobs = sweep(channel)
        grown = running.resident() - before
        assert running.process.poll() is None
    assert grown < 100 * 1024**2, f"{grown / 1024**2:.0f} MiB more"
    broken = (FAILURE_CATEGORY_INTERNAL, FAILURE_CATEGORY_WORKER)
    assert [job.failure for job in jobs if job.failure.category in broken] == []


def deep(levels: int) -> Struct:
    """Return a list in a list in a list ..."""
    struct = Struct()
    value = struct.fields["deep"]
    for _ in range(levels):
        value = value.list_value.values.add()
    value.number_value = 1.0
    return struct


@pytest.mark.parametrize("levels", [26, 40, 47])
def test_values_too_deep_for_events_are_refused(rpc: RpcFixture, levels: int) -> None:
    """The request was parsed, but no message that nests it one level deeper: lists answered INTERNAL since."""
    of_job, of_program, options = bell(), bell(), bell()
    of_job.job.inputs.CopyFrom(deep(levels))
    of_program.deployment.programs[0].python_file_inputs.CopyFrom(deep(levels))
    options.deployment.programs[0].python_file_options.CopyFrom(deep(levels))
    for request, field in (
        (of_job, "job.inputs.deep"),
        (of_program, "deployment.programs[0].python_file_inputs.deep"),
        (options, "deployment.programs[0].python_file_options.deep"),
    ):
        code, details = refused(lambda request=request: next(rpc.jobs.RunJob(request, timeout=WAIT)))
        violation = details["BadRequest"].field_violations[0]
        assert (code, violation.field, violation.reason) == ("INVALID_ARGUMENT", field, "inputs.max_depth")
    sweep(rpc.channel)


def test_values_at_the_depth_limit_are_returned_in_events(rpc: RpcFixture) -> None:
    request = bell()
    request.job.inputs.CopyFrom(deep(25))
    job_id = next(rpc.jobs.RunJob(request, timeout=WAIT)).event.job_id
    rpc.run(job_id)
    assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job_id)).job.inputs == deep(25)
    sweep(rpc.channel)


def test_unknown_fields_are_not_stored(rpc: RpcFixture) -> None:
    """Unknown fields within stored messages were returned, at any depth."""
    unknown = b"\xfb\x3f" * 90 + b"\xfc\x3f" * 90
    request = bell()
    request.job.inputs.ParseFromString(unknown)
    request.deployment.programs[0].MergeFromString(unknown)
    job = next(rpc.jobs.RunJob(request, timeout=WAIT)).event.created
    stored = rpc.deployments.GetDeployment(deployment_service.GetDeploymentRequest(id=job.deployment_id)).deployment
    assert stored.programs[0].ByteSize() < 150 + len(unknown)
    assert unknown not in stored.SerializeToString()
    assert unknown not in job.SerializeToString()
    sweep(rpc.channel)


def test_an_inline_deployment_too_large_to_be_listed_is_refused(rpc: RpcFixture) -> None:
    """It was stored, and no list of deployments could be read past it."""
    large = programs(*["x" * 900_000] * 4)
    for kind, call in (
        (job_service.CreateJobRequest, lambda request: rpc.jobs.CreateJob(request, timeout=WAIT)),
        (job_service.RunJobRequest, lambda request: next(rpc.jobs.RunJob(request, timeout=WAIT))),
    ):
        request = kind(job=Job(shots=1), device="IBM/aer_simulator", deployment=large)
        code, details = refused(lambda call=call, request=request: call(request))
        violation = details["BadRequest"].field_violations[0]
        assert (code, violation.field) == ("INVALID_ARGUMENT", "deployment.programs")
        assert "3145728" in violation.description
    sweep(rpc.channel)


def test_a_stream_of_a_new_job_starts_at_its_first_event(rpc: RpcFixture) -> None:
    """The stream ended with OK and without any event when `after_sequence` was larger than the number of events."""
    stream = rpc.jobs.RunJob(bell(after_sequence=1_000), timeout=WAIT)
    created = next(stream).event
    assert created.sequence == 1
    rpc.run(created.job_id)
    *_, last = stream
    assert last.event.state_change.job.state == SUCCEEDED


def test_reflection_does_not_echo_a_question_that_is_too_large(rpc: RpcFixture) -> None:
    """An answer contains its question twice: 16 MiB became 32 MiB."""
    question = ServerReflectionRequest(host="h" * 1_500_000, file_containing_symbol="s" * 1_500_000)
    call = rpc.channel.stream_stream(REFLECTION)
    (data,) = call(iter([question.SerializeToString()]), timeout=WAIT)
    answer = ServerReflectionResponse.FromString(data)
    assert len(data) < 1000
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


class ReflectionCall:
    """A reflection call that has its first answer and stays open, as grpcurl does while it runs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.closing = threading.Event()
        self.call = channel.stream_stream(REFLECTION)(self._questions(), timeout=6 * WAIT)

    def _questions(self) -> Iterator[bytes]:
        yield ServerReflectionRequest(list_services="").SerializeToString()
        self.closing.wait(6 * WAIT)

    def first(self) -> int:
        return len(ServerReflectionResponse.FromString(next(self.call)).list_services_response.service)


def test_open_reflection_calls_block_no_other_call(rpc: RpcFixture) -> None:
    """The fifth call waited for one of the four others to end; now the first call over the limit is refused at once."""
    open_calls = [ReflectionCall(rpc.channel) for _ in range(reflection.MOST_OPEN)]
    try:
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(ReflectionCall.first, open_calls)) == {len(SERVICES) + 3}
        refused_call = ReflectionCall(rpc.channel)
        open_calls.append(refused_call)
        code, details = refused(refused_call.first)
        assert (code, details["ErrorInfo"].reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        open_calls[0].closing.set()
        assert list(open_calls[0].call) == []
    finally:
        for each in open_calls:
            each.closing.set()
            each.call.cancel()
