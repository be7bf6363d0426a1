# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: jobs are cancelled and deleted by filter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qonduit_server.errors import InvalidArgument, NotFound
from qonduit_server.lifecycle import CANCELLED, CANCELLING, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store.admin.consistency import CHECKS
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import bulk_changes, job_list, job_rows
from qonduit_server.store.jobs.bulk_changes import BulkChange, cancel_matching, delete_matching
from tests.store_fixture import CALLER, claim, history, submit, succeed

Change = Callable[..., BulkChange]


def without_findings(db: Database) -> bool:
    """Return whether the doctor finds no rows that belong to no job."""
    with db.read() as connection:
        return not [
            finding for check in CHECKS.values() for finding in check(connection, True, 0) if finding.level != "ok"
        ]


def states(db: Database, caller: str = CALLER) -> dict[int, int]:
    """Return the state of each job."""
    return {job.id: job.state for job in job_list.list_page(db, caller, 1000).items}


def finish(db: Database, change: Change, filter: str, **options: object) -> tuple[list[int], int]:
    """Repeat a change until none remain; return what it did, and the number of calls."""
    done, token, calls = [], "", 0
    while True:
        answer = change(db, CALLER, filter, token, **options)
        assert answer.count == len(answer.job_ids)
        done += answer.job_ids
        calls += 1
        if not (token := answer.next_page_token):
            return done, calls


def test_queued_and_running_jobs_are_cancelled(db: Database) -> None:
    ended, running, queued, other = (submit(db, labels={"sweep": "1"}) for _ in range(4))
    plain = submit(db)
    succeed(db, claim(db, capacity=1))
    claim(db, capacity=1)
    foreign = submit(db, caller="bob", labels={"sweep": "1"})
    before = states(db)
    preview = cancel_matching(db, CALLER, "label.sweep = 1", validate_only=True)
    assert (preview.count, preview.job_ids, preview.next_page_token) == (3, [other.id, queued.id, running.id], "")
    assert states(db) == before
    assert cancel_matching(db, CALLER, "label.sweep = 1") == preview
    assert states(db) == {
        ended.id: SUCCEEDED,
        running.id: CANCELLING,
        queued.id: CANCELLED,
        other.id: CANCELLED,
        plain.id: QUEUED,
    }
    assert states(db, "bob") == {foreign.id: QUEUED}
    assert cancel_matching(db, CALLER, "label.sweep = 1") == BulkChange()
    assert [event.state_change.to_state for event in history(db, queued.id)[1:]] == [CANCELLED]


def test_a_job_that_was_claimed_meanwhile_is_not_cancelled_as_a_queued_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(db)
    write = db.write

    def claimed_first(operation: object, argument: object) -> object:
        monkeypatch.setattr(db, "write", write)
        claim(db)
        return write(operation, argument)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "write", claimed_first)
    assert cancel_matching(db, CALLER, "state = QUEUED").count == 0
    assert states(db) == {job.id: RUNNING}


def test_ended_jobs_are_deleted(db: Database) -> None:
    first, second = submit(db, name="a", labels={"x": "y"}), submit(db, name="b", labels={"x": "y"})
    queued = submit(db, name="a")
    succeed(db, claim(db, capacity=2))
    foreign = submit(db, caller="bob", name="a")
    job_rows.cancel(db, "bob", foreign.id)
    preview = delete_matching(db, CALLER, "name = a", validate_only=True)
    assert (preview.count, preview.job_ids) == (1, [first.id])
    assert len(states(db)) == 3
    assert delete_matching(db, CALLER, "name = a") == preview
    assert states(db) == {second.id: SUCCEEDED, queued.id: QUEUED}
    assert states(db, "bob") == {foreign.id: CANCELLED}
    with pytest.raises(NotFound):
        history(db, first.id)
    assert without_findings(db)
    assert delete_matching(db, CALLER, "*").job_ids == [second.id]
    assert without_findings(db)
    assert states(db) == {queued.id: QUEUED}


@pytest.mark.parametrize("change", [cancel_matching, delete_matching])
def test_calls_are_bounded_in_time_and_continue(db: Database, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_changes, "_BATCH", 3)
    made = [submit(db, shots=5 if place % 2 else 9).id for place in range(20)]
    if change is delete_matching:
        finish(db, cancel_matching, "*")
    matching = sorted(made[1::2], reverse=True)
    counted, calls = finish(db, change, "shots = 5", validate_only=True, seconds=-1.0)
    assert counted == matching
    assert calls >= 4
    changed, calls = finish(db, change, "shots = 5", seconds=-1.0)
    assert changed == matching
    assert calls >= 4
    assert finish(db, change, "shots = 5")[0] == []
    assert sorted(finish(db, change, "*")[0]) == made[0::2]


@pytest.mark.parametrize("change", [cancel_matching, delete_matching])
def test_a_filter_is_required(db: Database, change: Change) -> None:
    for empty in ("", "  "):
        with pytest.raises(InvalidArgument, match='must not be empty; "\\*" matches all jobs'):
            change(db, CALLER, empty)
    with pytest.raises(InvalidArgument) as caught:
        change(db, CALLER, "colour = 3")
    assert caught.value.reason == "INVALID_FILTER"
    with pytest.raises(InvalidArgument) as caught:
        change(db, CALLER, "*", "nonsense")
    assert caught.value.reason == "INVALID_PAGE_TOKEN"


def test_an_answer_contains_the_first_ids_only(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_changes, "MAX_IDS", 2)
    made = [submit(db).id for _ in range(5)]
    assert cancel_matching(db, CALLER, "*") == BulkChange(5, made[:2:-1])
