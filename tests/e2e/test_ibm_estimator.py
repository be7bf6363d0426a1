# SPDX-License-Identifier: Apache-2.0
"""IBM's own estimator for ESTIMATOR jobs that ask for it, on IBM's SDK over HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_pb2 import JobState, JobType, VendorMode, VendorOptions
from qonduit.v1.result_pb2 import Result
from tests.vendor_cloud.served_vendor import IBM, PATIENCE, ServedVendor, behaving_well, served_vendor

#: `make vendors` runs them; the contract of vendors has a short form.
pytestmark = pytest.mark.long

PROVIDER = "IBM_CLOUD"
#: Qubit 1 alone is 1: a reversal of the qubits gives other values.
ASYMMETRIC = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; x q[1];'
TURNED = 'OPENQASM 3.0; include "stdgates.inc"; input float t; qubit[2] q; ry(t) q[1];'
SUCCEEDED, FAILED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    with served_vendor(tmp_path_factory.mktemp("vendor"), kind=IBM) as served:
        yield served


@pytest.fixture
def served(server: ServedVendor) -> Iterator[ServedVendor]:
    with behaving_well(server) as served:
        yield served


def estimation(served: ServedVendor, text: str, *observables: str, **options: Any) -> calls.CreateJobRequest:
    """Return the request of an estimator job for IBM's own estimator."""
    vendor = options.pop("vendor", VendorOptions(resilience_level=1))
    request = served.request(PROVIDER, text, shots=options.pop("shots", 0), vendor_options=vendor)
    request.job.type = JobType.JOB_TYPE_ESTIMATOR
    for each in observables:
        request.job.estimator.observables.add().expression = each
    for name, value in options.items():
        setattr(request.job.estimator, name, value)
    return request


def run(served: ServedVendor, request: calls.CreateJobRequest) -> Result:
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == SUCCEEDED, job.failure
    (result,) = served.list_results(job)
    return result


def test_values_errors_and_shots_are_those_of_ibm(served: ServedVendor) -> None:
    before = served.vendor.control()["jobs"]
    observables = ("Z0", "Z1", "Z0*Z1 + 0.5", "2*X2", "0.25")
    result = run(served, estimation(served, ASYMMETRIC, *observables, precision=0.05))
    found = result.expectation_values
    assert [*found.values[:3], found.values[4]] == pytest.approx([1.0, -1.0, -0.5, 0.25])
    # The variance of 2*X2 is 4, and IBM takes the shots that a variance of 1 needs.
    assert abs(found.values[3]) < 0.6
    assert found.standard_errors[3] == pytest.approx(2 / math.sqrt(400), rel=0.05)
    assert found.standard_errors[:3] == pytest.approx([0, 0, 0], abs=1e-12)
    assert list(found.shots) == [400] * 5
    low, high = found.confidence_intervals[6:8]
    assert (low + high) / 2 == pytest.approx(found.values[3])
    assert (high - low) / 2 == pytest.approx(1.96 * found.standard_errors[3], rel=0.01)
    meta_data = dict(result.meta_data)
    assert meta_data["estimator"] == "IBM EstimatorV2"
    assert (meta_data["target_precision"], meta_data["calibration_id"]) == (0.05, "calibration-7")
    after = served.vendor.control()["jobs"]
    (own,) = [job for name, job in after.items() if name not in before]
    assert own["level"] == 1


def test_points_are_circuits_of_few_jobs_in_a_batch(served: ServedVendor) -> None:
    before = set(served.vendor.control()["jobs"])
    vendor = VendorOptions(resilience_level=0, mode=VendorMode.VENDOR_MODE_BATCH)
    request = estimation(served, TURNED, "Z1", "Z0", precision=0.1, vendor=vendor)
    request.deployment.programs[0].assembler_language = 2  # OpenQASM 3
    request.job.parameter_sets.names.append("t")
    request.job.parameter_sets.values.extend([0.0, math.pi, 0.0, math.pi])
    found = run(served, request).expectation_values
    assert list(found.values) == pytest.approx([1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    after = served.vendor.control()["jobs"]
    # 3 circuits, and 1.
    assert [job["group"] for name, job in after.items() if name not in before] == [f"group-{len(_groups(served))}"] * 2


def _groups(served: ServedVendor) -> Any:
    return served.vendor.control()["groups"]


def test_shots_replace_a_precision_and_limit_it(served: ServedVendor) -> None:
    exact = run(served, estimation(served, ASYMMETRIC, "Z1", shots=100, vendor=VendorOptions(resilience_level=0)))
    assert (list(exact.expectation_values.values), list(exact.expectation_values.shots)) == ([-1.0], [100])
    limited = run(served, estimation(served, ASYMMETRIC, "Z1", shots=100, precision=0.001))
    assert list(limited.expectation_values.shots) == [100]


def test_the_estimated_cost_is_the_limit_that_ibm_enforces(served: ServedVendor) -> None:
    before = served.vendor.control()["jobs"]
    request = estimation(served, ASYMMETRIC, "Z0 + X1", precision=0.1)
    request.validate_only = True
    cost = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    # 10 s, 60 s to learn the errors of measurements, and 1 s and 2 ms for each of 100 shots of two terms.
    assert (cost.amount, cost.unit) == (73, "IBM seconds")
    request.validate_only = False
    run(served, request)
    after = served.vendor.control()["jobs"]
    assert [job["most_seconds"] for name, job in after.items() if name not in before] == [73]


def test_without_the_option_groups_are_measured_as_before(served: ServedVendor) -> None:
    request = estimation(served, ASYMMETRIC, "Z1", shots=100, vendor=VendorOptions())
    result = run(served, request)
    assert list(result.expectation_values.values) == [-1.0]
    assert "estimator" not in result.meta_data


def test_a_job_of_ibm_that_fails_or_is_unreadable_fails(served: ServedVendor) -> None:
    served.vendor.control(unreadable=True)
    request = estimation(served, ASYMMETRIC, "Z1", precision=0.1)
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.state, job.failure.reason) == (FAILED, "VENDOR_RESULTS_UNREADABLE")


@pytest.mark.parametrize("name", ["exact", "per_term", "gradient"])
def test_options_that_ibm_does_not_have_are_refused(served: ServedVendor, name: str) -> None:
    request = estimation(served, ASYMMETRIC, "Z1", shots=10, **{name: True})
    if name == "exact":
        request.job.shots = 0
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert f"job.estimator.{name}: must be unset with job.vendor_options.resilience_level" in str(refused.value)


def test_other_jobs_and_devices_have_no_vendor_estimator(served: ServedVendor) -> None:
    request = served.request(PROVIDER, vendor_options=VendorOptions(resilience_level=0))
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert "only jobs of type ESTIMATOR have it" in str(refused.value)
