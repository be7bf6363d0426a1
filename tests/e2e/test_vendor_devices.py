# SPDX-License-Identifier: Apache-2.0
"""The devices of accounts at vendors, read on a schedule: a vendor that is away shows as such, and harms no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2 import CreateCredentialRequest
from qonduit.v1.credential_service_pb2_grpc import CredentialServiceStub
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import ListDevicesRequest, RefreshDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2 import ListJobsRequest
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.contract.rpc_fixture import until
from tests.vendor_cloud.fake_vendor import Behavior
from tests.vendor_cloud.served_vendor import PATIENCE, TOKEN, ServedVendor, served_vendor


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    folder = tmp_path_factory.mktemp("devices")
    with served_vendor(folder, providers="CLOUD_TOKEN,CLOUD_ID", vendor_refresh_seconds="0.3") as served:
        yield served


def account(served: ServedVendor, provider: str, name: str) -> RefreshDevicesRequest:
    """Store a credential of a provider; return the request that lists its devices."""
    request = ListProvidersRequest(filter=f"name = {provider}")
    (found,) = ProviderServiceStub(served.channel).ListProviders(request, timeout=PATIENCE).providers
    made = CreateCredentialRequest(credential=Credential(name=name, provider_id=found.id), secret=TOKEN)
    stored = CredentialServiceStub(served.channel).CreateCredential(made, timeout=PATIENCE).credential
    return RefreshDevicesRequest(provider_id=found.id, credential_id=stored.id)


def test_a_vendor_is_asked_again_and_shows_when_it_is_away(served: ServedVendor) -> None:
    devices = DeviceServiceStub(served.channel)
    refresh = account(served, "CLOUD_TOKEN", "lab")
    listed = {each.name: each for each in devices.RefreshDevices(refresh, timeout=PATIENCE).devices}
    assert listed["of_the_lab"].available

    def device(name: str = "of_the_lab", of: int = refresh.provider_id) -> Device:
        request = ListDevicesRequest(filter=f"name = {name} AND provider_id = {of}")
        (found,) = devices.ListDevices(request, timeout=PATIENCE).devices
        return found

    served.vendor.control(devices=["of_the_lab", "new"])
    until(lambda: served.vendor.requests("list") > 1)
    until(lambda: device().listed_at.ToNanoseconds() > listed["of_the_lab"].listed_at.ToNanoseconds())
    until(lambda: device("new").available)
    # It is away.
    served.vendor.control(lists=["fail"] * 10_000)
    until(lambda: not device().available)
    assert "has not listed its devices: internal error" in device().status_message
    job = served.run("CLOUD_ID")
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    # It is back, and has one device less.
    served.vendor.control(lists=[], devices=["of_the_lab"])
    until(lambda: device().available)
    assert not device().status_message
    assert not device("new").available
    assert "no longer lists" in device("new").status_message
    served.vendor.control(**vars(Behavior()))


@pytest.mark.parametrize("order", ["right", "reversed"])
def test_a_probe_verifies_the_order_of_bits(tmp_path: Path, order: str) -> None:
    settings = {"providers": "CLOUD_TOKEN", "vendor_refresh_seconds": "0.3", "vendor_probes": "all"}
    with served_vendor(tmp_path, **settings) as served:
        served.vendor.control(reversed=order == "reversed", devices=[])
        refresh = account(served, "CLOUD_TOKEN", "lab")
        devices = DeviceServiceStub(served.channel)
        devices.RefreshDevices(refresh, timeout=PATIENCE)

        def machine() -> Device:
            (found,) = devices.ListDevices(ListDevicesRequest(filter="name = machine"), timeout=PATIENCE).devices
            return found

        if order == "right":
            until(lambda: machine().HasField("verified_at"))
            assert served.run("CLOUD_TOKEN").state == JobState.JOB_STATE_SUCCEEDED
        else:
            until(lambda: not machine().available)
            assert "its bits are not in the expected order" in machine().status_message
            with pytest.raises(grpc.RpcError) as refused:
                served.create("CLOUD_TOKEN")
            assert "its bits are not in the expected order" in str(refused.value)
        (job,) = served.jobs.ListJobs(ListJobsRequest(filter="label.qonduit = probe"), timeout=PATIENCE).jobs
        assert (job.name, job.executed_by) == ("bit order of CLOUD_TOKEN/machine", "anonymous")
        # One probe, although the vendor lists the device again and again.
        asked = served.vendor.requests("list")
        until(lambda: served.vendor.requests("list") > asked + 2)
        assert len(served.jobs.ListJobs(ListJobsRequest(filter="label.qonduit = probe"), timeout=PATIENCE).jobs) == 1
