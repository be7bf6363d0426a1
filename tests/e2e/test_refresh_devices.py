# SPDX-License-Identifier: Apache-2.0
"""RefreshDevices with a real provider whose files change while the server runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import grpc
import pytest

import qonduit_client
from qonduit.v1 import device_service_pb2 as calls
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import QueueReason
from qonduit_client.errors import QonduitError
from qonduit_server.providers.shapes.backend_files import PACKAGE
from tests.server_process import Server, serving
from tests.unit.execution.pool_fixture import PATIENCE

ZERO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\ncreg c[1];\nmeasure q -> c;\n'


@pytest.fixture
def backends(tmp_path: Path) -> Path:
    """Return a folder with two of IBM's backends, of a package that providers find before the installed one."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path("fake_provider", "backends")
    for name in ("manila", "lima"):
        source = Path(spec.submodule_search_locations[0], folder, name)
        shutil.copytree(source, tmp_path / "site" / PACKAGE / folder / name, ignore=shutil.ignore_patterns("*.py"))
    (tmp_path / "site" / PACKAGE / "__init__.py").touch()
    return tmp_path / "site" / PACKAGE / folder


@pytest.fixture
def server(tmp_path: Path, backends: Path) -> Iterator[Server]:
    paths = os.pathsep.join((str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")))
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, environment={"PYTHONPATH": paths}, providers="IBM", workers="1") as server:
        yield server


def read_as_one(file: Path) -> None:
    """Change a calibration: every measurement is read as 1."""
    properties = json.loads(file.read_text())
    for qubit in properties["qubits"]:
        for entry in qubit:
            entry["value"] = {"prob_meas1_prep0": 1.0, "prob_meas0_prep1": 0.0}.get(entry["name"], entry["value"])
    file.write_text(json.dumps(properties))


def test_files_that_change_and_devices_that_vanish(server: Server, backends: Path) -> None:
    with qonduit_client.Client(server.target) as client, grpc.insecure_channel(server.target) as channel:
        stub = DeviceServiceStub(channel)

        def refresh() -> dict[str, Device]:
            request = calls.RefreshDevicesRequest(provider_id=provider_id)
            return {device.name: device for device in stub.RefreshDevices(request, timeout=PATIENCE).devices}

        def read_error() -> float:
            request = calls.GetDeviceCalibrationRequest(id=manila)
            return stub.GetDeviceCalibration(request, timeout=PATIENCE).calibration.qubits[0].prob_1_given_0

        def ones() -> int:
            return client.run(ZERO, device="IBM/fake_manila", shots=100).result(timeout=PATIENCE).counts.get("0x1", 0)

        found = {each.name: each for each in stub.ListDevices(calls.ListDevicesRequest(), timeout=PATIENCE).devices}
        provider_id, manila = found["fake_manila"].provider_id, found["fake_manila"].id
        assert read_error() < 0.2
        assert ones() < 50
        read_as_one(backends / "manila" / "props_manila.json")
        assert refresh()["fake_manila"].available
        assert read_error() == 1.0
        assert ones() == 100

        # A job of a paused device waits: no worker can have taken it before the device vanishes.
        stub.PauseDevice(calls.PauseDeviceRequest(id=found["fake_lima"].id, message="kept waiting"), timeout=PATIENCE)
        waiting = client.run(ZERO, device="IBM/fake_lima", shots=10)
        shutil.rmtree(backends / "lima")
        lima = refresh()["fake_lima"]
        assert (lima.available, lima.status_message) == (False, "no running server or worker machine offers it")
        with pytest.raises(QonduitError, match="IBM/fake_lima") as refused:
            client.run(ZERO, device="IBM/fake_lima", shots=10)
        assert refused.value.status == "FAILED_PRECONDITION"
        # Its device may return, or another server may offer it.
        place = waiting.job().queue
        assert place.reason == QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE
        assert place.message == lima.status_message
        waiting.cancel()

        (backends / "manila" / "props_manila.json").write_text("{")
        with pytest.raises(grpc.RpcError, match="provider IBM cannot be described: its process ended with exit code 1"):
            refresh()
        assert read_error() == 1.0
