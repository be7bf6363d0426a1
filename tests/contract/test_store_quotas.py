# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: quotas refuse submissions and hold claims; usage is recorded."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from qonduit.execution.v1.task_pb2 import Task, TaskDeclined, TaskEvent
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import QueueReason
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit.v1.usage_service_pb2 import UsageGrouping
from qonduit_server.errors import InvalidArgument, QuotaExceeded
from qonduit_server.store import deployments
from qonduit_server.store.admin.retention import sweep
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, queue, queue_positions, queue_times
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.users import quota_rows, usage_rows
from qonduit_server.store.users.quota_checks import TASK_BYTES
from tests.postgresql import PostgresqlServer
from tests.store_fixture import BELL, LEASE, Clock, claim, deployment, finished, progressed, result, submit, succeeded

OWNER = UsageGrouping.USAGE_GROUPING_OWNER
USER = UsageGrouping.USAGE_GROUPING_USER
DEVICE = UsageGrouping.USAGE_GROUPING_DEVICE
DAY = UsageGrouping.USAGE_GROUPING_DAY


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 29, 15, 0, tzinfo=UTC))


@pytest.fixture
def db(database_url: str, clock: Clock) -> Iterator[Database]:
    database = open_database(database_url, clock=clock)
    yield database
    database.close()


def limit(db: Database, owner: str = "anna", **limits: int) -> None:
    quota_rows.set_quota(db, owner, QuotaValues(**limits), list(limits))


def used(db: Database, owner: str = "anna") -> QuotaValues:
    return quota_rows.get(db, owner).used


def owners(db: Database, tasks: list[Task]) -> list[str]:
    return [job_rows.get(db, None, task.job_id).executed_by for task in tasks]


def end(db: Database, tasks: list[Task], seconds: float = 1.0) -> None:
    batch: list[TaskEvent] = []
    for task in tasks:
        last = finished(task)
        last.finished.seconds = seconds
        batch += [*(succeeded(task, index) for index in range(len(task.programs))), last]
    assert not queue.record(db, "me", batch)


def stored(db: Database) -> dict[str, int]:
    """Return the bytes that owners store, counted from the rows."""
    sizes = (
        "SELECT d.caller, length(p.program) AS size FROM programs p JOIN deployments d ON d.id = p.deployment_id "
        "UNION ALL SELECT j.caller, r.size FROM results r JOIN jobs j ON j.id = r.job_id "
        "UNION ALL SELECT j.caller, length(b.data) FROM buffers b JOIN results r ON r.id = b.result_id "
        "JOIN jobs j ON j.id = r.job_id "
        "UNION ALL SELECT j.caller, length(o.data) FROM options o JOIN job_options u ON u.sha256 = o.sha256 "
        "JOIN jobs j ON j.id = u.job_id"
    )
    with db.read() as connection:
        rows = connection.execute(text(f"SELECT caller, sum(size) AS size FROM ({sizes}) AS s GROUP BY caller"))
        return {row.caller: int(row.size) for row in rows}


def test_queued_jobs_are_refused_above_the_quota_and_those_of_others_are_not(db: Database) -> None:
    limit(db, queued_jobs=2)
    first = submit(db, caller="anna")
    submit(db, caller="anna")
    with pytest.raises(QuotaExceeded, match=r"quota queued_jobs of anna reached: 2 of 2 jobs are queued") as raised:
        submit(db, caller="anna")
    assert (raised.value.reason, raised.value.subject) == ("QUOTA_EXCEEDED", "queued_jobs")
    assert raised.value.retry_after
    for _ in range(3):
        submit(db, caller="ben")
    job_rows.cancel(db, "anna", first.id)
    submit(db, caller="anna")
    assert used(db).queued_jobs == 2


