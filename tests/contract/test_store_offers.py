# SPDX-License-Identifier: Apache-2.0
"""The contract of the store: servers of one PostgreSQL that offer different devices, and jobs whose device is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import select

from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration, QubitCalibration
from qonduit.v1.job_pb2 import QueueReason, RequiredVersions
from qonduit_server.store import calibrations, catalogue, catalogue_cache, server_offers
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.engines import connect_to_write
from qonduit_server.store.jobs import held_jobs, queue, queue_positions, queue_times
from qonduit_server.store.jobs.standing_claim import StandingClaim
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.schema import jobs
from qonduit_server.version_requirements import Environment
from tests.contract.rpc_fixture import until
from tests.postgresql import PostgresqlServer
from tests.store_fixture import LEASE, claim, description, submit

GONE = timedelta(0)


@pytest.fixture
def servers(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[Database, Database]]:
    """Two servers of one database."""
    name = postgresql.new_database(postgresql_template)
    with ExitStack() as stack:
        stack.callback(postgresql.drop_database, name)
        opened = [open_database(postgresql.url(name)) for _ in range(2)]
        for db in opened:
            stack.callback(db.close)
        yield opened[0], opened[1]


def offered(db: Database) -> set[str]:
    return {name for name, device in catalogue.devices_by_name(db).items() if device.available}


def sized(qubits: int, **options: str) -> ProviderDescription:
    found = description(devices=["one"], **options)
    found.devices[0].num_qubits = qubits
    return found


def test_servers_know_the_environments_of_each_other(servers: tuple[Database, Database]) -> None:
    def with_numpy(version: str) -> ProviderDescription:
        found = description()
        found.versions["numpy"] = version
        return found

    def known(db: Database) -> list[str]:
        # They have the order of the servers' random ids.
        return sorted(each["numpy"] for each in catalogue.environments(db, "IBM"))

    here, there = servers
    catalogue.sync(here, [with_numpy("2.3.5")])
    catalogue.sync(there, [with_numpy("2.4.0")])
    until(lambda: known(here) == known(there) == ["2.3.5", "2.4.0"])
    (provider,) = catalogue.list_providers(here).items
    assert {each.versions["numpy"] for each in provider.environments} == {"2.3.5", "2.4.0"}
    # Only versions change, of a server whose devices another one offers too.
    catalogue.refresh(there, with_numpy("2.5.0"))
    until(lambda: known(here) == ["2.3.5", "2.5.0"])
    broken = with_numpy("2.6.0")
    broken.unavailable = "its SDK is missing"
    catalogue.refresh(there, broken)
    until(lambda: known(here) == ["2.3.5"])


def test_a_server_that_lacks_the_versions_of_a_new_job_notifies_the_others(servers: tuple[Database, Database]) -> None:
    here, there = servers
    queued: list[Notification] = []
    there.notifications.subscribe(queued.append)
    catalogue.sync(here, [description()])
    mine = {"IBM": [Environment({"numpy": "2.3.5"})]}
    StandingClaim(here, "here", {"IBM": 1}, LEASE, 1, lambda: None, mine)
    job = submit(here, required_versions=RequiredVersions(requirements=["numpy>=2.4"]))
    until(lambda: any(each.queue for each in queued))
    theirs = {"IBM": [Environment({"numpy": "2.4.0"})]}
    (task,) = queue.claim(there, "there", {"IBM": 1}, LEASE, environments=theirs)
    assert task.job_id == job.id


def test_the_catalogue_is_the_union_of_running_servers(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [description(devices=["one", "two"]), description("AWS", ["sv"])])
    catalogue.sync(there, [description(devices=["two", "three"]), description("STIM", ["stim"])])
    both = {"IBM/one", "IBM/two", "IBM/three", "AWS/sv", "STIM/stim"}
    until(lambda: offered(here) == offered(there) == both)
    catalogue.refresh(there, description(devices=["three"]))
    assert offered(there) == both
    catalogue.refresh(here, description(devices=["one"]))
    assert offered(here) == both - {"IBM/two"}
    # A server that stops while another one runs may be about to start again.
    catalogue.withdraw(there)
    assert offered(there) == both - {"IBM/two"}
    catalogue.sync(there, [description(devices=["three"])], GONE)
    catalogue.renew(here)
    until(lambda: offered(there) == {"IBM/one", "AWS/sv"})
    assert catalogue.device_by_name(here, "STIM/stim").status_message == "no running server or worker machine offers it"
    # A server that was taken for lost offers its devices again.
    catalogue.renew(there)
    catalogue.withdraw(here)


def test_a_frozen_server_offers_its_devices_again(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [description(devices=["one"])])
    catalogue.sync(there, [description(devices=["two"])], GONE)
    catalogue.renew(here)
    assert offered(here) == {"IBM/one"}
    catalogue_cache.cache_of(there).lease = LEASE
    catalogue.renew(there)
    until(lambda: offered(here) == {"IBM/one", "IBM/two"})


def test_offers_that_are_renewed_now_are_not_deleted_and_not_waited_for(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [description(devices=["one"])])
    catalogue.sync(there, [description(devices=["two"])], GONE)
    name = catalogue_cache.cache_of(there).server
    with connect_to_write(there._engine) as connection, connection.begin():
        assert server_offers.renew(connection, name, LEASE)
        # While it waits for the lock that this one has.
        with connect_to_write(here._engine) as other, other.begin():
            other.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            server_offers.delete_expired(other)
    catalogue.renew(here)
    assert offered(here) == {"IBM/one", "IBM/two"}


def test_jobs_for_the_available_device_of_another_server_are_left_to_it(servers: tuple[Database, Database]) -> None:
    here, there = servers
    disabled = sized(20)
    disabled.devices[0].available = False
    catalogue.sync(here, [disabled])
    catalogue.sync(there, [sized(30)])
    until(lambda: offered(here) == {"IBM/one"})
    job = submit(here, device=catalogue.device_by_name(here, "IBM/one"))
    assert claim(here) == []
    # If no server has an available one, those that have it run the jobs that wait.
    also_disabled = sized(30)
    also_disabled.devices[0].available = False
    catalogue.refresh(there, also_disabled)
    until(lambda: not offered(here))
    assert [task.job_id for task in claim(here)] == [job.id]


def test_a_device_of_several_servers_is_what_each_of_them_can_run(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [sized(30)])
    catalogue.sync(there, [sized(27)])
    assert catalogue.device_by_name(there, "IBM/one").num_qubits == 27
    catalogue.sync(here, [sized(30)])
    assert catalogue.device_by_name(here, "IBM/one").num_qubits == 27
    catalogue.sync(there, [sized(27, unavailable="install it")])
    found = catalogue.device_by_name(there, "IBM/one")
    assert (found.num_qubits, found.available) == (30, True)
    catalogue.sync(here, [sized(30, unavailable="install it")])
    assert catalogue.device_by_name(here, "IBM/one").status_message == "install it"


def test_calibrations_of_other_servers_are_kept(servers: tuple[Database, Database]) -> None:
    here, there = servers
    measured = DeviceCalibration(qubits=[QubitCalibration(t1=1e-4)])
    with_one = description(devices=["one"])
    with_one.calibrations.append(CalibratedDevice(device="one", calibration=measured))
    catalogue.sync(here, [with_one])
    catalogue.sync(there, [description(devices=["two"])])
    assert calibrations.calibration(there, catalogue.device_by_name(there, "IBM/one").id) == measured


def test_a_server_claims_only_jobs_of_its_own_devices(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [description(devices=["one"])])
    catalogue.sync(there, [description(devices=["two"]), description("AWS", ["sv"], unavailable="no SDK")])
    until(lambda: "IBM/two" in catalogue.devices_by_name(here))
    two, one = (catalogue.device_by_name(here, name) for name in ("IBM/two", "IBM/one"))
    # In one lane: those that the other server runs come first, and do not delay the rest.
    foreign = [submit(here, device=two) for _ in range(3)]
    own = submit(here, device=one)
    assert [task.job_id for task in claim(here)] == [own.id]
    assert {task.job_id for task in claim(there)} == {job.id for job in foreign}
    # A device that this server does not know yet.
    catalogue_cache.cache_of(here)._snapshot = catalogue_cache.cached(here)
    catalogue.refresh(there, description(devices=["two", "three"]))
    known = catalogue_cache.cache_of(here)
    new = submit(there, device=catalogue.device_by_name(there, "IBM/three"))
    assert claim(here) == []
    until(lambda: "IBM/three" in known.get(here).by_name)
    assert claim(here) == []
    assert [task.job_id for task in claim(there)] == [new.id]


def test_a_standing_claim_leaves_jobs_to_other_servers_and_notifies_them(servers: tuple[Database, Database]) -> None:
    here, there = servers
    catalogue.sync(here, [description(devices=["one"])])
    catalogue.sync(there, [description(devices=["two"])])
    until(lambda: "IBM/two" in catalogue.devices_by_name(here))
    heard: list[Notification] = []
    unsubscribe = there.notifications.subscribe(heard.append)
    standing = StandingClaim(here, "here", {"IBM": 4}, LEASE, 0, on_result=lambda: None)
    job = submit(here, device=catalogue.device_by_name(here, "IBM/two"))
    assert standing.tasks(10.0) == []
    until(lambda: any(each.queue for each in heard))
    unsubscribe()
    assert [task.job_id for task in claim(there)] == [job.id]


def test_jobs_of_a_vanished_device_wait_and_delay_no_others(db: Database) -> None:
    catalogue.sync(db, [description(devices=["one", "two"])])
    two, one = (catalogue.device_by_name(db, name) for name in ("IBM/two", "IBM/one"))
    waiting, other = submit(db, device=two), submit(db, device=one)
    catalogue.refresh(db, description(devices=["one"]))
    assert [task.job_id for task in queue.claim(db, "me", {"IBM": 5}, LEASE)] == [other.id]
    place = queue_positions.of_job(db, waiting.id)
    assert place is not None
    assert (place.reason, place.message) == (
        QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE,
        "no running server or worker machine offers it",
    )
    # It stands apart from the queue, so that claims need not pass over many such jobs.
    queue_times.apply_due(db)
    with db.read() as connection:
        moved = connection.execute(select(jobs.c.not_before).where(jobs.c.id == waiting.id)).scalar_one()
    assert moved == held_jobs.HELD + two.id
    place = queue_positions.of_job(db, waiting.id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE
    catalogue.refresh(db, description(devices=["one", "two"]))
    queue_times.apply_due(db)
    assert [task.job_id for task in queue.claim(db, "me", {"IBM": 5}, LEASE)] == [waiting.id]
