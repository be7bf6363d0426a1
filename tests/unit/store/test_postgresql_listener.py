# SPDX-License-Identifier: Apache-2.0
"""Servers read the notifications of each other, also those of the release before."""

from __future__ import annotations

import json

import pytest

from qonduit_server.store.notification_bus import ANY_PROVIDER, EVERYTHING, Notification
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
