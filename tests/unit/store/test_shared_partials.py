# SPDX-License-Identifier: Apache-2.0
"""Partial results between servers: requests that expire, parts of events, and the bounds of both."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from qonduit_server.errors import Unavailable
from qonduit_server.store import shared_partials
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.shared_partials import SharedPartials


class Wire:
    """A writer that records its messages; the test ends its calls."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.calls: list[Future[Any]] = []
        self.available = True

    def submit(self, _operation: object, message: Any) -> Future[Any]:
        if not self.available:
            raise Unavailable("the store is closed")
        self.sent += [(channel, payload) for channel in message.channels for payload in message.payloads]
        self.calls.append(Future())
        return self.calls[-1]

    def take(self) -> list[tuple[str, str]]:
        found, self.sent = self.sent, []
        return found


class Pair:
    """A server that watches and a server that runs, on one clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.watching, self.running = (SharedPartials(lambda: self.now) for _ in range(2))
        self.wire = Wire()

    def request(self, *job_ids: int) -> None:
        self.watching.request(self.wire, job_ids)  # type: ignore[arg-type]
        for each in (self.watching, self.running):
            assert list(received(each, self.wire.sent)) == []
        self.wire.take()

    def send(self, job_id: int, event: bytes) -> list[tuple[str, str]]:
        self.running.send(self.wire, job_id, event)  # type: ignore[arg-type]
        return self.wire.take()


def received(server: SharedPartials, sent: list[tuple[str, str]]) -> Iterator[Notification]:
    for channel, payload in sent:
        assert len(payload.encode()) < 8000
        if channel in server.channels and (found := server.receive(channel, payload)) is not None:
            yield found


@pytest.fixture
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("size", [1, 5600, 5601, 256 * 1024 + 100])
def test_an_event_of_any_size_arrives_once_at_the_server_that_requested_it(pair: Pair, size: int) -> None:
    event = bytes(number % 251 for number in range(size))
    assert pair.send(7, event) == []
    pair.request(7)
    sent = pair.send(7, event)
    assert [notification.partial for notification in received(pair.watching, sent)] == [{7: event}]
    assert list(received(pair.running, sent)) == []
    assert pair.send(8, event) == []


def test_a_request_expires_unless_it_is_repeated(pair: Pair) -> None:
    pair.request(7)
    pair.now += shared_partials.VALID_SECONDS - 1
    assert pair.send(7, b"event")
    pair.request(7)
    pair.now += shared_partials.VALID_SECONDS - 1
    assert pair.send(7, b"event")
    pair.now += 1
    assert pair.send(7, b"event") == []
    pair.request(8)
    assert set(pair.running._requests) == {8}


def test_requests_are_bounded(pair: Pair) -> None:
    many = shared_partials.MAX_JOBS
    pair.request(*range(many + 10))
    assert set(pair.running._requests) == set(range(many))
    pair.request(many + 20)
    assert len(pair.running._requests) == many


def test_waiting_bytes_are_bounded_and_an_unavailable_database_drops_events(pair: Pair) -> None:
    pair.request(7)
    event = bytes(200 * 1024)
    sent = sum(bool(pair.send(7, event)) for _ in range(40))
    assert sent == shared_partials._MAX_WAITING_BYTES // (len(event) * 4 / 3 + 1000)
    pair.wire.calls[-1].set_result(None)
    assert pair.send(7, event)
    assert pair.send(7, event) == []
    for call in pair.wire.calls:
        if not call.done():
            call.set_result(None)
    pair.wire.available = False
    for _ in range(40):
        assert pair.send(7, event) == []
    pair.watching.request(pair.wire, [7])  # type: ignore[arg-type]
    pair.wire.available = True
    assert pair.send(7, event)


def test_an_event_with_a_missing_part_is_dropped_and_the_next_one_arrives(pair: Pair) -> None:
    pair.request(7)
    first, second = pair.send(7, bytes(20_000)), pair.send(7, bytes(20_001))
    for missing in range(len(first)):
        sent = [part for number, part in enumerate(first) if number != missing]
        assert [each.partial for each in received(pair.watching, [*sent, *second])] == [{7: bytes(20_001)}]


def test_equal_events_have_different_payloads(pair: Pair) -> None:
    """PostgreSQL sends equal payloads of a transaction once."""
    pair.request(7)
    assert not set(pair.send(7, b"event")) & set(pair.send(7, b"event"))


@pytest.mark.parametrize("payload", ["", "1 2 3", "7 0 x 1 AAAA", "7 0 0 1 A"])
def test_payloads_of_other_programs_are_value_errors(pair: Pair, payload: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        pair.running.receive(pair.running.channels[1], payload)
