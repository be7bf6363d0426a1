# SPDX-License-Identifier: Apache-2.0
"""Device "AUTO" through the RPCs: one final choice from event 1, requests that repeat, and the reasons of a choice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import DeviceChoice, Job
from qonduit.v1.job_service_pb2 import (
    CreateJobRequest,
    CreateJobResponse,
    GetJobRequest,
    ListJobsRequest,
    RerunJobRequest,
)
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.rpc.server_limits import Limits
from tests.contract.program_analysis import Analysis, Compilation, built_in_devices, finish
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, programs, refused, until

REQUEST_ID = "0d5c1f0e-6a3b-4f4e-8f0b-6c1f9b3d7a11"
#: The built-in devices that "AUTO" prefers for a Bell circuit, in order, while no run has finished.
FIRST, SECOND = "IBM/aer_simulator", "AWS/local_simulator"
WORKER, LIMIT = FailureCategory.FAILURE_CATEGORY_WORKER, FailureCategory.FAILURE_CATEGORY_LIMIT


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return Analysis()


@pytest.fixture
def compilation() -> Compilation:
    return Compilation()


@pytest.fixture
def rpc(tmp_path: Path, analysis: Analysis, compilation: Compilation) -> Iterator[RpcFixture]:
    analysis.reset()
    with built_in_devices(tmp_path, analyze_job=analysis, compile_job=compilation) as it:
        yield it


def create(rpc: RpcFixture, device: str = "AUTO", text: str = BELL, **fields: Any) -> CreateJobResponse:
    options = {key: fields.pop(key) for key in ("request_id", "validate_only") if key in fields}
    job = Job(**{"shots": 1000} | fields)
    request = CreateJobRequest(job=job, device=device, deployment=programs(text), **options)
    return rpc.jobs.CreateJob(request, timeout=WAIT)


def stored(rpc: RpcFixture) -> list[int]:
    return [job.id for job in rpc.jobs.ListJobs(ListJobsRequest(), timeout=WAIT).jobs]


def test_the_first_event_names_the_chosen_device(rpc: RpcFixture) -> None:
    stream = rpc.jobs.RunJob(bell(device="IBM/AUTO"), timeout=WAIT)
    created = next(stream).event.created
    assert (created.device, created.device_choice.requested) == (FIRST, "IBM/AUTO")
    rpc.run(created.id)
    list(stream)
    job = rpc.jobs.GetJob(GetJobRequest(id=created.id), timeout=WAIT).job
    assert (job.device, job.executed_on_id) == (created.device, created.executed_on_id)
    assert job.device_choice == created.device_choice


def test_an_equal_request_returns_the_job_and_a_rerun_its_device(rpc: RpcFixture, analysis: Analysis) -> None:
    first = create(rpc, request_id=REQUEST_ID).job
    # A new choice would be another device, since a job waits on the first one.
    assert create(rpc).job.device == SECOND
    again = create(rpc, request_id=REQUEST_ID)
    assert (again.job, again.deduplicated) == (first, True)
    rerun = rpc.jobs.RerunJob(RerunJobRequest(id=first.id), timeout=WAIT).job
    assert (rerun.device, rerun.device_choice) == (first.device, first.device_choice)
    assert len(analysis.threads) == 2


def test_the_request_is_what_was_named_and_not_what_was_chosen(rpc: RpcFixture) -> None:
    first = create(rpc, request_id=REQUEST_ID).job
    assert refused(lambda: create(rpc, first.device, request_id=REQUEST_ID))[0] == "ALREADY_EXISTS"
    assert refused(lambda: create(rpc, "IBM/AUTO", request_id=REQUEST_ID))[0] == "ALREADY_EXISTS"


def test_a_choice_in_a_request_is_ignored(rpc: RpcFixture) -> None:
    sent = DeviceChoice(requested="AUTO", reason="invented")
    assert not create(rpc, FIRST, device_choice=sent).job.HasField("device_choice")
    first = create(rpc, request_id=REQUEST_ID, device_choice=sent).job
    assert first.device_choice.reason != "invented"
    assert create(rpc, request_id=REQUEST_ID).job.id == first.id


def test_validation_shows_the_choice_and_compiles_once(
    rpc: RpcFixture, analysis: Analysis, compilation: Compilation
) -> None:
    response = create(rpc, validate_only=True)
    assert (response.job.device, response.job.device_choice.requested) == (FIRST, "AUTO")
    assert response.compiled[0].num_qubits == 2
    assert (compilation.devices, len(analysis.threads)) == ([FIRST], 1)
    (message,) = rpc.jobs.RunJob(bell(1000, device="AUTO", validate_only=True), timeout=WAIT)
    assert message.event.created.device_choice == response.job.device_choice
    assert (compilation.devices, len(analysis.threads)) == ([FIRST, FIRST], 2)
    assert not stored(rpc)
    create(rpc)
    assert len(compilation.devices) == 2


def test_a_choice_holds_no_thread_that_opens_streams(rpc: RpcFixture, analysis: Analysis) -> None:
    stream = rpc.jobs.RunJob(bell(device="AUTO"), timeout=WAIT)
    assert next(stream).event.created.device == FIRST
    (thread,) = analysis.threads
    assert thread.startswith("rpc-validate")
    stream.cancel()


def test_the_choice_contains_method_memory_and_estimate(rpc: RpcFixture) -> None:
    choice = create(rpc).job.device_choice
    assert (choice.method, choice.memory_bytes) == ("statevector", 64)
    assert not choice.HasField("estimated_seconds_p50")
    assert "comes first of 6 exact simulators" in choice.reason
    assert "time unknown" in choice.reason
    assert f"next is {SECOND}" in choice.reason
    rpc.claim()
    for device, seconds in ((FIRST, 0.5), (SECOND, 0.25)):
        for _ in range(5):
            job_id = create(rpc, device).job.id
            rpc.claim()
            finish(rpc, job_id, method="statevector", run_seconds=seconds, operations=4, qubits=2)
    job = create(rpc, "IBM/AUTO").job
    assert job.device_choice.estimated_seconds_p50 == pytest.approx(0.5)
    assert job.device_choice.estimated_seconds_p90 == pytest.approx(0.5)
    assert "estimated 0.5 s (p90 0.5 s)" in job.device_choice.reason


@pytest.mark.parametrize(
    ("text", "options", "device", "method"),
    [
        (BELL.replace("[2]", "[120]"), {}, FIRST, "stabilizer"),
        (BELL, {"simulation": SimulationOptions(method="trajectories")}, FIRST, "trajectories"),
        (BELL, {"simulation": SimulationOptions(floating_point="single")}, FIRST, "statevector"),
        (
            BELL,
            {"noise_model": NoiseModel(gate_errors=[GateError(gates=["cx"], channel=NoiseChannel(bit_flip=0.1))])},
            FIRST,
            "density_matrix",
        ),
        (
            BELL.replace("[2]", "[60]").replace("h q[0];", "h q[0]; t q[0];"),
            {"simulation": SimulationOptions(allow_approximate=True)},
            FIRST,
            "matrix_product_state",
        ),
    ],
)
def test_the_options_and_gates_of_a_job_decide(
    rpc: RpcFixture, text: str, options: dict[str, Any], device: str, method: str
) -> None:
    job = create(rpc, text=text, **options).job
    assert (job.device, job.device_choice.method) == (device, method)


@pytest.mark.parametrize("reason", ["TIME_LIMIT", "NO_TIME"])
def test_programs_that_are_not_read_in_time_go_to_a_universal_device(
    rpc: RpcFixture, analysis: Analysis, reason: str
) -> None:
    analysis.failure = Failure(category=LIMIT, reason=reason, message="it takes longer than 2 s")
    job = create(rpc).job
    assert job.device == FIRST
    assert "only the options of the job were compared" in job.device_choice.reason
    assert (job.device_choice.method, job.device_choice.memory_bytes) == ("", 0)
    code, details = refused(lambda: create(rpc, "STIM/AUTO"))
    assert code == "FAILED_PRECONDITION"
    assert "STIM/stim: it runs Clifford gates only" in details["PreconditionFailure"].violations[0].description
    # Declared qubits are known without reading.
    code, details = refused(lambda: create(rpc, "GOOGLE/AUTO", BELL.replace("[2]", "[50]")))
    assert "declares 50 qubits" in details["PreconditionFailure"].violations[0].description


def test_a_burst_of_choices_is_queued_without_reading_the_programs(tmp_path: Path, analysis: Analysis) -> None:
    analysis.reset()
    began, go = threading.Event(), threading.Event()

    def wait(add_callback: Any) -> None:
        began.set()
        assert go.wait(WAIT)

    analysis.during = wait
    # With three threads, one call may wait for a worker.
    with built_in_devices(tmp_path, analyze_job=analysis, compile_job=Compilation(), threads=3) as rpc:
        first = rpc.jobs.CreateJob.future(
            CreateJobRequest(job=Job(shots=1), device="AUTO", deployment=programs(BELL)), timeout=WAIT
        )
        assert began.wait(WAIT)
        job = create(rpc).job
        assert (job.device, job.device_choice.method) == (FIRST, "")
        assert "only the options of the job were compared" in job.device_choice.reason
        assert next(rpc.jobs.RunJob(bell(device="AUTO"), timeout=WAIT)).event.created.device_choice.method == ""
        assert refused(lambda: create(rpc, validate_only=True))[0] == "RESOURCE_EXHAUSTED"
        go.set()
        assert first.result().job.device_choice.method == "statevector"
        assert create(rpc).job.device_choice.method
    assert len(analysis.threads) == 2


def test_each_device_that_does_not_fit_is_listed_with_its_reason(rpc: RpcFixture) -> None:
    simulation = SimulationOptions(method="matrix_product_state")
    code, details = refused(lambda: create(rpc, "AWS/AUTO", simulation=simulation))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    (violation,) = details["PreconditionFailure"].violations
    for name in ("AWS/local_simulator", "AWS/braket_dm"):
        assert f"{name}: it has no simulation method" in violation.description
    assert not stored(rpc)


@pytest.mark.parametrize("device", ["NOPE/AUTO", "/AUTO", "ibm/AUTO"])
def test_unknown_provider(rpc: RpcFixture, analysis: Analysis, device: str) -> None:
    code, details = refused(lambda: create(rpc, device))
    assert code == "NOT_FOUND"
    assert details["ResourceInfo"].resource_type == "provider"
    assert "does not exist; providers of this server: AWS, GOOGLE, IBM" in details["ResourceInfo"].description
    assert refused(lambda: next(rpc.jobs.RunJob(bell(device=device), timeout=WAIT)))[0] == "NOT_FOUND"
    assert not analysis.threads


def test_invalid_requests_are_refused_before_programs_are_read(rpc: RpcFixture, analysis: Analysis) -> None:
    assert refused(lambda: create(rpc, shots=10**9))[0] == "INVALID_ARGUMENT"
    missing = CreateJobRequest(job=Job(shots=1, deployment_id=99), device="AUTO")
    assert refused(lambda: rpc.jobs.CreateJob(missing, timeout=WAIT))[0] == "NOT_FOUND"
    assert not analysis.threads
    code, details = refused(lambda: create(rpc, text=BELL.replace("cx", "cxx")))
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_PROGRAM")


def test_a_client_that_leaves_during_the_choice_creates_no_job(rpc: RpcFixture, analysis: Analysis) -> None:
    began, gone = threading.Event(), threading.Event()

    def wait_for_the_end(add_callback: Any) -> None:
        assert add_callback(gone.set)
        began.set()
        assert gone.wait(WAIT)
        analysis.failure = Failure(category=WORKER, reason="CANCELLED", message="it was cancelled")

    analysis.during = wait_for_the_end
    stream = rpc.jobs.RunJob(bell(device="AUTO"), timeout=WAIT)
    assert began.wait(WAIT)
    stream.cancel()
    until(lambda: analysis.failure is not None)
    analysis.reset()
    assert create(rpc).job.id
    assert len(stored(rpc)) == 1


def test_a_server_that_stops_during_the_choice_creates_no_job(rpc: RpcFixture, analysis: Analysis) -> None:
    analysis.during = lambda add_callback: rpc.server.drain()
    assert refused(lambda: create(rpc))[0] == "UNAVAILABLE"
    assert not stored(rpc)


def test_a_choice_uses_the_budget_of_its_caller(tmp_path: Path, analysis: Analysis) -> None:
    analysis.reset()
    analysis.seconds = 4.0
    with built_in_devices(tmp_path, analyze_job=analysis, limits=Limits(max_caller_preparation_seconds=3)) as rpc:
        assert create(rpc).job.device == FIRST
        code, details = refused(lambda: create(rpc))
        assert code == "RESOURCE_EXHAUSTED"
        assert details["QuotaFailure"].violations[0].subject == "max_caller_preparation_seconds"
        assert create(rpc, FIRST).job.id
