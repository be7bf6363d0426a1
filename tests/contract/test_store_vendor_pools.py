# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: a provider with simulators and with devices at a vendor."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update

from qonduit.v1.job_pb2 import Job, QueueReason, RequiredVersions
from qonduit_server.store import calibrations, catalogue, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import AtVendor, Pool
from qonduit_server.store.jobs import queue, queue_positions, queue_times, shares
from qonduit_server.store.jobs.standing_claim import StandingClaim
from qonduit_server.store.pauses import Paused
from qonduit_server.store.schema import jobs
from qonduit_server.version_requirements import Environment
from tests.contract.test_store_queue_times import after, turn_back
from tests.store_fixture import LEASE, description, submit

VENDOR = AtVendor("IBM")
VERSIONS = {"numpy": "2.3.5"}


def offer(db: Database) -> None:
    described = description(devices=("aer_simulator", "machine"))
    described.devices[1].is_local = described.devices[1].is_simulator = False
    described.vendor.SetInParent()
    catalogue.sync(db, [described])


def at_vendor(db: Database, **options: object) -> Job:
    return submit(db, device=catalogue.device_by_name(db, "IBM/machine"), **options)  # type: ignore[arg-type]


def local(db: Database, **options: object) -> Job:
    return submit(db, device=catalogue.device_by_name(db, "IBM/aer_simulator"), **options)  # type: ignore[arg-type]


def claimed(db: Database, pool: Pool, count: int = 100) -> list[int]:
    environments = {"IBM": [Environment(VERSIONS)]}
    tasks = queue.claim(db, "me", {pool: count}, LEASE, environments=environments)
    assert all(task.HasField("vendor_device") == isinstance(pool, AtVendor) for task in tasks)
    return [task.job_id for task in tasks]


def ids(*made: Job) -> list[int]:
    return [job.id for job in made]


def test_each_kind_of_device_has_a_capacity_of_its_own(db: Database) -> None:
    offer(db)
    first, second, third, fourth = local(db), at_vendor(db), local(db), at_vendor(db)
    assert claimed(db, VENDOR) == ids(second, fourth)
    assert claimed(db, VENDOR) == []
    assert claimed(db, "IBM") == ids(first, third)
    both = at_vendor(db), local(db)
    tasks = queue.claim(db, "me", {"IBM": 1, VENDOR: 1}, LEASE)
    assert sorted(task.job_id for task in tasks) == ids(*both)
    (sent,) = [task for task in tasks if task.HasField("vendor_device")]
    assert (sent.device, sent.vendor_device.name, sent.vendor_device.num_qubits) == ("machine", "machine", 29)


def test_jobs_of_both_kinds_may_require_versions(db: Database) -> None:
    offer(db)
    versions = RequiredVersions(requirements=["numpy>=2"])
    missing = RequiredVersions(requirements=["numpy>=3"], wait=True)
    here, there = local(db, required_versions=versions), at_vendor(db, required_versions=versions)
    local(db, required_versions=missing), at_vendor(db, required_versions=missing)
    assert claimed(db, VENDOR) == [there.id]
    assert claimed(db, "IBM") == [here.id]


def test_a_paused_device_holds_its_jobs_until_it_is_resumed(db: Database) -> None:
    offer(db)
    machine = catalogue.device_by_name(db, "IBM/machine")
    early = at_vendor(db)
    pauses.pause(db, Paused(machine.provider_id, machine.id), "", "operator")
    late, free = at_vendor(db), local(db)
    queue_times.apply_due(db)
    assert claimed(db, VENDOR) == []
    assert queue_positions.of_jobs(db, [late.id])[late.id].reason == QueueReason.QUEUE_REASON_PAUSED
    assert claimed(db, "IBM") == [free.id]
    pauses.resume(db, Paused(machine.provider_id, machine.id))
    queue_times.apply_due(db)
    assert claimed(db, VENDOR) == ids(early, late)