def test_a_repeated_request_gets_its_job_also_above_the_quota(db: Database) -> None:
    limit(db, queued_jobs=1)
    first = submit(db, caller="anna", request_id="6f1f7d0e-9a71-43b5-8a43-8d05a8a1a0ac")
    assert submit(db, caller="anna", request_id="6f1f7d0e-9a71-43b5-8a43-8d05a8a1a0ac").id == first.id
    with pytest.raises(QuotaExceeded):
        job_rows.rerun(db, "anna", first.id)


@pytest.mark.parametrize("servers", [1, 2])
def test_concurrent_submits_are_accepted_up_to_the_quota_exactly(
    db: Database, clock: Clock, request: pytest.FixtureRequest, servers: int
) -> None:
    other = db
    if servers == 2:
        if db.kind == "sqlite":
            return  # a SQLite database has one server
        other = open_database(request.getfixturevalue("database_url"), clock=clock)
    limit(db, queued_jobs=17)
    limit(db, owner="zoe", queued_jobs=5)
    submit(db, caller="anna")
    other.quotas.changed()
    start = threading.Barrier(16)

    def submit_some(number: int) -> int:
        start.wait(100)
        accepted = 0
        for place in range(5):
            try:
                submit((db, other)[number % 2], caller="zoe" if place == 4 else "anna")
                accepted += place < 4
            except QuotaExceeded:
                pass
        return accepted

    try:
        with ThreadPoolExecutor(16) as threads:
            assert sum(threads.map(submit_some, range(16))) == 16
        assert used(db).queued_jobs == 17
        assert used(db, "zoe").queued_jobs == 5
    finally:
        if other is not db:
            other.close()


def test_shots_are_refused_until_the_day_ends(db: Database, clock: Clock) -> None:
    limit(db, shots_per_day=5000)
    submit(db, caller="anna", shots=1500, programs=2)
    job_rows.cancel(db, "anna", submit(db, caller="anna", shots=1000).id)
    with pytest.raises(QuotaExceeded) as raised:
        submit(db, caller="anna", shots=1001)
    assert raised.value.message == (
        "quota shots_per_day of anna reached: the job has 1001 shots, 4000 of 5000 are used; "
        "retry after 2026-11-30 00:00 UTC"
    )
    assert raised.value.retry_after == 9 * 3600
    submit(db, caller="ben", shots=9000)
    submit(db, caller="anna", shots=1000)
    assert used(db).shots_per_day == 5000
    clock.now += timedelta(hours=9)
    assert used(db).shots_per_day == 0
    submit(db, caller="anna", shots=4000)
    with pytest.raises(QuotaExceeded, match="submit fewer") as raised:
        submit(db, caller="anna", shots=5001)
    assert raised.value.retry_after is None


def numbered(number: int) -> Deployment:
    """Return programs of the same size as those of other numbers from 0 to 9."""
    found = deployment()
    found.programs[0].quantum_circuit += f"// {number}"
    return found


def test_stored_bytes_are_refused_above_the_quota(db: Database) -> None:
    size = deployments.prepare("anna", numbered(0)).size
    limit(db, stored_bytes=2 * size)
    made = deployments.create(db, "anna", numbered(0))
    job = submit(db, caller="anna", inline=numbered(1))
    with pytest.raises(QuotaExceeded, match=rf"{size} more bytes, {2 * size} of {2 * size} are used; delete"):
        submit(db, caller="anna", inline=numbered(2))
    with pytest.raises(QuotaExceeded):
        deployments.create(db, "anna", numbered(3))
    made.programs[0].quantum_circuit = BELL + BELL
    with pytest.raises(QuotaExceeded):
        deployments.update(db, "anna", made)
    deployments.create(db, "ben", deployment(programs=3))
    assert stored(db)["anna"] == used(db).stored_bytes == 2 * size
    job_rows.cancel(db, "anna", job.id)
    job_rows.delete(db, "anna", job.id)
    deployments.delete(db, "anna", made.id)
    deployments.delete(db, "anna", job.deployment_id)
    assert used(db).stored_bytes == 0
    submit(db, caller="anna", inline=numbered(2))


