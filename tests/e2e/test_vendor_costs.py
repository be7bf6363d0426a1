# SPDX-License-Identifier: Apache-2.0
"""Costs at a vendor: estimated, limited, reserved before the submission, and settled by what the vendor charges."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1 import usage_service_pb2 as usage
from qonduit.v1.job_pb2 import JobState, VendorCost
from qonduit.v1.quota_pb2 import Quota, QuotaValues
from qonduit.v1.usage_service_pb2_grpc import UsageServiceStub
from tests.postgresql import PostgresqlServer
from tests.vendor_cloud.fake_vendor import PRICE, fake_vendor
from tests.vendor_cloud.served_vendor import ASYMMETRIC, PATIENCE, TOKEN, ServedVendor, behaving_well, served_vendor

SUCCEEDED, FAILED, CANCELLED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED


class Costs:
    """What the caller of a server spends, and its limits."""

    def __init__(self, served: ServedVendor) -> None:
        self.stub = UsageServiceStub(served.channel)
        self.owner = self.stub.GetQuota(usage.GetQuotaRequest(), timeout=PATIENCE).quota.owner
        self.before = self.total()

    def total(self) -> tuple[float, float]:
        """Return the charges and the reservations, in EUR."""
        rows = self.stub.ListUsage(usage.ListUsageRequest(owner=self.owner), timeout=PATIENCE).rows
        for cost in rows[0].costs if rows else ():
            assert cost.unit == "EUR"
            return cost.spent, cost.reserved
        return 0.0, 0.0

    def grown(self) -> tuple[float, float]:
        """Return how much both have grown."""
        spent, reserved = self.total()
        return spent - self.before[0], reserved - self.before[1]

    def limit(self, **units: float) -> None:
        """Let the caller spend so much more in each unit; without any, end the limits."""
        used = self.stub.GetQuota(usage.GetQuotaRequest(), timeout=PATIENCE).quota.used.cost_per_day
        limits = QuotaValues(cost_per_day={unit: used.get(unit, 0.0) + more for unit, more in units.items()})
        quota = Quota(owner=self.owner, limits=limits)
        self.stub.SetQuota(usage.SetQuotaRequest(quota=quota), timeout=PATIENCE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    with served_vendor(tmp_path_factory.mktemp("vendor")) as served:
        yield served


@pytest.fixture
def served(shared: ServedVendor) -> Iterator[ServedVendor]:
    """Return the server; without limits, and with a vendor that behaves well, at the start of each test."""
    with behaving_well(shared) as served:
        Costs(shared).limit()
        yield served


@pytest.fixture
def costs(served: ServedVendor) -> Costs:
    return Costs(served)


def euros(amount: float) -> VendorCost:
    return VendorCost(amount=amount, unit="EUR")


def test_the_cost_is_known_before_the_job_is_submitted(served: ServedVendor, costs: Costs) -> None:
    accepted = served.vendor.accepted
    request = served.request("CLOUD_TOKEN", *[ASYMMETRIC] * 4, shots=1500)
    request.validate_only = True
    # 3 and 1 circuits, each with 1000 and 500 shots.
    assert served.jobs.CreateJob(request, timeout=PATIENCE).cost == euros(PRICE * 8)
    request.job.max_cost.CopyFrom(euros(PRICE * 8 - 0.01))
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "estimated cost of the job is 2 EUR, and max_cost is 1.99 EUR" in str(refused.value)
    request.job.ClearField("max_cost")
    costs.limit(EUR=1.0)
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert "quota cost_per_day" in str(refused.value)
    assert (served.vendor.accepted - accepted, costs.grown()) == (0, (0.0, 0.0))


@pytest.mark.parametrize(
    ("provider", "most", "why"),
    [
        ("CLOUD_TOKEN", euros(0.4), "estimated cost of the job is 0.5 EUR, and max_cost is 0.4 EUR"),
        ("CLOUD_TOKEN", VendorCost(amount=9, unit="USD"), "max_cost must have the unit of the vendor"),
        ("CLOUD_TAG", euros(9), "not known before it is submitted"),
    ],
)
def test_a_job_above_its_maximum_is_not_submitted(
    served: ServedVendor, costs: Costs, provider: str, most: VendorCost, why: str
) -> None:
    accepted = served.vendor.accepted
    job = served.run(provider, ASYMMETRIC, ASYMMETRIC, max_cost=most)
    assert (job.state, job.failure.reason) == (FAILED, "COST_LIMIT")
    assert why in job.failure.message
    assert job.max_cost == most
    assert (served.vendor.accepted - accepted, costs.grown()) == (0, (0.0, 0.0))


def test_an_estimate_is_reserved_and_settled_by_the_actual_cost(served: ServedVendor, costs: Costs) -> None:
    served.vendor.control(hold=True, price=0.1)
    job_id = served.create("CLOUD_TOKEN", ASYMMETRIC, ASYMMETRIC, max_cost=euros(0.5))
    assert served.at_vendor(job_id).provider_status.reserved == euros(0.5)
    assert costs.grown() == (0.0, 0.5)
    served.vendor.control(hold=False)
    job = served.end(job_id)
    assert job.state == SUCCEEDED, job.failure
    assert job.provider_status.cost == euros(0.2)
    assert not job.provider_status.HasField("reserved")
    assert costs.grown() == pytest.approx((0.2, 0.0))


def test_the_estimate_counts_if_the_vendor_reports_no_cost(served: ServedVendor, costs: Costs) -> None:
    served.vendor.control(price=None)
    assert served.run("CLOUD_TOKEN").state == SUCCEEDED
    assert costs.grown() == pytest.approx((PRICE, 0.0))


def test_a_daily_limit_refuses_what_would_exceed_it(served: ServedVendor, costs: Costs) -> None:
    accepted = served.vendor.accepted
    costs.limit(EUR=2 * PRICE)
    served.vendor.control(hold=True)
    first = served.create("CLOUD_TOKEN")
    served.at_vendor(first)
    refused = served.run("CLOUD_TOKEN", ASYMMETRIC, ASYMMETRIC)
    assert (refused.state, refused.failure.reason) == (FAILED, "COST_LIMIT")
    assert "quota cost_per_day" in refused.failure.message
    second = served.create("CLOUD_ID")
    served.at_vendor(second)
    assert served.run("CLOUD_TOKEN").failure.reason == "COST_LIMIT"
    assert served.run("CLOUD_TAG").failure.reason == "COST_LIMIT"  # its price is not known
    served.vendor.control(hold=False)
    assert [served.end(job_id).state for job_id in (first, second)] == [SUCCEEDED, SUCCEEDED]
    assert served.vendor.accepted - accepted == 2
    quota = costs.stub.GetQuota(usage.GetQuotaRequest(), timeout=PATIENCE).quota
    assert quota.used.cost_per_day["EUR"] == pytest.approx(quota.effective.cost_per_day["EUR"])


def test_other_units_have_a_limit_of_their_own(served: ServedVendor, costs: Costs) -> None:
    costs.limit(USD=0.0)
    assert served.run("CLOUD_TOKEN").state == SUCCEEDED
    costs.limit(**{"*": 0.0})
    assert served.run("CLOUD_TOKEN").failure.reason == "COST_LIMIT"
    costs.limit(**{"*": 0.0, "EUR": 1.0})
    assert served.run("CLOUD_TOKEN").state == SUCCEEDED


def test_a_job_that_is_cancelled_before_its_submission_costs_nothing(served: ServedVendor, costs: Costs) -> None:
    served.vendor.control(submits=["busy"] * 1000, retry_after=0.1)
    job_id = served.create("CLOUD_TOKEN")
    served.until(job_id, lambda event: "slow down" in event.provider_status.message)
    assert costs.grown() == (0.0, PRICE)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    assert served.end(job_id).state == CANCELLED
    assert costs.grown() == (0.0, 0.0)


def test_a_job_that_was_cancelled_or_failed_at_the_vendor_costs_what_may_be_charged(
    served: ServedVendor, costs: Costs
) -> None:
    served.vendor.control(hold=True)
    job_id = served.create("CLOUD_TOKEN")
    served.at_vendor(job_id)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    assert served.end(job_id).state == CANCELLED
    assert costs.grown() == (0.0, 0.0)
    served.vendor.control(hold=False, outcome="failed")  # and the vendor may charge
    assert served.run("CLOUD_TOKEN").failure.reason == "VENDOR_FAILED"
    assert costs.grown() == (PRICE, 0.0)


def test_an_unknown_submission_stays_reserved_until_it_is_settled(served: ServedVendor, costs: Costs) -> None:
    served.vendor.control(submits=["cut", "accept-cut"])
    absent, present = served.run("CLOUD_NOTHING"), served.run("CLOUD_NOTHING")
    assert {each.failure.reason for each in (absent, present)} == {"SUBMISSION_UNKNOWN"}
    assert absent.provider_status.reserved == euros(PRICE)
    assert costs.grown() == (0.0, 2 * PRICE)
    served.jobs.ResolveSubmission(calls.ResolveSubmissionRequest(id=absent.id, not_submitted=True), timeout=PATIENCE)
    assert not served.get(absent.id).provider_status.HasField("reserved")
    assert costs.grown() == (0.0, PRICE)
    vendor_id = list(served.vendor.control()["jobs"])[-1]
    request = calls.ResolveSubmissionRequest(id=present.id, vendor_id=vendor_id, credential=TOKEN)
    adopted = served.end(served.jobs.ResolveSubmission(request, timeout=PATIENCE).job.id)
    assert adopted.state == SUCCEEDED, adopted.failure
    assert costs.grown() == (PRICE, 0.0)
    assert not served.get(present.id).provider_status.HasField("reserved")


def test_two_servers_together_stay_within_a_limit(
    tmp_path: Path, postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    url = postgresql.url(postgresql.new_database(postgresql_template))
    settings: dict[str, Any] = {"providers": "CLOUD_TOKEN", "workers": "1"}
    with (
        fake_vendor() as vendor,
        served_vendor(tmp_path, vendor=vendor, database=url, **settings) as one,
        served_vendor(tmp_path, vendor=vendor, database=url, **settings) as two,
    ):
        costs = Costs(one)
        costs.limit(EUR=5 * PRICE)
        with ThreadPoolExecutor(8) as threads:
            ids = list(threads.map(lambda number: (one, two)[number % 2].create("CLOUD_TOKEN"), range(16)))
        jobs = [one.end(job_id) for job_id in ids]
        assert [job.state for job in jobs].count(SUCCEEDED) == 5
        assert {job.failure.reason for job in jobs if job.state == FAILED} == {"COST_LIMIT"}
        assert (vendor.accepted, costs.grown()) == (5, (5 * PRICE, 0.0))
