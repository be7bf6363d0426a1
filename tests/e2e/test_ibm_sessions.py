# SPDX-License-Identifier: Apache-2.0
"""Batches and sessions of IBM: the parts of a job share one, which is opened once and always closed."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, JobType, VendorMode, VendorOptions
from tests.contract.rpc_fixture import until
from tests.e2e.faults.trap import RecordingTrap
from tests.vendor_cloud.fake_vendor import PRICE, Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.served_vendor import (
    ASYMMETRIC,
    IBM,
    PATIENCE,
    TOKEN,
    ServedVendor,
    behaving_well,
    served_vendor,
)

#: `make vendors` runs them; the contract of vendors has a short form.
pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
#: The expectation of Z0 has the largest variance, so a precision needs a second call of the device.
PLUS = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; h q[0];'
BATCH = VendorOptions(mode=VendorMode.VENDOR_MODE_BATCH)
SESSION = VendorOptions(mode=VendorMode.VENDOR_MODE_SESSION, max_seconds=600)
PROVIDER = "IBM_CLOUD"
SUCCEEDED, FAILED, CANCELLED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED


@pytest.fixture(scope="module")
def vendor() -> Iterator[FakeVendor]:
    with fake_vendor(IBM.service) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def server(vendor: FakeVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    with served_vendor(tmp_path_factory.mktemp("vendor"), kind=IBM, vendor=vendor) as served:
        yield served


@pytest.fixture
def served(server: ServedVendor) -> Iterator[ServedVendor]:
    with behaving_well(server) as served:
        yield served


class Groups:
    """The batches and sessions that IBM opens from now on, and their jobs."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor
        self.before = set(vendor.control()["groups"])
        self.jobs_before = set(vendor.control()["jobs"])
        self.requests = {kind: vendor.requests(kind) for kind in ("open", "close")}

    def opened(self) -> list[dict[str, Any]]:
        return [group for name, group in self.vendor.control()["groups"].items() if name not in self.before]

    def jobs(self) -> list[Any]:
        """Return the group of each new job."""
        return [job.get("group") for name, job in self.vendor.control()["jobs"].items() if name not in self.jobs_before]

    def sent(self, kind: str) -> int:
        """Return the number of requests on the wire."""
        return self.vendor.requests(kind) - self.requests[kind]

    def check_closed(self, job: Job) -> dict[str, Any]:
        """Check that one was opened, with one request, and is closed; return it."""
        (group,) = self.opened()
        assert self.sent("open") == 1
        assert (group["accepting_jobs"], job.provider_status.group.id) == (False, group["id"])
        return group


