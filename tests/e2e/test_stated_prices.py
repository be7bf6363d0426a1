# SPDX-License-Identifier: Apache-2.0
"""What the operator decides about the devices of vendors: their prices, and which accept no jobs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1.device_service_pb2 import ListDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import JobState, VendorCost
from tests.e2e.test_vendor_costs import Costs
from tests.server_process import log_lines
from tests.vendor_cloud.fake_vendor import PRICE, Behavior
from tests.vendor_cloud.served_vendor import ASYMMETRIC, PATIENCE, ServedVendor, served_vendor

SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
PRICES = """
[vendor_prices]
CLOUD_TAG = "unit=EUR; job=0.5; circuit=0.25; shot=0.01"

[vendor_prices."CLOUD_TOKEN/machine"]
unit = "CHF"
job = 1
second = 0.5
max_seconds = 60
"""


class Operator:
    """The operator of a server, who changes its configuration while it runs."""

    def __init__(self, served: ServedVendor, file: Path) -> None:
        self.served, self.file, self.reloads = served, file, 0

    def configure(self, text: str) -> None:
        self.file.write_text(text)
        self.reloads += 1
        self.served.server.process.send_signal(signal.SIGHUP)
        lines = log_lines(
            self.served.server, lambda line: line["event"].startswith("configuration "), count=self.reloads
        )
        assert lines[-1]["event"] == "configuration reloaded", lines[-1]

    def unavailable(self, provider_id: int) -> dict[str, str]:
        """Return the status messages of the unavailable devices of a provider, by their names."""
        stub = DeviceServiceStub(self.served.channel)
        wanted = ListDevicesRequest(page_size=1000, filter=f"available = false AND provider_id = {provider_id}")
        return {each.name: each.status_message for each in stub.ListDevices(wanted, timeout=PATIENCE).devices}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("prices")
    file = folder / "server.toml"
    file.write_text(PRICES)
    with served_vendor(folder, environment={"QONDUIT_SERVER_CONFIG": str(file)}) as served:
        yield Operator(served, file)


@pytest.fixture
def operator(started: Operator) -> Operator:
    started.served.vendor.control(**vars(Behavior()))
    if started.file.read_text() != PRICES:
        started.configure(PRICES)
    return started


def euros(amount: float) -> VendorCost:
    return VendorCost(amount=amount, unit="EUR")


def test_a_job_is_limited_by_stated_prices(operator: Operator) -> None:
    served = operator.served
    request = served.request("CLOUD_TAG", ASYMMETRIC, ASYMMETRIC, shots=20)
    request.validate_only = True
    assert served.jobs.CreateJob(request, timeout=PATIENCE).cost == euros(0.5 + 2 * 0.25 + 40 * 0.01)
    refused = served.run("CLOUD_TAG", ASYMMETRIC, ASYMMETRIC, shots=20, max_cost=euros(1.3))
    assert refused.failure.reason == "COST_LIMIT"
    assert "the estimated cost of the job is 1.4 EUR" in refused.failure.message
    assert served.run("CLOUD_TAG", ASYMMETRIC, ASYMMETRIC, shots=20, max_cost=euros(1.4)).state == SUCCEEDED


def test_the_vendors_own_figure_settles_and_a_computed_one_is_shown_apart(operator: Operator) -> None:
    served, costs = operator.served, Costs(operator.served)
    status = served.run("CLOUD_TAG").provider_status
    assert (status.cost, status.HasField("computed_cost")) == (euros(PRICE), False)
    assert costs.grown() == pytest.approx((PRICE, 0))
    served.vendor.control(price=None)
    status = served.run("CLOUD_TAG").provider_status
    assert (status.computed_cost, status.HasField("cost")) == (euros(0.5 + 0.25 + 10 * 0.01), False)
    assert costs.grown() == pytest.approx((PRICE + 0.85, 0))


def test_stated_prices_precede_those_of_the_vendor_in_their_own_unit(operator: Operator) -> None:
    served = operator.served
    request = served.request("CLOUD_TOKEN")
    request.validate_only = True
    estimate = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    assert (estimate.amount, estimate.unit) == (31, "CHF")
    served.vendor.control(hold=True)
    job_id = served.create("CLOUD_TOKEN", max_cost=estimate)
    assert served.at_vendor(job_id).provider_status.reserved == estimate
    served.vendor.control(hold=False)
    # The vendor reports EUR and no time: its figure stays apart from the computed one.
    status = served.end(job_id).provider_status
    assert (status.cost, status.computed_cost) == (euros(PRICE), estimate)


def test_a_reload_changes_the_prices_of_known_devices_at_once(operator: Operator) -> None:
    served = operator.served
    job = served.run("CLOUD_NOTHING", max_cost=VendorCost(amount=9, unit="GBP"))
    assert job.failure.reason == "COST_LIMIT"
    operator.configure('vendor_prices = {CLOUD_NOTHING = "unit=GBP; shot=0.1", CLOUD_TAG = "unit=GBP; shot=0.2"}')
    assert served.run("CLOUD_NOTHING", max_cost=VendorCost(amount=1, unit="GBP")).state == SUCCEEDED
    operator.configure("")
    job = served.run("CLOUD_TAG", max_cost=euros(9))
    assert job.failure.reason == "COST_LIMIT"
    assert "states no price of CLOUD_TAG/machine in vendor_prices" in job.failure.message


def test_a_listed_device_is_disabled_and_enabled_at_once(operator: Operator) -> None:
    served, disabled = operator.served, "disabled (disabled_devices)"
    provider_id = served.refresh("CLOUD_TAG")["of_the_lab"].provider_id
    operator.configure('disabled_devices = ["CLOUD_TAG/of_the_lab", "CLOUD_TAG/machine"]')
    assert operator.unavailable(provider_id) == {"of_the_lab": disabled, "machine": disabled}
    with pytest.raises(grpc.RpcError, match=r"not available: disabled \(disabled_devices\)"):
        served.create("CLOUD_TAG", device="of_the_lab")
    assert not served.refresh("CLOUD_TAG")["of_the_lab"].available  # the vendor's list does not enable it
    operator.configure("")
    assert operator.unavailable(provider_id) == {}
    assert served.run("CLOUD_TAG", device="of_the_lab").state == SUCCEEDED


def test_a_listed_device_is_disabled_from_the_start_of_a_server(operator: Operator, tmp_path: Path) -> None:
    with served_vendor(tmp_path, vendor=operator.served.vendor, providers="CLOUD_TAG") as served:
        served.refresh("CLOUD_TAG")
    rules = {"disabled_devices": "CLOUD_TAG/of_the_lab"}
    with (
        served_vendor(tmp_path, vendor=operator.served.vendor, providers="CLOUD_TAG", **rules) as served,
        pytest.raises(grpc.RpcError, match="not available"),
    ):
        served.create("CLOUD_TAG", device="of_the_lab")
