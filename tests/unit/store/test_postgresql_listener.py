# SPDX-License-Identifier: Apache-2.0
"""Servers read the notifications of each other, also those of the release before."""

from __future__ import annotations

import json

import pytest

from qonduit_server.store.notification_bus import ANY_PROVIDER, EVERYTHING, Notification, StoredEvent
from qonduit_server.store.postgresql_listener import payloads, read_payload

#: The limit of PostgreSQL.
MOST_BYTES = 8000


@pytest.mark.parametrize(
    ("queued", "read"),
    [
        ((), ()),
        (("IBM",), ("IBM",)),
        (("IBM", "AWS"), ("IBM", "AWS")),
        ((ANY_PROVIDER, "IBM"), (ANY_PROVIDER,)),
        ([f"{number:0100}" for number in range(80)], (ANY_PROVIDER,)),
    ],
)
def test_the_providers_of_queued_jobs_are_sent(queued: list[str], read: list[str]) -> None:
    notification = Notification(queued=frozenset(queued), jobs=frozenset(range(2**62, 2**62 + 350)))
    sent = list(payloads("me", notification))
    assert all(len(each.encode()) < MOST_BYTES for each in sent)
    (sender, found), *_ = map(read_payload, sent)
    assert sender == "me"
    assert found.queued == frozenset(read)
    assert found.jobs == notification.jobs


def test_a_server_of_the_release_before_reads_and_sends_a_flag() -> None:
    (payload,) = payloads("me", Notification(queued=frozenset(("IBM",))))
    assert "q" in json.loads(payload)
    assert read_payload('{"s":"me","q":1,"j":[7]}')[1].queued == EVERYTHING.queued
    assert not read_payload('{"s":"me","j":[7]}')[1].queue


def test_small_events_are_sent_with_their_jobs() -> None:
    events = {
        7: [StoredEvent(1, b"\0created", False), StoredEvent(2, b"ended", True)],
        8: [StoredEvent(3, b"x" * 5000, False)],
        9: [StoredEvent(4, b"y" * 5000, False), StoredEvent(5, b"", False)],
        # No payload has room for it.
        10: [StoredEvent(6, b"z" * 7000, False)],
    }
    notification = Notification(queued=frozenset(("IBM",)), jobs=frozenset((*events, 11)), events=events)
    sent = list(payloads("me", notification))
    assert all(len(each.encode()) < MOST_BYTES for each in sent)
    found = [read_payload(each)[1] for each in sent]
    assert frozenset[int]().union(*(each.jobs for each in found)) == notification.jobs
    received = {job_id: own for each in found for job_id, own in each.received.items()}
    assert received == {job_id: events[job_id] for job_id in (7, 8, 9)}
    assert [bool(each.queued) for each in found] == [True] + [False] * (len(found) - 1)
    # A notification names the jobs whose events it contains, for servers that read only the names.
    assert all(each.received.keys() <= each.jobs and not each.events for each in found)


def test_the_events_of_a_large_transaction_are_read_by_the_other_servers() -> None:
    events = {job_id: [StoredEvent(1, b"x" * 1000, False)] for job_id in range(1000)}
    sent = list(payloads("me", Notification(jobs=frozenset(events), events=events)))
    assert sum(map(len, sent)) < 100_000
    found = [read_payload(each)[1] for each in sent]
    assert sum(len(each.jobs) for each in found) == len(frozenset[int]().union(*(each.jobs for each in found))) == 1000
    assert 0 < sum(len(each.received) for each in found) < 100