def test_a_job_that_waits_for_a_time_joins_the_queue_of_its_kind(db: Database) -> None:
    offer(db)
    made = at_vendor(db, not_before=after(60)), local(db, not_before=after(60))
    assert claimed(db, VENDOR) == claimed(db, "IBM") == []
    for job in made:
        turn_back(db, "not_before", job.id)
    queue_times.apply_due(db)
    assert claimed(db, VENDOR) == [made[0].id]
    assert claimed(db, "IBM") == [made[1].id]


def test_a_released_job_returns_to_the_queue_of_its_kind(db: Database) -> None:
    offer(db)
    job = at_vendor(db)
    claimed(db, VENDOR)
    queue.release(db, "me", {(job.id, 1): None}, "the server stops", counts=False)
    assert claimed(db, "IBM") == []
    assert claimed(db, VENDOR) == [job.id]


def test_positions_and_shares_count_the_jobs_of_each_kind(db: Database) -> None:
    offer(db)
    made = [at_vendor(db) for _ in range(3)]
    alone = local(db)
    places = queue_positions.of_jobs(db, ids(*made, alone))
    assert [places[job.id].position for job in made] == [0, 1, 2]
    assert places[alone.id].position == 0
    provider = catalogue.device_by_name(db, "IBM/machine").provider_id
    at_vendor(db, caller="other")
    assert {share.owner: share.queued_jobs for share in shares.list_page(db, provider).items} == {
        "anonymous": 4,
        "other": 1,
    }


def test_a_job_at_its_vendor_does_not_make_its_owner_wait_for_workers(db: Database) -> None:
    offer(db)
    waiting = [at_vendor(db, caller="patient") for _ in range(20)]
    assert claimed(db, VENDOR) == ids(*waiting)
    assert not db.lane_accounts.running()
    order: Sequence[Job] = [job for _ in range(3) for job in (local(db, caller="patient"), local(db, caller="other"))]
    found = claimed(db, "IBM", 2)
    assert {job.id for job in order[:2]} == set(found)


def test_a_standing_claim_takes_the_next_job_of_either_kind(db: Database) -> None:
    offer(db)
    for make, pool in ((at_vendor, VENDOR), (local, "IBM")):
        standing = StandingClaim(db, "me", {"IBM": 1, VENDOR: 1}, LEASE, 0, on_result=lambda: None)
        job = make(db)
        tasks = standing.tasks()
        assert tasks is not None
        assert [(task.job_id, task.HasField("vendor_device")) for task in tasks] == [(job.id, pool is VENDOR)]


def test_devices_that_a_vendor_listed_stay_while_a_server_has_the_vendor(db: Database) -> None:
    offer(db)
    listed = description(devices=("of_the_lab",))
    listed.devices[0].is_local = False
    listed.devices[0].listed_at.GetCurrentTime()
    listed.calibrations.add(device="of_the_lab").calibration.dt = 0.5
    catalogue.add_listed(db, listed)
    device = catalogue.device_by_name(db, "IBM/of_the_lab")
    assert device.available
    measured = calibrations.calibration(db, device.id)
    assert measured is not None
    assert measured.dt == 0.5
    job = submit(db, device=device)
    offer(db)
    assert catalogue.device_by_name(db, "IBM/of_the_lab").available
    assert claimed(db, VENDOR) == [job.id]
    waiting = submit(db, device=device)
    catalogue.sync(db, [description()])
    queue_times.apply_due(db)
    assert not catalogue.device_by_name(db, "IBM/of_the_lab").available
    assert claimed(db, VENDOR) == []
    offer(db)
    queue_times.apply_due(db)
    assert catalogue.device_by_name(db, "IBM/of_the_lab").available
    assert claimed(db, VENDOR) == [waiting.id]


def test_jobs_of_earlier_servers_are_claimed_with_those_of_workers_and_still_go_to_the_vendor(db: Database) -> None:
    offer(db)
    job = at_vendor(db)
    with db._engine.connect() as connection:
        connection.execute(update(jobs).values(not_before=0))
    (task,) = queue.claim(db, "me", {"IBM": 1}, LEASE)
    assert (task.job_id, task.HasField("vendor_device")) == (job.id, True)
