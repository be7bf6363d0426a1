# SPDX-License-Identifier: Apache-2.0
"""Pauses over the wire: what operators and callers see, and that jobs wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.v1 import device_service_pb2 as device_calls
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1 import provider_service_pb2 as provider_calls
from qonduit.v1 import system_service_pb2 as system_calls
from qonduit.v1.job_pb2 import QueuePlace, QueueReason
from qonduit_server.rpc import queue_places
from qonduit_server.store import catalogue
from tests.contract.rpc_fixture import WAIT, RpcFixture, bell, refused, rpc_fixture


@pytest.fixture
def rpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RpcFixture]:
    monkeypatch.setattr(queue_places, "INTERVAL", 0.01)
    with rpc_fixture(tmp_path) as it:
        yield it


def device_id(rpc: RpcFixture, name: str = "IBM/aer_simulator") -> int:
    return catalogue.device_by_name(rpc.db, name).id


def place_of(rpc: RpcFixture, job_id: int) -> QueuePlace:
    place: QueuePlace = rpc.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job.queue
    return place


def test_a_job_for_a_paused_device_is_accepted_and_waits_with_the_operators_text(rpc: RpcFixture) -> None:
    device = device_id(rpc)
    request = device_calls.PauseDeviceRequest(id=device, message="new cables until six")
    pause = rpc.devices.PauseDevice(request, timeout=WAIT).pause
    assert (pause.subject, pause.message, pause.running_jobs) == ("IBM/aer_simulator", "new cables until six", 0)
    assert pause.paused_by == "anonymous"
    stream = rpc.jobs.RunJob(bell(queue_updates=True), timeout=WAIT)
    job_id = next(stream).event.job_id
    place = next(stream).event.queue_change.queue
    assert place.reason == QueueReason.QUEUE_REASON_PAUSED
    assert place.message == "IBM/aer_simulator is paused: new cables until six"
    assert place_of(rpc, job_id) == place
    assert rpc.claim() == []
    status = rpc.devices.GetDeviceStatus(device_calls.GetDeviceStatusRequest(id=device), timeout=WAIT)
    assert (status.available, status.pause.message, status.running_jobs) == (True, "new cables until six", 0)
    listed = rpc.devices.ListDevices(device_calls.ListDevicesRequest(filter="paused = true"), timeout=WAIT).devices
    assert [(each.name, each.pause.paused_by) for each in listed] == [("aer_simulator", "")]
    # The stream receives another text of the operator, and then the new reason.
    request.message = "new cables until seven"
    rpc.devices.PauseDevice(request, timeout=WAIT)
    place = next(stream).event.queue_change.queue
    assert place.message == "IBM/aer_simulator is paused: new cables until seven"
    resumed = rpc.devices.ResumeDevice(device_calls.ResumeDeviceRequest(id=device), timeout=WAIT)
    assert not resumed.device.HasField("pause")
    place = next(stream).event.queue_change.queue
    assert (place.reason, place.message) == (QueueReason.QUEUE_REASON_NO_WORKER, "")


def test_running_jobs_continue_and_are_counted_until_the_drain_ends(rpc: RpcFixture) -> None:
    job_id = next(rpc.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
    rpc.claim()
    provider = catalogue.device_by_name(rpc.db, "IBM/aer_simulator").provider_id
    pause = rpc.providers.PauseProvider(provider_calls.PauseProviderRequest(id=provider), timeout=WAIT).pause
    assert (pause.subject, pause.running_jobs, pause.drained) == ("IBM", 1, False)
    rpc.system.PauseServer(system_calls.PauseServerRequest(message="all"), timeout=WAIT)
    found = rpc.system.ListPauses(system_calls.ListPausesRequest(), timeout=WAIT).pauses
    assert [(each.subject, each.running_jobs) for each in found] == [("server", 1), ("IBM", 1)]
    rpc.finish(job_id)
    found = rpc.system.ListPauses(system_calls.ListPausesRequest(), timeout=WAIT).pauses
    assert [(each.subject, each.running_jobs) for each in found] == [("server", 0), ("IBM", 0)]
    rpc.system.ResumeServer(system_calls.ResumeServerRequest(), timeout=WAIT)
    resumed = rpc.providers.ResumeProvider(provider_calls.ResumeProviderRequest(id=provider), timeout=WAIT)
    assert not resumed.provider.HasField("pause")
    assert not rpc.system.ListPauses(system_calls.ListPausesRequest(), timeout=WAIT).pauses
    # A second call is no error.
    rpc.system.ResumeServer(system_calls.ResumeServerRequest(), timeout=WAIT)


def test_a_paused_provider_shows_its_pause_and_that_of_the_server(rpc: RpcFixture) -> None:
    provider = catalogue.device_by_name(rpc.db, "IBM/aer_simulator").provider_id

    def shown() -> str:
        found = rpc.providers.GetProvider(provider_calls.GetProviderRequest(id=provider), timeout=WAIT).provider
        listed = rpc.providers.ListProviders(provider_calls.ListProvidersRequest(), timeout=WAIT).providers
        assert found in listed
        return str(found.pause.subject)

    assert shown() == ""
    rpc.system.PauseServer(system_calls.PauseServerRequest(), timeout=WAIT)
    assert shown() == "server"
    rpc.providers.PauseProvider(provider_calls.PauseProviderRequest(id=provider), timeout=WAIT)
    assert shown() == "IBM"


def test_what_does_not_exist_cannot_be_paused(rpc: RpcFixture) -> None:
    requests: list[tuple[Any, Any]] = [
        (rpc.devices.PauseDevice, device_calls.PauseDeviceRequest(id=4711)),
        (rpc.devices.ResumeDevice, device_calls.ResumeDeviceRequest(id=4711)),
        (rpc.providers.PauseProvider, provider_calls.PauseProviderRequest(id=4711)),
        (rpc.providers.ResumeProvider, provider_calls.ResumeProviderRequest(id=4711)),
    ]
    for method, request in requests:
        assert refused(lambda method=method, request=request: method(request, timeout=WAIT))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("message", "status"), [("x" * 500, "OK"), ("x" * 501, "INVALID_ARGUMENT"), ("\0", "INVALID_ARGUMENT")]
)
def test_the_text_for_callers_is_bounded(rpc: RpcFixture, message: str, status: str) -> None:
    request = device_calls.PauseDeviceRequest(id=device_id(rpc), message=message)
    if status == "OK":
        rpc.devices.PauseDevice(request, timeout=WAIT)
    else:
        code, details = refused(lambda: rpc.devices.PauseDevice(request, timeout=WAIT))
        assert code == status
        assert details["BadRequest"].field_violations[0].field == "message"
