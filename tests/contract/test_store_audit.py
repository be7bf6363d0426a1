# SPDX-License-Identifier: Apache-2.0
"""The contract of the audit log, on every database: append-only, chained, kept for its own time, read by pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit_server.errors import InvalidArgument, NotFound
from qonduit_server.store import audit_list, deployments
from qonduit_server.store.admin.audit_retention import erase_oldest
from qonduit_server.store.admin.audit_verification import verify
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import bulk_changes, job_list, job_rows
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.writer import Operation, Transaction
from tests.store_fixture import CALLER, claim, deployment, known_device, submit, succeed

ANNA = Act("anna", "JobService/CreateJob", "token", "abc", "ipv4:127.0.0.1:1", "r1")


def entries(db: Database, filter: str = "") -> list[AuditEntry]:
    """Return the entries, oldest first."""
    return list(audit_list.list_page(db, 1000, filter=filter, order_by="time").items)


def objects(db: Database, filter: str = "") -> list[str]:
    return [entry.object for entry in entries(db, filter)]


def execute(db: Database, statement: str, **values: object) -> None:
    """Execute a statement as someone with access to the database, beside the server's code."""

    def run(transaction: Transaction, calls: object) -> list[None]:
        transaction.connection.execute(text(statement), values)
        return [None]

    db.write(Operation(run), None)


def tamper(db: Database, statement: str, **values: object) -> None:
    """Execute a statement without the triggers."""
    sqlite = db.kind == "sqlite"
    names = ("update", "delete", "replace") if sqlite else ("change",)
    for name in names:
        execute(db, f"DROP TRIGGER audit_entries_{name}{'' if sqlite else ' ON audit_entries'}")
    execute(db, statement, **values)


def act(db: Database, count: int = 3) -> list[int]:
    device = known_device(db)
    with acting(ANNA):
        return [submit(db, device=device).id for _ in range(count)]


def test_a_change_of_an_act_has_an_entry_for_each_object(db: Database) -> None:
    known_device(db)
    with acting(ANNA):
        job = submit(db, request_id="one")
        submit(db, request_id="one")  # repeated: changes nothing
    submit(db)  # of no act, as the dispatcher's changes
    (entry,) = entries(db)
    assert (entry.principal, entry.method, entry.object, entry.outcome) == (
        *("anna", "JobService/CreateJob", f"jobs/{job.id}", "OK"),
    )
    assert (entry.authentication, entry.credential, entry.peer) == ("token", "abc", "ipv4:127.0.0.1:1")
    assert (entry.request_id, entry.count, entry.number) == ("r1", 1, 1)
    assert entry.time == job.created_at


def test_every_kind_of_change_names_its_object(db: Database) -> None:
    known_device(db)
    with acting(ANNA):
        made = deployments.create(db, CALLER, deployment())
        deployments.update(db, CALLER, made)
        deployments.delete(db, CALLER, made.id)
        first, second, third = (submit(db).id for _ in range(3))
        job_rows.cancel(db, CALLER, first)
        bulk_changes.cancel_matching(db, CALLER, "*")
        job_rows.delete(db, CALLER, first)
        bulk_changes.delete_matching(db, CALLER, "*")
    kept = [f"deployments/{made.id}"] * 3
    jobs = [f"jobs/{each}" for each in (first, second, third)]
    others = [jobs[1], jobs[2]]
    named = objects(db)
    assert named[:7] == [*kept, *jobs, jobs[0]]
    assert sorted(named[7:9]) == others
    assert named[9] == jobs[0]
    assert sorted(named[10:]) == others
    assert [entry.count for entry in entries(db)][7:9] == [2, 2]


def test_a_refused_change_has_no_entry_of_success(db: Database) -> None:
    with acting(ANNA), pytest.raises(NotFound):
        job_rows.cancel(db, CALLER, 10**6)
    assert entries(db) == []


def test_an_entry_is_written_with_its_change_or_neither_is(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    act(db, 1)
    transactions = db._writer._transactions
    run = transactions.run

    def fail_at_the_end(work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        def both(transaction: Transaction) -> None:
            work(transaction)
            assert transaction.connection.execute(text("SELECT count(*) FROM audit_entries")).scalar() == 2
            raise ValueError("no commit")

        return run(both, durable=durable)

    with monkeypatch.context() as patched:
        patched.setattr(transactions, "run", fail_at_the_end)
        with pytest.raises(ValueError, match="no commit"):
            act(db, 1)
    assert len(job_list.list_page(db, CALLER).items) == len(entries(db)) == 1
    act(db, 1)
    assert [entry.number for entry in entries(db)] == [1, 2]
    assert verify(db).errors == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET principal = 'other'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_entries WHERE id = (SELECT max(id) FROM audit_entries)",
    ],
)
def test_the_database_refuses_to_change_or_delete_an_entry(db: Database, statement: str) -> None:
    act(db)
    before = entries(db)
    with pytest.raises(DBAPIError, match="append-only"):
        execute(db, statement)
    assert entries(db) == before


def test_the_database_refuses_to_replace_or_truncate_entries(db: Database) -> None:
    act(db)
    before = entries(db)
    statement = (
        "INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries"
        if db.kind == "sqlite"
        else "TRUNCATE audit_entries"
    )
    with pytest.raises(DBAPIError, match="append-only"):
        execute(db, statement)
    assert entries(db) == before