def test_the_parts_of_a_job_share_a_batch_which_is_closed_once_all_are_sent(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(hold=True)
    job_id = served.create(PROVIDER, *[ASYMMETRIC] * 4, shots=1500, vendor_options=BATCH)
    job = served.until(job_id, lambda event: event.provider_status.group.state == "pending_closed")
    # It is closed while its jobs wait: a session would be charged for the time until the results are read.
    group = groups.check_closed(job)
    assert (group["mode"], group["max_ttl"], len(groups.jobs())) == ("batch", 3600, 4)
    first = job.provider_specific_id
    served.vendor.control(hold=False)
    job = served.end(job_id)
    assert job.state == SUCCEEDED, job.failure
    assert served.counts(job) == [{"0x1 0x0": 1500}] * 4
    assert set(groups.jobs()) == {group["id"]}
    status = job.provider_status
    assert (status.group.mode, status.group.state) == (VendorMode.VENDOR_MODE_BATCH, "closed")
    assert (status.part_count, status.cost.amount, status.cost.unit) == (4, 8 * PRICE, "IBM seconds")
    # Two parts are sent at once: the vendor decides which of them is the first.
    assert job.provider_specific_id == first
    assert first in {part.vendor_id for part in status.parts}
    assert groups.sent("open") == 1


def test_a_session_is_charged_by_its_duration_up_to_its_limit(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    request = served.request(PROVIDER, ASYMMETRIC, vendor_options=SESSION)
    request.validate_only = True
    cost = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    # Its limit, and that of its job, which continues when the session ends.
    assert (cost.amount, cost.unit) == (612, "IBM seconds")
    request.validate_only = False
    request.job.max_cost.amount, request.job.max_cost.unit = 611, "IBM seconds"
    refused = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (refused.state, refused.failure.reason) == (FAILED, "COST_LIMIT")
    assert groups.sent("open") == 0
    request.job.max_cost.amount = 612
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == SUCCEEDED, job.failure
    group = groups.check_closed(job)
    assert (group["mode"], group["max_ttl"]) == ("dedicated", 600)
    # The session's, and not also that of its job.
    assert (job.provider_status.cost.amount, job.provider_status.cost.unit) == (7.5, "IBM seconds")
    assert not job.provider_status.HasField("reserved")


def test_dependent_calls_of_an_estimator_share_a_session(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    request = served.request(PROVIDER, PLUS, shots=0, vendor_options=SESSION)
    request.job.type = JobType.JOB_TYPE_ESTIMATOR
    request.job.estimator.precision = 0.05
    request.job.estimator.observables.add().expression = "Z0"
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == SUCCEEDED, job.failure
    group = groups.check_closed(job)
    assert {part.stage for part in job.provider_status.parts} == {0, 1}
    assert set(groups.jobs()) == {group["id"]}


def test_a_cancelled_job_closes_its_session(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(hold=True)
    job_id = served.create(PROVIDER, vendor_options=SESSION)
    served.at_vendor(job_id)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    job = served.end(job_id)
    assert job.state == CANCELLED, job.failure
    groups.check_closed(job)


def test_a_failed_job_closes_its_session(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(submits=["refuse"])
    job = served.run(PROVIDER, vendor_options=SESSION)
    assert (job.state, job.failure.reason) == (FAILED, "VENDOR_REFUSED")
    groups.check_closed(job)


def test_an_unknown_submission_closes_its_session(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(submits=["cut"])
    job = served.run(PROVIDER, vendor_options=SESSION)
    assert (job.state, job.failure.reason) == (FAILED, "SUBMISSION_UNKNOWN")
    groups.check_closed(job)


def test_a_refused_session_submits_nothing(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(opens=["refuse"])
    job = served.run(PROVIDER, vendor_options=SESSION)
    assert (job.state, job.failure.reason, job.failure.provider_code) == (FAILED, "VENDOR_REFUSED", "E-1")
    assert (groups.opened(), groups.jobs(), groups.sent("open")) == ([], [], 1)
    assert not job.provider_status.HasField("reserved")


def test_a_busy_vendor_is_asked_for_a_session_again(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(opens=["busy"], closes=["busy", "fail"], retry_after=0.1)
    job = served.run(PROVIDER, vendor_options=SESSION)
    assert job.state == SUCCEEDED, job.failure
    (group,) = groups.opened()
    assert not group["accepting_jobs"]
    assert groups.sent("open") == 2


@pytest.mark.parametrize("mode", ["accept-cut", "accept-fail", "cut"])
def test_a_session_whose_opening_had_no_answer_is_not_opened_again(served: ServedVendor, mode: str) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(opens=[mode])
    job = served.run(PROVIDER, vendor_options=SESSION)
    assert (job.state, job.failure.reason) == (FAILED, "SUBMISSION_UNKNOWN")
    assert "to open a session" in job.failure.message
    assert (groups.sent("open"), groups.jobs()) == (1, [])
    if mode == "cut":
        return
    (group,) = groups.opened()
    request = calls.ResolveSubmissionRequest(id=job.id, vendor_id=group["id"], credential=IBM.credential(TOKEN))
    adopted = served.end(served.jobs.ResolveSubmission(request, timeout=PATIENCE).job.id)
    assert adopted.state == SUCCEEDED, adopted.failure
    groups.check_closed(adopted)
    assert groups.jobs() == [group["id"]]


def test_a_vendor_that_closes_nothing_does_not_hold_results(served: ServedVendor) -> None:
    groups = Groups(served.vendor)
    served.vendor.control(closes=["refuse"] * 10)
    job = served.run(PROVIDER, vendor_options=BATCH)
    assert job.state == SUCCEEDED, job.failure
    assert f"has not closed the batch {groups.opened()[0]['id']}" in job.provider_status.message


def test_a_device_without_sessions_refuses_them(served: ServedVendor, tmp_path: Path) -> None:
    request = served.request(PROVIDER, vendor_options=VendorOptions(max_seconds=5))
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert "without a mode" in str(refused.value)
    with served_vendor(tmp_path) as other, pytest.raises(grpc.RpcError) as unsupported:
        other.create("CLOUD_ID", vendor_options=SESSION)
    assert "CLOUD_ID/machine has no session at a vendor" in str(unsupported.value)


def test_a_session_outlives_a_server_that_is_killed_and_is_closed_by_the_next(
    vendor: FakeVendor, tmp_path: Path
) -> None:
    vendor.control(
        **vars(Behavior()),
    )
    vendor.control(hold=True)
    groups = Groups(vendor)
    with served_vendor(tmp_path, kind=IBM, vendor=vendor) as first:
        job_id = first.create(PROVIDER, vendor_options=SESSION)
        first.at_vendor(job_id)
        first.server.process.send_signal(signal.SIGKILL)
        first.server.process.wait(PATIENCE)
    vendor.control(hold=False)
    with served_vendor(tmp_path, kind=IBM, vendor=vendor) as second:
        job = second.end(job_id)
        assert job.state == SUCCEEDED, job.failure
        groups.check_closed(job)


def test_a_server_that_dies_while_a_session_opens_opens_no_second_one(vendor: FakeVendor, tmp_path: Path) -> None:
    vendor.control(**vars(Behavior()))
    vendor.control(opens=["accept-hang"])
    groups = Groups(vendor)
    terms = {"IBM_CLOUD": {"submit_seconds": 8.0}}
    with served_vendor(tmp_path, kind=IBM, vendor=vendor, terms=terms) as first:
        job_id = first.create(PROVIDER, vendor_options=SESSION)
        reached = threading.Event()
        until = time.monotonic() + PATIENCE
        while not groups.opened() and time.monotonic() < until:
            reached.wait(0.05)
        first.server.process.send_signal(signal.SIGKILL)
        first.server.process.wait(PATIENCE)
    with served_vendor(tmp_path, kind=IBM, vendor=vendor, terms=terms) as second:
        job = second.end(job_id)
    assert (job.state, job.failure.reason) == (FAILED, "SUBMISSION_UNKNOWN")
    assert (groups.sent("open"), len(groups.opened()), groups.jobs()) == (1, 1, [])


def open_session(served: ServedVendor) -> int:
    """Create a job that makes dependent calls, so that its session stays open; return it once IBM has the first."""
    served.vendor.control(hold=True)
    request = served.request(PROVIDER, PLUS, shots=0, vendor_options=SESSION)
    request.job.type = JobType.JOB_TYPE_ESTIMATOR
    request.job.estimator.precision = 0.05
    request.job.estimator.observables.add().expression = "Z0"
    job_id = int(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    served.at_vendor(job_id)
    return job_id


def check_left(served: ServedVendor, groups: Groups, job_id: int, folder: Path) -> None:
    """Check that the session of an ended job is closed after its end, and that nothing is left of it."""
    until(lambda: not groups.opened()[0]["accepting_jobs"])
    served.vendor.control(hold=False)  # its job at IBM ends
    until(lambda: served.get(job_id).provider_status.group.state == "closed")
    job = served.get(job_id)
    groups.check_closed(job)
    assert (job.provider_status.cost.amount, job.provider_status.cost.unit) == (7.5, "IBM seconds")
    assert not job.provider_status.HasField("reserved")
    with sqlite3.connect(folder / "q.sqlite3") as database:
        for table in ("left_groups", "job_credentials"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert groups.sent("open") == 1


def test_a_server_that_is_killed_while_it_cancels_leaves_no_session_open(vendor: FakeVendor, tmp_path: Path) -> None:
    vendor.control(**vars(Behavior()))
    vendor.control(cancel="fail")
    groups = Groups(vendor)
    with served_vendor(tmp_path, kind=IBM, vendor=vendor) as first:
        job_id = open_session(first)
        first.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
        first.until(job_id, lambda event: "not been asked to cancel" in event.provider_status.message)
        first.server.process.send_signal(signal.SIGKILL)
        first.server.process.wait(PATIENCE)
        assert groups.sent("close") == 0
    with served_vendor(tmp_path, kind=IBM, vendor=vendor) as second:
        assert second.end(job_id).state == CANCELLED
        check_left(second, groups, job_id, tmp_path)


def test_a_worker_that_dies_at_the_last_attempt_leaves_no_session_open(
    vendor: FakeVendor, tmp_path: Path, trap: RecordingTrap
) -> None:
    vendor.control(**vars(Behavior()))
    groups = Groups(vendor)
    path = os.pathsep.join((trap.environment["PYTHONPATH"], str(tmp_path / "packages"), str(ROOT)))
    environment = trap.environment | {"PYTHONPATH": path}
    with served_vendor(tmp_path, kind=IBM, vendor=vendor, environment=environment, max_attempts="1") as served:
        job_id = open_session(served)
        trap.arm("task-not-begun")
        vendor.control(hold=False)
        trap.wait("task-not-begun")
        job = served.end(job_id)
        assert (job.state, job.failure.category) == (FAILED, FailureCategory.FAILURE_CATEGORY_WORKER)
        check_left(served, groups, job_id, tmp_path)