def test_a_job_with_programs_of_an_earlier_one_stores_none(db: Database) -> None:
    size = deployments.prepare("anna", numbered(0)).size
    limit(db, stored_bytes=size)
    first, second = (submit(db, caller="anna", inline=numbered(0)) for _ in range(2))
    assert second.deployment_id == first.deployment_id
    assert stored(db)["anna"] == used(db).stored_bytes == size
    with pytest.raises(QuotaExceeded, match=rf"{size} more bytes"):
        submit(db, caller="anna", inline=numbered(1))
    for job in (first, second):
        job_rows.cancel(db, "anna", job.id)
        job_rows.delete(db, "anna", job.id)
        assert used(db).stored_bytes == size
    deployments.delete(db, "anna", first.deployment_id)
    assert stored(db).get("anna", 0) == used(db).stored_bytes == 0


def test_the_stored_bytes_are_those_of_the_rows_whatever_happens(db: Database, clock: Clock) -> None:
    def check() -> None:
        counted = stored(db)
        for owner in ("anna", "ben"):
            assert used(db, owner).stored_bytes == counted.get(owner, 0), owner

    made = deployments.create(db, "anna", deployment(programs=2))
    made.programs[0].quantum_circuit = BELL + BELL
    deployments.update(db, "anna", made)
    check()
    jobs = [submit(db, caller=owner, programs=2) for owner in ("anna", "ben", "anna")]
    jobs += [submit(db, caller=owner, inline=deployment()) for owner in ("anna", "ben", "anna")]
    many: dict[str, Any] = {"inputs": {"text": "x" * 6000}}
    jobs.append(submit(db, caller="anna", **many))
    jobs.append(submit(db, caller="ben", **many))
    check()
    tasks = claim(db)
    large = result()
    large.buffer.size_bytes = 600_000
    event = succeeded(tasks[0], 0, large)
    event.program_succeeded.buffer = b"x" * 600_000
    queue.write_ahead(db, event)
    queue.record(db, "me", [event, finished(tasks[0])])
    end(db, tasks[1:])
    check()
    assert used(db).stored_bytes > 600_000
    job_rows.delete(db, "anna", jobs[0].id)
    check()
    clock.now += timedelta(days=30)
    sweep(db, int(clock.now.timestamp() * 1e6), threading.Event())
    check()
    assert stored(db).keys() == {"anna"}  # the deployment that no job made


