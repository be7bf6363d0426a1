# SPDX-License-Identifier: Apache-2.0
"""The event cache returns the same events as the database, or reports a miss."""

from __future__ import annotations

import threading

import pytest

from qonduit_server.store import event_log
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.event_cache import EventCache
from qonduit_server.store.notification_bus import EVERYTHING, Notification, StoredEvent
from tests import store_fixture
from tests.postgresql import PostgresqlServer


def _wake(job_id: int, *sequences: int, size: int = 1) -> Notification:
    written = [StoredEvent(sequence, b"x" * size, False) for sequence in sequences]
    return Notification(jobs=frozenset({job_id}), events={job_id: written})


def _received(job_id: int, *sequences: int, size: int = 1) -> Notification:
    """Return a notification of another server."""
    sent = [StoredEvent(sequence, b"x" * size, False) for sequence in sequences]
    return Notification(jobs=frozenset({job_id}), received={job_id: sent})


def _sequences(recent: EventCache, job_id: int, after: int, limit: int = 100) -> list[int] | None:
    found = recent.after(job_id, after, limit)
    return None if found is None else [event.sequence for event in found]


def test_events_are_returned_from_any_cached_sequence() -> None:
    recent = EventCache()
    recent.update(_wake(7, 1))
    recent.update(_wake(7, 2, 3))
    assert _sequences(recent, 7, 0) == [1, 2, 3]
    assert _sequences(recent, 7, 1, limit=1) == [2]
    assert _sequences(recent, 7, 3) == []
    assert _sequences(recent, 7, 4) is None
    assert _sequences(recent, 8, 0) is None


def test_earlier_events_are_read_from_the_database() -> None:
    recent = EventCache()
    recent.update(_wake(7, 5, 6))
    assert _sequences(recent, 7, 4) == [5, 6]
    assert _sequences(recent, 7, 3) is None


def test_the_cache_restarts_after_a_gap() -> None:
    recent = EventCache()
    recent.update(_wake(7, 1, 2))
    recent.update(_wake(7, 4))
    assert _sequences(recent, 7, 0) is None
    assert _sequences(recent, 7, 3) == [4]


def test_events_changed_by_other_servers_or_deleted_are_evicted() -> None:
    recent = EventCache()
    recent.update(_wake(7, 1))
    recent.update(_wake(8, 1))
    recent.update(Notification(jobs=frozenset({7})))
    assert _sequences(recent, 7, 0) is None
    recent.update(EVERYTHING)
    assert _sequences(recent, 8, 0) is None


@pytest.mark.parametrize("others", [Notification(jobs=frozenset({7})), EVERYTHING])
def test_an_own_event_that_a_notification_overtook_is_not_kept(others: Notification) -> None:
    recent = EventCache()
    recent.begin()
    recent.update(others)
    recent.update(_wake(7, 1))
    assert _sequences(recent, 7, 0) is None
    # The next transaction locks the job before it writes: earlier commits of other servers come first.
    recent.begin()
    recent.update(_wake(7, 4))
    assert _sequences(recent, 7, 3) == [4]


def test_received_events_are_kept_if_none_can_be_missing() -> None:
    recent = EventCache()
    recent.update(_received(7, 1))
    recent.update(_received(7, 2, 3))
    recent.begin()
    recent.update(_wake(7, 4))  # of this server, which has read the others
    assert _sequences(recent, 7, 0) == [1, 2, 3, 4]
    recent.update(_received(7, 6))
    assert _sequences(recent, 7, 5) is None
    recent.update(_received(8, 3))
    assert _sequences(recent, 8, 2) is None
    recent.update(_received(9, 1, size=1_000_000))
    assert _sequences(recent, 9, 0) is None


def test_received_events_that_own_ones_overtook_are_not_the_latest() -> None:
    recent = EventCache()
    recent.begin()
    recent.update(_wake(7, 2))  # the notification of 1 arrives later
    recent.update(_received(7, 1))
    assert _sequences(recent, 7, 0) is None
    recent.update(_received(7, 3))
    assert _sequences(recent, 7, 2) is None


def test_an_own_event_that_a_received_one_overtook_is_not_kept() -> None:
    recent = EventCache()
    recent.update(_received(7, 1))
    recent.begin()
    recent.update(_received(7, 3))
    recent.update(_wake(7, 2))
    assert _sequences(recent, 7, 1) is None


def test_a_notification_about_another_job_overtakes_nothing() -> None:
    recent = EventCache()
    recent.begin()
    recent.update(Notification(jobs=frozenset({8})))
    recent.update(_wake(7, 1))
    assert _sequences(recent, 7, 0) == [1]


def test_a_job_that_is_forgotten_is_read_from_the_database_until_it_changes_again() -> None:
    recent = EventCache()
    recent.update(_wake(7, 1))
    recent.update(_wake(8, 1))
    recent.begin()
    recent.invalidate([7])
    assert (_sequences(recent, 7, 0), _sequences(recent, 8, 0)) == (None, [1])
    recent.update(_wake(7, 2))
    assert _sequences(recent, 7, 1) is None
    recent.begin()
    recent.update(_wake(7, 3))
    assert _sequences(recent, 7, 2) == [3]


def test_notifications_to_a_server_that_writes_nothing_take_bounded_memory() -> None:
    recent = EventCache()
    recent.begin()
    for job_id in range(10_000):
        recent.update(Notification(jobs=frozenset({job_id})))
    assert len(recent._changed) <= 2048
    recent.update(_wake(3, 1))
    assert _sequences(recent, 3, 0) is None


def test_memory_is_bounded() -> None:
    recent = EventCache()
    recent.update(_wake(1, 1, size=1_000_000))
    assert _sequences(recent, 1, 0) is None
    for job_id in range(10_000):
        recent.update(_wake(job_id, 1))
    for sequence in range(1, 1000):
        recent.update(_wake(9_999, sequence))
    assert len(recent._jobs) <= 2048
    assert len(recent._jobs[9_999]) <= 64


def test_a_lookup_and_a_write_may_be_concurrent() -> None:
    recent = EventCache()
    found: list[list[int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if (sequences := _sequences(recent, 7, 0)) is not None:
                found.append(sequences)

    thread = threading.Thread(target=look)
    thread.start()
    for sequence in range(1, 32):
        recent.update(_wake(7, sequence))
    done.set()
    thread.join()
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in found)


def test_it_agrees_with_the_database(db: Database) -> None:
    job = store_fixture.submit(db)
    remembered = db.event_cache.after(job.id, 0, 10)
    assert remembered == event_log.read_after(db, job.id, 0, 10)
    assert event_log.read_after_many(db, [(job.id, 0)], 10) == {job.id: remembered}
    db.event_cache.update(EVERYTHING)
    assert event_log.read_after_many(db, [(job.id, 0)], 10) == {job.id: remembered}


def test_a_server_reads_no_event_of_another_server_from_the_database(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    url = postgresql.url(postgresql.new_database(postgresql_template))
    writer, reader = open_database(url), open_database(url)
    changed = threading.Semaphore(0)
    reader.notifications.subscribe(lambda notification: changed.release() if notification.jobs else None)
    job = store_fixture.submit(writer)
    (task,) = store_fixture.claim(writer)
    store_fixture.succeed(writer, [task])
    for _ in range(3):
        assert changed.acquire(timeout=60)
    found = reader.event_cache.after(job.id, 0, 100)
    assert found == event_log.read_after(reader, job.id, 0, 100)
    assert found is not None
    assert found[-1].terminal
    writer.close()
    reader.close()