def test_the_chain_of_untouched_entries_is_correct(db: Database, database_url: str) -> None:
    act(db)
    other = open_database(database_url)
    act(other)
    act(db)
    other.close()
    found = verify(db)
    assert (found.entries, found.errors) == (9, [])
    assert sorted(number for number, _ in found.ends.values()) == [3, 6]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE audit_entries SET principal = 'ben' WHERE number = 2", "does not match its hash"),
        ("DELETE FROM audit_entries WHERE number = 2", "has the number 3, expected 2"),
        ("DELETE FROM audit_entries WHERE number = 1", "is the first of its chain, but has the number 2"),
        ("UPDATE audit_entries SET number = 7 WHERE number = 3", "has the number 7, expected 3"),
    ],
)
def test_a_verification_finds_each_manipulation(db: Database, statement: str, error: str) -> None:
    act(db)
    tamper(db, statement)
    assert error in verify(db).errors[0]


def test_a_verification_finds_a_removed_chain(db: Database, database_url: str) -> None:
    act(db)
    other = open_database(database_url)
    act(other)
    other.close()
    third = open_database(database_url)
    act(third)
    third.close()
    chains = list(verify(db).ends)
    tamper(db, "DELETE FROM audit_entries WHERE chain = :chain", chain=chains[1])
    (error,) = verify(db).errors
    assert "begins a chain after an entry that is missing" in error


def test_a_kept_hash_finds_that_the_newest_entries_were_removed(db: Database) -> None:
    act(db)
    found = verify(db)
    kept = {(chain, number): sha256 for chain, (number, sha256) in found.ends.items()}
    assert verify(db, kept).errors == []
    tamper(db, "DELETE FROM audit_entries WHERE number = 3")
    assert verify(db).errors == []
    (error,) = verify(db, kept).errors
    assert "has no entry of number 3" in error


def test_retention_deletes_old_entries_and_the_rest_stays_verifiable(database_url: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    db = open_database(database_url, clock=lambda: now)
    old = [*act(db, 2), *act(db, 3)]
    limit = int(now.timestamp() * 1e6) + 1
    now += timedelta(days=1)
    new = act(db, 2)
    assert erase_oldest(db, limit) == len(old)
    assert erase_oldest(db, limit) == 0
    assert objects(db) == [*(f"jobs/{each}" for each in new), "audit-entries"]
    *_, retained = entries(db)
    assert (retained.method, retained.count) == ("retention", 5)
    found = verify(db)
    assert (found.entries, found.errors) == (3, [])
    # After retention, the triggers refuse all deletions again, also of older entries.
    with db.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_guard")).scalar() == 0
    with pytest.raises(DBAPIError, match="append-only"):
        execute(db, "DELETE FROM audit_entries")
    tamper(db, "DELETE FROM audit_entries WHERE number = 6")
    assert "is the first of its chain" in verify(db).errors[0]
    db.close()


def test_pages_contain_each_entry_once_in_order(db: Database) -> None:
    jobs = act(db, 7)
    with acting(Act("ben", "JobService/CancelJob")):
        job_rows.cancel(db, CALLER, jobs[0])

    def paged(filter: str, order_by: str) -> list[int]:
        found: list[int] = []
        token = ""
        while True:
            page = audit_list.list_page(db, 2, token, filter, order_by)
            found += [entry.id for entry in page.items]
            if not (token := page.next_page_token):
                return found

    ids = [entry.id for entry in entries(db)]
    assert paged("", "time") == ids
    assert paged("", "") == ids[::-1]
    assert paged("principal = anna", "") == ids[-2::-1]
    assert paged('method = "*CancelJob" OR object = "jobs/3"', "time") == [ids[2], ids[-1]]


@pytest.mark.parametrize(
    ("filter", "matches"),
    [
        ("principal = anna", 3),
        ("principal != anna", 0),
        ("authentication = token credential = abc", 3),
        ('peer = "ipv4:127.0.0.1:*"', 3),
        ("outcome = OK", 3),
        ("request_id = r1", 3),
        ('time > "2020-01-01T00:00:00Z"', 3),
        ('time < "2020-01-01T00:00:00Z"', 0),
        ("id > 0", 3),
    ],
)
def test_a_filter_compares_each_field(db: Database, filter: str, matches: int) -> None:
    act(db)
    assert len(entries(db, filter)) == matches


def test_a_bad_filter_or_order_is_refused(db: Database) -> None:
    with pytest.raises(InvalidArgument, match="no field 'state'"):
        audit_list.list_page(db, filter="state = 1")
    with pytest.raises(InvalidArgument, match="order_by"):
        audit_list.list_page(db, order_by="principal")


def test_an_export_yields_all_entries_of_a_time_in_order(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_list, "_EXPORTED", 2)
    monkeypatch.setattr(audit_list, "_AFTER", audit_list._AFTER.limit(2))
    act(db, 5)
    found = entries(db)
    assert list(audit_list.since(db, 0)) == found
    third = found[2].time.ToMicroseconds()
    assert list(audit_list.since(db, third)) == [one for one in found if one.time.ToMicroseconds() >= third]


def test_the_entries_of_finished_jobs_outlive_them(db: Database) -> None:
    (job,) = act(db, 1)
    succeed(db, claim(db))
    job_rows.delete(db, CALLER, job)
    assert objects(db) == [f"jobs/{job}"]
