# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: providers, devices and deployments."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration, QubitCalibration
from qonduit.v1.deployment_pb2 import Deployment
from qonduit_server.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from qonduit_server.store import calibrations, catalogue, deployment_list, deployments
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.notification_bus import Notification
from tests.contract.rpc_fixture import until
from tests.store_fixture import CALLER, claim, deployment, description, submit, succeed


def test_described_devices_can_be_read(db: Database) -> None:
    with pytest.raises(NotFound):
        catalogue.device_by_name(db, "IBM/aer_simulator")
    catalogue.sync(db, [description(), description("AWS", ["braket_sv", "braket_dm"])])
    device = catalogue.device_by_name(db, "IBM/aer_simulator")
    assert (device.num_qubits, device.available, device.is_simulator) == (29, True, True)
    assert catalogue.device(db, device.id) == device
    provider = catalogue.provider(db, device.provider_id)
    assert provider.name == "IBM"
    assert [line.provider_id for line in provider.supported_languages] == [provider.id] * 2
    assert [one.name for one in catalogue.list_providers(db).items] == ["AWS", "IBM"]
    assert [one.name for one in catalogue.list_devices(db).items] == ["braket_dm", "braket_sv", "aer_simulator"]
    page = catalogue.list_devices(db, 2)
    assert [one.name for one in catalogue.list_devices(db, 2, page.next_page_token).items] == ["aer_simulator"]
    found = catalogue.list_devices(db, filter=f"provider_id = {provider.id} AND is_simulator = true AND num_qubits > 5")
    assert found.items == [device]
    assert catalogue.list_devices(db, filter="available = false").items == []
    assert [one.name for one in catalogue.list_providers(db, filter='name = "AWS"').items] == ["AWS"]
    for name in ("", "IBM", "IBM/", "/aer_simulator", "IBM/aer_simulator/", "x\0y", "x" * 100_000):
        with pytest.raises(NotFound):
            catalogue.device_by_name(db, name)
    for number in (0, -1, 2**70):
        with pytest.raises(NotFound):
            catalogue.device(db, number)
        with pytest.raises(NotFound):
            catalogue.provider(db, number)


def test_callers_cannot_change_the_cached_catalogue(db: Database) -> None:
    catalogue.sync(db, [description()])
    catalogue.device_by_name(db, "IBM/aer_simulator").num_qubits = 1
    assert catalogue.device_by_name(db, "IBM/aer_simulator").num_qubits == 29


def test_a_sync_without_changes_sends_no_notification(db: Database) -> None:
    catalogue.sync(db, [description()])
    wakes: list[Notification] = []
    db.notifications.subscribe(wakes.append)
    catalogue.sync(db, [description()])
    assert wakes == []


def test_devices_no_longer_described_are_kept_as_unavailable(db: Database) -> None:
    catalogue.sync(db, [description(devices=["one", "two"])])
    before = catalogue.device_by_name(db, "IBM/two")
    catalogue.sync(db, [description(devices=["one"])])
    gone = catalogue.device_by_name(db, "IBM/two")
    assert (gone.id, gone.available) == (before.id, False)
    assert gone.status_message
    catalogue.sync(db, [description(devices=["one", "two"])])
    assert catalogue.device_by_name(db, "IBM/two") == before
    catalogue.sync(db, [description(devices=["one", "two"], unavailable="install qonduit-quantum[ibm]")])
    assert catalogue.device_by_name(db, "IBM/two").status_message == "install qonduit-quantum[ibm]"
    changed = description(devices=["one", "two"])
    changed.devices[0].num_qubits = 5
    del changed.provider.supported_languages[1]
    catalogue.sync(db, [changed])
    assert catalogue.device_by_name(db, "IBM/one").num_qubits == 5
    assert len(catalogue.list_providers(db).items[0].supported_languages) == 1


def test_a_refresh_of_one_provider_keeps_the_others(db: Database) -> None:
    catalogue.sync(db, [description(devices=["one", "two"]), description("AWS", ["sv1", "dm1"])])
    catalogue.refresh(db, description(devices=["one", "three"]))
    devices = catalogue.devices_by_name(db)
    assert {name: device.available for name, device in devices.items()} == {
        "IBM/one": True,
        "IBM/two": False,
        "IBM/three": True,
        "AWS/sv1": True,
        "AWS/dm1": True,
    }
    assert devices["IBM/two"].status_message == "no running server or worker machine offers it"
    with ThreadPoolExecutor(4) as pool:  # in one transaction, or in several
        wanted = [description(devices=["two"]), description("AWS", ["sv1"])] * 4
        list(pool.map(lambda each: catalogue.refresh(db, each), wanted))
    offered = {name for name, device in catalogue.devices_by_name(db).items() if device.available}
    assert offered == {"IBM/two", "AWS/sv1"}
    catalogue.refresh(db, description("NEW", ["first"]))
    assert catalogue.device_by_name(db, "NEW/first").available


