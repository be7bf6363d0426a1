# SPDX-License-Identifier: Apache-2.0
"""CompareDevices, with the real descriptions of the built-in devices and real analysis of programs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramFeatures, Task
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest
from qonduit.v1.device_service_pb2 import CompareDevicesRequest, DeviceFit
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue
from tests.contract.program_analysis import Analysis, built_in_devices, finish
from tests.contract.rpc_fixture import BELL, CALLER_KEY, WAIT, RpcFixture, by_name, programs, refused, rpc_fixture

WIDE_CLIFFORD = BELL.replace("[2]", "[120]")
WIDE = WIDE_CLIFFORD.replace("h q[0];", "h q[0]; t q[0];")
NOISE = NoiseModel(gate_errors=[GateError(gates=["cx"], channel=NoiseChannel(amplitude_damping=0.1))])


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return Analysis()


@pytest.fixture
def rpc(tmp_path: Path, analysis: Analysis) -> Iterator[RpcFixture]:
    analysis.reset()
    with built_in_devices(tmp_path, analyze_job=analysis) as it:
        yield it


def asking() -> CreateJobRequest:
    """Return a request that validates a Bell job."""
    return CreateJobRequest(
        job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL), validate_only=True
    )


def create(rpc: RpcFixture, device: str) -> int:
    """Create a Bell job; return its id."""
    request = CreateJobRequest(job=Job(shots=1000), device=device, deployment=programs(BELL))
    return int(rpc.jobs.CreateJob(request, timeout=WAIT).job.id)


def compare(rpc: RpcFixture, text: str = BELL, **job: Any) -> dict[str, DeviceFit]:
    request = CompareDevicesRequest(job=Job(**{"shots": 1000, **job}), deployment=programs(text))
    return {fit.device: fit for fit in rpc.devices.CompareDevices(request, timeout=WAIT).fits}


def test_compare_devices(rpc: RpcFixture) -> None:
    fits = compare(rpc, WIDE)
    assert len(fits) == len(catalogue.devices_by_name(rpc.db))
    assert not any(fit.supported for fit in fits.values() if "fake" not in fit.device)
    fits = compare(rpc)
    assert next(iter(fits)) == "IBM/aer_simulator"
    aer, shaped, single = (fits[name] for name in ("IBM/aer_simulator", "IBM/fake_manila", "GOOGLE/qsim_simulator"))
    assert (aer.supported, aer.auto_eligible, aer.reason, aer.method) == (True, True, "", "statevector")
    assert (shaped.supported, shaped.auto_eligible) == (single.supported, single.auto_eligible) == (True, False)
    assert single.reason == "it simulates in single precision"
    assert not aer.HasField("estimated_seconds_p50")
    create(rpc, "IBM/aer_simulator")
    assert compare(rpc)["IBM/aer_simulator"].queue_depth == 1


def test_estimates_come_from_finished_runs(rpc: RpcFixture) -> None:
    for device, method, seconds in (
        ("IBM/aer_simulator", "statevector", 0.5),
        ("AWS/local_simulator", "statevector", 0.25),
        ("GOOGLE/cirq_simulator", "none: nothing random is measured", 0.1),
    ):
        for _ in range(5):
            job_id = create(rpc, device)
            rpc.claim()
            finish(rpc, job_id, method=method, run_seconds=seconds, operations=4, qubits=2)
    fits = compare(rpc)
    assert fits["IBM/aer_simulator"].estimated_seconds_p50 == pytest.approx(0.5)
    assert fits["AWS/local_simulator"].estimated_seconds_p90 == pytest.approx(0.25)
    assert not fits["GOOGLE/cirq_simulator"].HasField("estimated_seconds_p50")
    # Nothing is known of the others; a typical device takes a millisecond.
    assert next(iter(fits)) == "AWS/braket_dm"


def test_noise_model_counts(rpc: RpcFixture) -> None:
    fits = compare(rpc, noise_model=NOISE)
    assert fits["IBM/aer_simulator"].method == "density_matrix"
    assert fits["STIM/stim"].reason == (
        "it runs Clifford gates only, and the program has the channel amplitude_damping at qubit 0"
    )
    assert not fits["AWS/local_simulator"].supported


def test_invalid_program_is_refused_with_its_line(rpc: RpcFixture) -> None:
    code, details = refused(lambda: compare(rpc, BELL.replace("cx q[0],q[1]", "cy_typo q[0]")))
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_PROGRAM")
    (violation,) = details["BadRequest"].field_violations
    assert violation.field == "deployment.programs[0].quantum_circuit"
    assert "line 6" in violation.description


def test_programs_that_take_too_long_to_read(rpc: RpcFixture, analysis: Analysis) -> None:
    limit = FailureCategory.FAILURE_CATEGORY_LIMIT
    analysis.failure = Failure(category=limit, reason="TIME_LIMIT", message="it takes longer than 2 s")
    code, details = refused(lambda: compare(rpc))
    assert code == "RESOURCE_EXHAUSTED"
    assert "RetryInfo" not in details


def test_programs_of_a_stored_deployment(rpc: RpcFixture) -> None:
    stored = rpc.deployments.CreateDeployment(CreateDeploymentRequest(deployment=programs(WIDE_CLIFFORD)), timeout=WAIT)
    request = CompareDevicesRequest(job=Job(shots=1, deployment_id=stored.deployment.id))
    fits = rpc.devices.CompareDevices(request, timeout=WAIT).fits
    assert [fit.device for fit in fits if fit.auto_eligible] == ["IBM/aer_simulator", "STIM/stim"]
    request.job.deployment_id += 1
    assert refused(lambda: rpc.devices.CompareDevices(request, timeout=WAIT))[0] == "NOT_FOUND"


def test_server_without_analysis(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as it:
        assert refused(lambda: compare(it))[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.ClearField("job"),
        lambda request: request.job.ClearField("shots"),
        lambda request: request.ClearField("deployment"),
        lambda request: request.deployment.ClearField("programs"),
        lambda request: request.deployment.CopyFrom(Deployment(programs=[{"quantum_circuit": BELL}])),
    ],
)
def test_invalid_comparison(rpc: RpcFixture, change: Callable[[CompareDevicesRequest], None]) -> None:
    request = CompareDevicesRequest(job=Job(shots=10), deployment=programs(BELL))
    change(request)
    assert refused(lambda: rpc.devices.CompareDevices(request, timeout=WAIT))[0] == "INVALID_ARGUMENT"


def test_budget_of_a_caller(tmp_path: Path, analysis: Analysis) -> None:
    analysis.reset()
    analysis.seconds = 4.0
    limits = Limits(max_caller_preparation_seconds=6)
    request = CompareDevicesRequest(job=Job(shots=10), deployment=programs(BELL))
    with rpc_fixture(tmp_path, analyze_job=analysis, limits=limits, authenticate=by_name()) as it:
        mine = {"metadata": ((CALLER_KEY, "mine"),), "timeout": WAIT}
        other = {"metadata": ((CALLER_KEY, "other"),), "timeout": WAIT}
        for _ in range(2):
            it.devices.CompareDevices(request, **mine)
        code, details = refused(lambda: it.devices.CompareDevices(request, **mine))
        assert code == "RESOURCE_EXHAUSTED"
        assert details["QuotaFailure"].violations[0].subject == "max_caller_preparation_seconds"
        assert 15 < details["RetryInfo"].retry_delay.seconds <= 21
        it.devices.CompareDevices(request, **other)
        checked = asking()
        code, details = refused(lambda: it.jobs.CreateJob(checked, **mine))
        assert details["QuotaFailure"].violations[0].subject == "max_caller_preparation_seconds"
        checked.validate_only = False
        assert it.jobs.CreateJob(checked, **mine).job.id


def test_calls_of_a_caller_at_once(tmp_path: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(task: Task, *_: Any) -> tuple[Sequence[ProgramFeatures], Sequence[ProgramFailed]]:
        began.set()
        assert go.wait(WAIT)
        return (), ()

    request = CompareDevicesRequest(job=Job(shots=10), deployment=programs(BELL))
    limits = Limits(max_caller_preparations=1)
    with rpc_fixture(tmp_path, analyze_job=slow, limits=limits, authenticate=by_name()) as it:
        mine = {"metadata": ((CALLER_KEY, "mine"),), "timeout": WAIT}
        first = it.devices.CompareDevices.future(request, **mine)
        assert began.wait(WAIT)
        code, details = refused(lambda: it.devices.CompareDevices(request, **mine))
        assert (code, details["QuotaFailure"].violations[0].subject) == (
            "RESOURCE_EXHAUSTED",
            "max_caller_preparations",
        )
        other = it.devices.CompareDevices.future(request, metadata=((CALLER_KEY, "other"),), timeout=WAIT)
        go.set()
        assert first.result().fits
        assert other.result().fits
        assert it.devices.CompareDevices(request, **mine).fits