def test_running_jobs_hold_the_queue_of_their_owner_alone(db: Database) -> None:
    limit(db, running_jobs=2)
    mine = [submit(db, caller="anna") for _ in range(4)]
    for _ in range(3):
        submit(db, caller="ben")
    tasks = claim(db, capacity=16)
    assert Counter(owners(db, tasks)) == {"anna": 2, "ben": 3}
    place = queue_positions.of_job(db, mine[2].id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_QUOTA
    assert not place.HasField("position")
    assert claim(db) == []
    assert (used(db).running_jobs, used(db).running_memory_bytes) == (2, 2 * TASK_BYTES)
    end(db, tasks[:1])
    (task,) = claim(db)
    assert task.job_id == mine[2].id
    place = queue_positions.of_job(db, mine[3].id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_QUOTA
    limit(db, running_jobs=-1)
    place = queue_positions.of_job(db, mine[3].id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_NO_WORKER
    assert len(claim(db)) == 1


def test_the_place_of_a_job_counts_no_held_jobs(db: Database) -> None:
    limit(db, running_jobs=0)
    for _ in range(3):
        submit(db, caller="anna")
    job = submit(db, caller="ben")
    place = queue_positions.of_job(db, job.id)
    assert place is not None
    assert (place.position, place.reason) == (0, QueueReason.QUEUE_REASON_NO_WORKER)


def test_a_full_quota_does_not_keep_a_claim_from_other_lanes(db: Database) -> None:
    for owner in ("a", "b", "c"):
        limit(db, owner=owner, running_jobs=1)
        for _ in range(3):
            submit(db, caller=owner)
    submit(db, caller="d")
    assert sorted(owners(db, claim(db, capacity=16))) == ["a", "b", "c", "d"]
    for slots in (0, 4):
        assert queue.claim(db, "me", {"IBM": 16}, timedelta(seconds=30), slots) == []


def test_two_servers_that_claim_at_once_start_no_more_than_the_quota(
    postgresql: PostgresqlServer, postgresql_template: str, clock: Clock
) -> None:
    name = postgresql.new_database(postgresql_template)
    servers = [open_database(postgresql.url(name), clock=clock) for _ in range(2)]
    try:
        limited = [f"anna {number}" for number in range(6)]
        for owner in limited:
            limit(servers[0], owner, running_jobs=2)
            for _ in range(6):
                submit(servers[0], caller=owner)
        for _ in range(20):
            submit(servers[0], caller="ben")
        servers[1].quotas.changed()
        start = threading.Barrier(2)

        def claim_all(place: int) -> list[Task]:
            found: list[Task] = []
            for _ in range(4):
                start.wait(100)
                found += claim(servers[place], owner=f"server {place}", capacity=9)
            return found

        with ThreadPoolExecutor(2) as threads:
            tasks = [task for each in threads.map(claim_all, range(2)) for task in each]
        tasks += claim(servers[0], capacity=40)
        assert Counter(owners(servers[0], tasks)) == {**dict.fromkeys(limited, 2), "ben": 20}
    finally:
        for server in servers:
            server.close()
        postgresql.drop_database(name)


def test_worker_seconds_hold_jobs_until_the_day_ends(db: Database, clock: Clock) -> None:
    limit(db, worker_seconds_per_day=10)
    jobs = [submit(db, caller="anna") for _ in range(3)]
    submit(db, caller="ben")
    end(db, claim(db, capacity=1), 4.0)
    end(db, claim(db), 7.0)  # of Anna, Anna and Ben: jobs that run when the quota is reached end normally
    job = submit(db, caller="anna")
    assert used(db).worker_seconds_per_day == 18
    assert claim(db) == []
    place = queue_positions.of_job(db, job.id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_QUOTA
    received: list[Notification] = []
    db.notifications.subscribe(received.append)
    assert queue_times.apply_due(db) == 9 * 3600
    received.clear()
    clock.now += timedelta(hours=9)
    assert queue_times.apply_due(db) == 24 * 3600
    assert any(each.queue for each in received)
    assert owners(db, claim(db)) == ["anna"]
    assert len(jobs) == 3


def test_the_memory_of_running_jobs_holds_further_ones(db: Database) -> None:
    limit(db, running_memory_bytes=3 * TASK_BYTES)
    for _ in range(8):
        submit(db, caller="anna")
    tasks = claim(db)
    assert len(tasks) == 3
    needs = TaskEvent(job_id=tasks[0].job_id, attempt=1, declined=TaskDeclined(memory_bytes=2 * TASK_BYTES))
    assert not queue.record(db, "me", [needs])
    assert used(db).running_memory_bytes == 4 * TASK_BYTES
    end(db, tasks[1:2])
    assert claim(db) == []
    end(db, tasks[2:])
    assert len(claim(db)) == 1
    # Smaller than what every task gets: one job at a time.
    limit(db, running_memory_bytes=1)
    assert claim(db) == []
    end(db, tasks[:1])
    limit(db, owner="ben", running_memory_bytes=1)
    for _ in range(2):
        submit(db, caller="ben")
    (task,) = claim(db)
    assert owners(db, [task]) == ["ben"]
    assert claim(db) == []


def test_the_end_of_a_job_wakes_servers_only_if_a_quota_may_hold_others(db: Database) -> None:
    received: list[Notification] = []
    for owner in ("anna", "ben"):
        submit(db, caller=owner)
    limit(db, running_jobs=1)
    mine, others = claim(db)
    if owners(db, [mine]) != ["anna"]:
        mine, others = others, mine
    db.notifications.subscribe(received.append)
    end(db, [others])
    assert not any(each.queue for each in received)
    end(db, [mine])
    assert any(each.queue for each in received)


def test_a_limit_that_is_not_set_is_that_of_the_default(db: Database) -> None:
    db.quotas.set_default(QuotaValues(queued_jobs=1, open_streams=9))
    limit(db, queued_jobs=3)
    quota = quota_rows.get(db, "anna")
    assert quota.limits == QuotaValues(queued_jobs=3)
    assert (quota.effective.queued_jobs, quota.effective.open_streams, quota.effective.stored_bytes) == (3, 9, -1)
    assert db.quotas.of("ben").queued_jobs == 1
    quota_rows.set_quota(db, "anna", QuotaValues(stored_bytes=5), ["stored_bytes"])
    assert quota_rows.get(db, "anna").limits == QuotaValues(queued_jobs=3, stored_bytes=5)
    quota_rows.set_quota(db, "anna", QuotaValues(), ["stored_bytes"])
    assert quota_rows.get(db, "anna").limits == QuotaValues(queued_jobs=3)
    assert [each.owner for each in quota_rows.list_page(db).items] == ["anna"]
    quota_rows.set_quota(db, "anna", QuotaValues())
    assert quota_rows.list_page(db).items == []
    assert db.quotas.of("anna").queued_jobs == 1
    with pytest.raises(InvalidArgument, match="must be one of queued_jobs, "):
        quota_rows.set_quota(db, "anna", QuotaValues(), ["qubits"])


def test_quotas_are_listed_in_pages(db: Database) -> None:
    names = [f"user {number}" for number in range(7)]
    for name in names:
        limit(db, owner=name, queued_jobs=1)
    found: list[str] = []
    token = ""
    while True:
        page = quota_rows.list_page(db, 3, token)
        found += [each.owner for each in page.items]
        if not (token := page.next_page_token):
            break
    assert found == names
    with pytest.raises(InvalidArgument):
        quota_rows.list_page(db, 3, "AAAA")


def test_a_quota_holds_on_every_server_of_a_database(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    name = postgresql.new_database(postgresql_template)
    here, there = (open_database(postgresql.url(name)) for _ in range(2))
    try:
        submit(there, caller="anna")
        arrived = threading.Event()
        there.notifications.subscribe(lambda each: arrived.set() if each.quotas else None)
        limit(here, queued_jobs=1)
        assert arrived.wait(100)
        with pytest.raises(QuotaExceeded):
            submit(there, caller="anna")
    finally:
        here.close()
        there.close()
        postgresql.drop_database(name)


def test_usage_is_recorded_by_owner_device_and_day_and_outlives_its_jobs(db: Database, clock: Clock) -> None:
    jobs = [submit(db, caller=owner, programs=2) for owner in ("anna", "anna", "ben")]
    tasks = claim(db, capacity=2)
    end(db, tasks, 2.0)
    clock.now += timedelta(days=1)
    end(db, claim(db), 3.5)
    waiting = submit(db, caller="ben")
    job_rows.cancel(db, "ben", waiting.id)  # never ran
    for job in (*jobs, waiting):
        job_rows.delete(db, None, job.id)
    (row,) = usage_rows.list_page(db, None).items
    assert (row.jobs, row.shots, row.worker_seconds) == (3, 6000, 7.5)
    assert (row.owner, row.device, row.day, row.HasField("stored_bytes")) == ("", "", "", False)
    found = usage_rows.list_page(db, None, group_by=[OWNER]).items
    assert [(each.owner, each.jobs) for each in found] == [("anna", 2), ("ben", 1)]
    assert {each.owner: each.stored_bytes for each in found} == stored(db)
    found = usage_rows.list_page(db, None, group_by=[DAY, DEVICE]).items
    assert [(each.day, each.device, each.jobs) for each in found] == [
        ("2026-11-29", "IBM/aer_simulator", 2),
        ("2026-11-30", "IBM/aer_simulator", 1),
    ]
    found = usage_rows.list_page(db, "ben", group_by=[USER]).items
    assert [(each.executed_by, each.jobs) for each in found] == [("ben", 1)]
    found = usage_rows.list_page(db, None, "2026-11-30", "2026-11-30").items
    assert [each.jobs for each in found] == [1]
    assert usage_rows.list_page(db, None, "2026-12-01").items == []
    with pytest.raises(InvalidArgument, match='start_day: must be a day as "2026-11-29", got'):
        usage_rows.list_page(db, None, "yesterday")


def test_usage_is_listed_in_pages_of_any_grouping(db: Database, clock: Clock) -> None:
    for number in range(3):
        for owner in ("anna", "ben", "cleo"):
            submit(db, caller=owner)
            if number == 1:
                submit(db, caller=owner)
        end(db, claim(db), 1.0)
        clock.now += timedelta(days=1)
    for grouping in ([OWNER, DAY], [DAY, OWNER, DEVICE, USER], [DEVICE, DAY], [USER]):
        whole = usage_rows.list_page(db, None, group_by=grouping).items
        pages: list[Any] = []
        token = ""
        while True:
            page = usage_rows.list_page(db, None, group_by=grouping, page_size=2, page_token=token)
            pages += page.items
            if not (token := page.next_page_token):
                break
        assert pages == whole
    page = usage_rows.list_page(db, None, group_by=[OWNER], page_size=1)
    with pytest.raises(InvalidArgument):
        usage_rows.list_page(db, None, group_by=[DAY], page_size=1, page_token=page.next_page_token)


def test_an_event_of_another_attempt_records_no_usage(db: Database) -> None:
    submit(db, caller="anna")
    before = used(db).stored_bytes
    (task,) = claim(db)
    task.attempt += 1
    assert queue.record(db, "me", [succeeded(task), finished(task)]) == {(task.job_id, task.attempt)}
    assert usage_rows.list_page(db, None).items == []
    assert used(db).stored_bytes == before


def test_the_seconds_of_attempts_count_that_were_lost_with_a_worker_or_a_server(db: Database, clock: Clock) -> None:
    def seconds() -> float:
        (row,) = usage_rows.list_page(db, "anna").items
        assert used(db).worker_seconds_per_day == math.ceil(row.worker_seconds)
        return row.worker_seconds

    job = submit(db, caller="anna")
    (task,) = claim(db)
    clock.now += timedelta(seconds=5)
    queue.release(db, "me", {(job.id, 1): 3.0}, "the worker died")
    assert seconds() == 3.0
    clock.now += timedelta(seconds=7)  # the wait in the queue is no use
    claim(db)
    clock.now += timedelta(seconds=5)
    queue.release(db, "me", {(job.id, 2): None}, "the server that ran it is stopping")
    assert seconds() == 8.0
    (task,) = claim(db)
    batch = [progressed(task, number / 300) for number in range(1, 250)]
    assert not queue.record(db, "me", batch)  # more events than are read at once
    clock.now += timedelta(seconds=1000)
    assert queue.expire(db) == 1
    assert seconds() == 8.0 + LEASE.total_seconds()
    (task,) = claim(db)
    clock.now += timedelta(seconds=4)
    assert not queue.record(db, "me", [succeeded(task), finished(task)])  # without a report of the worker
    assert seconds() == 12.0 + LEASE.total_seconds()


def test_the_last_attempt_that_is_lost_with_a_server_counts(db: Database, clock: Clock) -> None:
    submit(db, caller="anna")
    claim(db)
    clock.now += timedelta(seconds=6)
    assert queue.expire(db, max_attempts=1, all_owners=True) == 1
    (row,) = usage_rows.list_page(db, "anna").items
    assert (row.jobs, row.worker_seconds) == (1, 6.0)