def test_a_description_that_the_database_missed_is_stored_when_leases_are_renewed(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite3"
    with closing(open_database(f"sqlite:///{file}")) as db:
        catalogue.sync(db, [description(devices=["one"])])
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                catalogue.refresh(db, description(devices=["two"]))

        def is_renewed() -> bool:
            with suppress(Unavailable):
                catalogue.renew(db)
            return "IBM/two" in catalogue.devices_by_name(db)

        until(is_renewed)
        assert not catalogue.device_by_name(db, "IBM/one").available


def test_a_calibration_is_written_only_where_it_changed(db: Database) -> None:
    first, second = (
        DeviceCalibration(qubits=[QubitCalibration(t1=1e-4)]),
        DeviceCalibration(qubits=[QubitCalibration()]),
    )

    def described(**wanted: DeviceCalibration) -> ProviderDescription:
        found = description(devices=["one", "two"])
        found.calibrations.extend(CalibratedDevice(device=name, calibration=each) for name, each in wanted.items())
        return found

    def stored() -> list[DeviceCalibration | None]:
        devices = (catalogue.device_by_name(db, name) for name in ("IBM/one", "IBM/two"))
        return [calibrations.calibration(db, device.id) for device in devices]

    def writes(wanted: ProviderDescription) -> list[str]:
        found: list[str] = []

        def note(*arguments: object) -> None:
            statement = str(arguments[2])
            if "device_calibrations" in statement and not statement.startswith("SELECT"):
                found.append(statement.split()[0])

        event.listen(Engine, "before_cursor_execute", note)
        try:
            catalogue.sync(db, [wanted])
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        return found

    assert writes(described(one=first, two=first)) == ["INSERT"] * 2
    assert stored() == [first, first]
    assert writes(described(one=first, two=first)) == []
    assert writes(described(one=first, two=second)) == ["UPDATE"]
    assert stored() == [first, second]
    assert writes(described(two=second)) == ["DELETE"]
    assert stored() == [None, second]
    # An unavailable provider does not describe its devices: they keep their calibrations.
    assert writes(ProviderDescription(provider=description().provider, unavailable="no SDK")) == []
    assert stored() == [None, second]


def test_a_deployment_and_its_programs(db: Database) -> None:
    made = deployments.create(db, CALLER, deployment(2, "bell"))
    assert (made.name, made.deployed_by) == ("bell", CALLER)
    assert made.HasField("deployed_at")
    assert [program.deployment_id for program in made.programs] == [made.id] * 2
    assert made.programs[0].id < made.programs[1].id
    assert deployments.get(db, CALLER, made.id) == made
    unnamed = deployments.create(db, CALLER, deployment(1))
    assert not unnamed.HasField("name")
    for call in (deployments.get, deployments.delete):
        for caller, number in (("bob", made.id), (CALLER, 0), (CALLER, 4711), (CALLER, 2**70)):
            with pytest.raises(NotFound):
                call(db, caller, number)
    with pytest.raises(InvalidArgument):
        deployments.create(db, CALLER, deployment(1, "a\0b"))


def test_equal_requests_make_one_deployment(db: Database) -> None:
    request = str(uuid.uuid4())
    barrier = threading.Barrier(16)

    def create(_: int) -> int:
        barrier.wait()
        return deployments.create(db, CALLER, deployment(2), request).id

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(create, range(16)))) == 1
    with pytest.raises(AlreadyExists):
        deployments.create(db, CALLER, deployment(3), request)
    assert len(deployment_list.list_page(db, CALLER).items) == 1
    deployments.create(db, "bob", deployment(3), request)


def test_an_update_makes_new_programs_and_jobs_keep_theirs(db: Database) -> None:
    job = submit(db)
    old = deployments.get(db, CALLER, job.deployment_id)
    new = Deployment(id=old.id, programs=deployment(2).programs)
    new.programs[0].quantum_circuit = "other"
    updated = deployments.update(db, CALLER, new)
    assert updated == deployments.get(db, CALLER, old.id)
    assert not {program.id for program in updated.programs} & {program.id for program in old.programs}
    assert updated.programs[0].quantum_circuit == "other"
    (task,) = claim(db)
    assert [program.program_id for program in task.programs] == [program.id for program in old.programs]
    assert task.programs[0].text == old.programs[0].quantum_circuit
    assert job_rows.get(db, CALLER, job.id).program_runs[0].program_id == old.programs[0].id


def test_an_update_changes_what_it_names(db: Database) -> None:
    made = deployments.create(db, CALLER, deployment(1, "first"))
    renamed = deployments.update(db, CALLER, Deployment(id=made.id, name="second"))
    assert renamed.name == "second"
    assert renamed.programs == made.programs
    both = Deployment(id=made.id, name="third", programs=deployment(2).programs)
    assert deployments.update(db, CALLER, both, ["name"]).programs == made.programs
    assert not deployments.update(db, CALLER, Deployment(id=made.id), ["name"]).HasField("name")
    for bad in (["deployed_by"], ["programs"]):
        with pytest.raises(InvalidArgument):
            deployments.update(db, CALLER, Deployment(id=made.id), bad)
    for caller, number in (("bob", made.id), (CALLER, 4711), (CALLER, 0)):
        with pytest.raises(NotFound):
            deployments.update(db, caller, Deployment(id=number, name="x"))


def test_a_deployment_in_use_is_not_deleted(db: Database) -> None:
    job = submit(db)
    with pytest.raises(FailedPrecondition):
        deployments.delete(db, CALLER, job.deployment_id)
    succeed(db, claim(db))
    job_rows.delete(db, CALLER, job.id)
    deployments.delete(db, CALLER, job.deployment_id)
    with pytest.raises(NotFound):
        deployments.get(db, CALLER, job.deployment_id)
