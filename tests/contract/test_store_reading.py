# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: events, results, lists and pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import InvalidArgument, NotFound
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.store import deployment_list, deployments, event_log
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows, outcome_recording, queue
from qonduit_server.store.paging import Page
from qonduit_server.store.results import result_rows
from tests.store_fixture import (
    CALLER,
    claim,
    deployment,
    finished,
    history,
    known_device,
    progressed,
    result,
    submit,
    succeed,
    succeeded,
)


def walk(read: Callable[[str], Page[Job]]) -> list[int]:
    """Return the ids of all pages."""
    found: list[int] = []
    token = ""
    while True:
        page = read(token)
        found += [item.id for item in page.items]
        if not (token := page.next_page_token):
            return found


def test_events_are_read_after_a_sequence(db: Database) -> None:
    job = submit(db)
    succeed(db, claim(db))
    everything = event_log.read_after(db, job.id, 0, 100)
    assert [event.sequence for event in everything] == [1, 2, 3, 4, 5]
    assert event_log.read_after(db, job.id, 0, 2) == everything[:2]
    assert event_log.read_after(db, job.id, 4, 100) == everything[4:]
    assert event_log.read_after(db, job.id, 5, 100) == []
    assert event_log.read_after(db, job.id, 2**63 - 1, 100) == []
    event_log.require_job(db, CALLER, job.id)


def test_the_last_event_of_a_job_has_its_results_in_memory(db: Database) -> None:
    job = submit(db, programs=3)
    (task,) = claim(db)
    outcomes = [succeeded(task, index) for index in (2, 0, 1)]
    queue.record(db, "me", [*outcomes, finished(task)])
    last = job_rows.get(db, CALLER, job.id).last_sequence
    (event,) = db.event_cache.after(job.id, last - 1, 1) or []
    assert event.results == result_rows.few(db, job.id)
    assert len(event.results or ()) == 3


