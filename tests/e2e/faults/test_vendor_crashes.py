# SPDX-License-Identifier: Apache-2.0
"""A server, or the process that calls the vendor, dies at each step of a submission: the vendor has each job once."""

from __future__ import annotations

import functools
import importlib
import os
import random
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import grpc
import pytest

from qonduit.v1.job_pb2 import Job, JobState, VendorMode, VendorOptions
from qonduit.v1.job_service_pb2 import ListJobsRequest
from qonduit.v1.usage_service_pb2 import ListUsageRequest
from qonduit.v1.usage_service_pb2_grpc import UsageServiceStub
from tests.e2e.faults.points import KillPoint
from tests.e2e.faults.trap import Trap
from tests.e2e.faults.vendor_points import PROCESS_POINTS, VENDOR_POINTS
from tests.vendor_cloud.fake_vendor import PRICE, FakeVendor, fake_vendor
from tests.vendor_cloud.served_vendor import (
    AWS,
    CLOUD,
    GOOGLE,
    IBM,
    IONQ,
    IQM,
    RIGETTI,
    ServedVendor,
    VendorKind,
    served_vendor,
)

ROOT = Path(__file__).resolve().parents[3]
SEED = int(os.environ.get("CRASH_SEED", "1"))
#: More rounds kill more calls: `make vendors` sets it.
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "0"))
#: Their submissions have no id, token or tag.
UNMARKED = ("CLOUD_NOTHING", "RIGETTI_CLOUD")
SAFE = ("CLOUD_ID", "CLOUD_TOKEN", "GOOGLE_CLOUD", "AWS_CLOUD")


@pytest.mark.parametrize("point", [*VENDOR_POINTS, *PROCESS_POINTS], ids=lambda point: point.name)
def test_every_point_names_an_existing_function(point: KillPoint) -> None:
    assert callable(functools.reduce(getattr, point.function.split("."), importlib.import_module(point.module)))