def test_results_of_several_transactions_or_many_bytes_are_read(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    several, large = submit(db, programs=2), submit(db)
    first, second = claim(db)
    queue.record(db, "me", [succeeded(first, 0)])
    queue.record(db, "me", [succeeded(first, 1), finished(first)])
    monkeypatch.setattr(outcome_recording, "_KEPT_BYTES", 20)
    queue.record(db, "me", [succeeded(second), finished(second)])
    for job, count in ((several, 2), (large, 1)):
        last = job_rows.get(db, CALLER, job.id).last_sequence
        (event,) = db.event_cache.after(job.id, last - 1, 1) or []
        assert (event.terminal, event.results) == (True, None)
        assert len(result_rows.few(db, job.id) or ()) == count


def test_events_of_many_jobs_are_read_at_once(db: Database) -> None:
    first, second, quiet = submit(db), submit(db), submit(db)
    succeed(db, claim(db, capacity=2))
    found = event_log.read_after_many(db, [(first.id, 0), (second.id, 4), (quiet.id, 1), (4711, 0)], 3)
    assert found == {
        first.id: event_log.read_after(db, first.id, 0, 3),
        second.id: event_log.read_after(db, second.id, 4, 3),
        quiet.id: [],
        4711: None,
    }
    assert event_log.read_after_many(db, [(first.id, 2**63 - 1)], 2**31) == {first.id: []}
    assert event_log.read_after_many(db, [], 3) == {}


def test_events_are_listed_in_pages(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    queue.record(db, "me", [progressed(task, step / 100) for step in range(1, 100)])
    first = event_log.list_page(db, CALLER, job.id, 60)
    rest = event_log.list_page(db, CALLER, job.id, 60, first.next_page_token)
    assert [*first.items, *rest.items] == history(db, job.id)
    assert rest.next_page_token == ""
    assert [event.sequence for event in event_log.list_page(db, CALLER, job.id, 2, after_sequence=7).items] == [8, 9]
    other = submit(db)
    with pytest.raises(InvalidArgument):
        event_log.list_page(db, CALLER, other.id, 60, first.next_page_token)


def test_results_are_listed_in_the_order_of_the_programs(db: Database) -> None:
    job = submit(db, programs=5)
    (task,) = claim(db)
    batch = [succeeded(task, index, result(hex(index))) for index in (3, 1, 4, 0, 2)]
    queue.record(db, "me", [*batch, finished(task)])
    listed = result_rows.list_page(db, CALLER, job.id).items
    assert [next(iter(one.counts_and_probabilities.counts)) for one in listed] == ["0x0", "0x1", "0x2", "0x3", "0x4"]
    assert [result_rows.get(db, CALLER, one.id) for one in listed] == listed
    first = result_rows.list_page(db, CALLER, job.id, 3)
    rest = result_rows.list_page(db, CALLER, job.id, 3, first.next_page_token)
    assert [*first.items, *rest.items] == listed
    with pytest.raises(NotFound):
        result_rows.get(db, "bob", listed[0].id)


def test_a_page_of_results_is_ended_by_its_size_but_never_empty(db: Database) -> None:
    job = submit(db, programs=4)
    (task,) = claim(db)
    for index, size in enumerate((1_500_000, 1_400_000, 1_000_000, 3_500_000)):
        large = result()
        large.meta_data["padding"] = "x" * size
        queue.record(db, "me", [succeeded(task, index, large)])
    sizes: list[int] = []
    token = ""
    while True:
        page = result_rows.list_page(db, CALLER, job.id, 0, token)
        sizes.append(len(page.items))
        if not (token := page.next_page_token):
            break
    assert sizes == [2, 1, 1]


def test_jobs_are_listed_newest_first_while_others_are_created(db: Database) -> None:
    made = [submit(db).id for _ in range(23)]

    def read(token: str) -> Page[Job]:
        page = job_list.list_page(db, CALLER, 5, token)
        submit(db)
        return page

    assert walk(read) == made[::-1]
    page = job_list.list_page(db, CALLER, 2)
    assert page.items[0] == job_rows.get(db, CALLER, page.items[0].id)


def test_page_sizes(db: Database) -> None:
    for _ in range(60):
        submit(db)
    assert len(job_list.list_page(db, CALLER).items) == 50
    assert len(job_list.list_page(db, CALLER, 2**31 - 1).items) == 60
    with pytest.raises(InvalidArgument):
        job_list.list_page(db, CALLER, -1)


def test_page_tokens_belong_to_one_list_filter_and_caller(db: Database) -> None:
    for _ in range(3):
        submit(db)
        submit(db, caller="bob")
    token = job_list.list_page(db, CALLER, 1).next_page_token
    wrong = [
        lambda: job_list.list_page(db, CALLER, 1, token, 'state = "QUEUED"'),
        lambda: job_list.list_page(db, "bob", 1, token),
        lambda: deployment_list.list_page(db, CALLER, 1, token),
        *[
            (lambda bad=bad: job_list.list_page(db, CALLER, 1, bad))  # type: ignore[misc]
            for bad in ("x", token[:-4], token + "AAAA", "=" * 40, "\ud800", "\0", token.swapcase())
        ],
    ]
    for call in wrong:
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.reason == "INVALID_PAGE_TOKEN"
    assert len(job_list.list_page(db, CALLER, 1, token).items) == 1


def test_deployments_are_listed_with_their_programs(db: Database) -> None:
    first = deployments.create(db, CALLER, deployment(2, "bell"))
    second = deployments.create(db, CALLER, deployment(1))
    deployments.create(db, "bob", deployment(1))
    assert deployment_list.list_page(db, CALLER).items == [second, first]
    assert deployment_list.list_page(db, CALLER, filter='name = "bell"').items == [first]
    page = deployment_list.list_page(db, CALLER, 1)
    assert deployment_list.list_page(db, CALLER, 1, page.next_page_token).items == [first]


def test_a_page_of_deployments_is_ended_by_its_size(db: Database) -> None:
    large = deployment(1)
    large.programs[0].quantum_circuit = "x" * 1_700_000
    for _ in range(3):
        deployments.create(db, CALLER, large)
    assert len(deployment_list.list_page(db, CALLER).items) == 1


def test_a_job_that_ended_is_readable_after_the_store_was_closed(database_url: str) -> None:
    db = open_database(database_url)
    job = submit(db)
    succeed(db, claim(db))
    before = history(db, job.id)
    db.close()
    db = open_database(database_url)
    assert job_rows.get(db, CALLER, job.id).state == SUCCEEDED
    assert history(db, job.id) == before
    known_device(db)
    assert submit(db).id > job.id
    db.close()