class Crashes:
    """Jobs of all providers of a vendor, on servers of one database that are killed one after another."""

    def __init__(
        self, folder: Path, kind: VendorKind, vendor: FakeVendor, options: VendorOptions | None = None
    ) -> None:
        self.folder = folder
        self.options = options
        self.kind = kind
        self.vendor = vendor
        self.hit = threading.Event()
        self.trap = Trap(folder / "trap", lambda *_: self.hit.set(), (*VENDOR_POINTS, *PROCESS_POINTS))
        self.jobs: dict[int, str] = {}
        self.kills: list[str] = []

    def environment(self) -> dict[str, str]:
        return {"DEADLY": self.trap.environment["DEADLY"]}

    def round(self, point: KillPoint, number: int) -> None:
        """Start a server, create jobs, and wait until the armed call kills the process."""
        self.hit.clear()
        with self.served() as served:
            self.trap.arm(point.name, number)
            for provider in self.kind.names:
                self.create(served, provider)
            if point in PROCESS_POINTS:
                self.finish(served)
            else:
                waiter = threading.Thread(target=self.finish, args=(served,), daemon=True)
                waiter.start()
                while waiter.is_alive() and not self.hit.is_set():
                    waiter.join(0.05)
                if self.hit.is_set():
                    assert served.server.process.wait(100) == -9
            self.trap.disarm(point.name)
        if self.hit.is_set():
            self.kills.append(point.name)

    def create(self, served: ServedVendor, provider: str) -> None:
        """Create a job. The steps of earlier jobs may kill the server before it answers."""
        try:
            self.jobs[served.create(provider, shots=10, vendor_options=self.options)] = provider
        except grpc.RpcError:
            if not self.hit.wait(60):
                raise

    def served(self) -> AbstractContextManager[ServedVendor]:
        path = os.pathsep.join((str(Path(__file__).with_name("deadly")), str(self.folder / "packages"), str(ROOT)))
        environment = {**self.environment(), "PYTHONPATH": path}
        return served_vendor(
            self.folder, kind=self.kind, vendor=self.vendor, environment=environment, max_attempts="100"
        )

    def finish(self, served: ServedVendor) -> None:
        """Wait until all jobs have ended, or the server has."""
        for job_id in self.jobs:
            try:
                served.end(job_id)
            except grpc.RpcError:
                return

    def check(self, served: ServedVendor) -> None:
        """Check the end of each job, the jobs of the vendor, and their costs."""
        for job in served.jobs.ListJobs(ListJobsRequest(page_size=1000), timeout=100).jobs:
            self.jobs.setdefault(job.id, job.device.partition("/")[0])  # created without an answer
        jobs = {job_id: served.end(job_id) for job_id in self.jobs}
        accepted = self.vendor.control()["jobs"]
        marks = Counter(job["mark"] for job in accepted.values())
        unmarked = marks.pop("", 0)
        assert not [mark for mark, count in marks.items() if count > 1]
        assert unmarked <= sum(provider in UNMARKED for provider in self.jobs.values())
        assert len(marks) + unmarked <= len(self.jobs)
        for job_id, job in jobs.items():
            if job.state == JobState.JOB_STATE_SUCCEEDED:
                assert served.counts(job) == [{"0x1 0x0": 10}]
            else:
                assert self.jobs[job_id] not in SAFE, job.failure
                assert job.failure.reason == "SUBMISSION_UNKNOWN", job.failure
        if self.options is not None:
            self.check_sessions(jobs)
        succeeded = [job_id for job_id, job in jobs.items() if job.state == JobState.JOB_STATE_SUCCEEDED]
        unknown = [job_id for job_id in jobs.keys() - succeeded if self.jobs[job_id] != "CLOUD_TAG"]  # without prices
        if self.kind is not CLOUD:
            return
        (row,) = UsageServiceStub(served.channel).ListUsage(ListUsageRequest(), timeout=100).rows
        (cost,) = row.costs
        assert (cost.spent, cost.reserved) == (PRICE * len(succeeded), PRICE * len(unknown))

    def check_sessions(self, jobs: Mapping[int, Job]) -> None:
        """Check that each job has opened one session at most, and that all sessions whose ids are known are closed."""
        opened = self.vendor.control()["groups"]
        assert len(opened) <= len(jobs)
        known = {job.provider_status.group.id for job in jobs.values()} - {""}
        assert [name for name in known if opened[name]["accepting_jobs"]] == []
        for job in jobs.values():
            assert job.provider_status.group.id or job.state != JobState.JOB_STATE_SUCCEEDED


SESSION: Final = VendorOptions(mode=VendorMode.VENDOR_MODE_SESSION, max_seconds=600)


@pytest.mark.timeout(540)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CLOUD, None),
        *(pytest.param(kind, None, marks=pytest.mark.long) for kind in (IBM, IONQ, GOOGLE, AWS, RIGETTI, IQM)),
        pytest.param(IBM, SESSION, marks=pytest.mark.long),
    ],
    ids=["cloud", "ibm", "ionq", "google", "aws", "rigetti", "iqm", "ibm-sessions"],
)
def test_the_vendor_has_each_job_once_whatever_dies(
    tmp_path: Path, kind: VendorKind, options: VendorOptions | None
) -> None:
    chance = random.Random(SEED)
    points = [*VENDOR_POINTS, *PROCESS_POINTS]
    chosen = [(point, chance.randint(1, point.often)) for point in points for _ in range(ROUNDS)]
    if not ROUNDS:
        # The intent is stored and nothing was sent; and the vendor has answered, and the server does not know.
        named = {point.name: point for point in points}
        chosen = [(named["change-committed"], 1), (named["answer-not-delivered"], 2)]
    print(f"CRASH_SEED={SEED} draws the same kills again: {[(point.name, n) for point, n in chosen]}")
    with fake_vendor(kind.service, kind.python) as vendor:
        crashes = Crashes(tmp_path, kind, vendor, options)
        for point, number in chosen:
            crashes.round(point, number)
        with crashes.served() as served:
            crashes.check(served)
        crashes.trap.close()
    print(f"kills: {Counter(crashes.kills)}")
    assert len(crashes.kills) >= len(chosen) // 2
