# SPDX-License-Identifier: Apache-2.0
"""Quotas of callers: rates of calls and bytes, open streams and buffers, on one server and on several."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from qonduit_server.errors import QuotaExceeded
from qonduit_server.rpc import caller_limits
from qonduit_server.rpc.caller_limits import BUFFERS, STREAMS, CallerLimits
from qonduit_server.store.notification_bus import CallerUse, Notification
from qonduit_server.store.quota_registry import EVERYTHING, Allowance


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, **allowed: int) -> CallerLimits:
    """Return limits of Anna's; others have none."""
    return CallerLimits(lambda caller: Allowance(**allowed) if caller == "anna" else EVERYTHING, clock)


def refusal(made: CallerLimits, size: int = 0) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as raised:
        made.admit("anna", size)
    return raised.value


def test_calls_a_second_may_come_in_a_burst_of_one_second() -> None:
    clock = Clock()
    made = limits(clock, calls_per_second=4)
    for _ in range(4):
        made.admit("anna", 10)
    error = refusal(made)
    assert (error.subject, error.reason) == ("calls_per_second", "QUOTA_EXCEEDED")
    assert error.retry_after == pytest.approx(0.25)
    for _ in range(100):
        made.admit("ben", 10**9)
    clock.now += 0.25
    made.admit("anna", 10)
    refusal(made)
    clock.now += 100.0
    for _ in range(4):
        made.admit("anna", 10)
    refusal(made)


def test_a_large_request_is_paid_off_before_the_next_one() -> None:
    clock = Clock()
    made = limits(clock, upload_bytes_per_minute=6000)
    made.admit("anna", 9000)
    error = refusal(made)
    assert error.subject == "upload_bytes_per_minute"
    assert error.retry_after == pytest.approx(30.01)
    clock.now += 30.02
    made.admit("anna", 100)


def test_a_refused_call_uses_nothing() -> None:
    clock = Clock()
    made = limits(clock, calls_per_second=1, upload_bytes_per_minute=60)
    made.admit("anna", 120)
    clock.now += 1.0
    refusal(made)
    clock.now += 60.0
    made.admit("anna", 1)


def test_a_limit_of_0_allows_nothing_and_names_no_time() -> None:
    for name in ("calls_per_second", "upload_bytes_per_minute"):
        error = refusal(limits(Clock(), **{name: 0}))
        assert (error.subject, error.retry_after) == (name, None)


@pytest.mark.parametrize("quota", [STREAMS, BUFFERS])
def test_open_streams_of_one_caller_at_once(quota: str) -> None:
    made = limits(Clock(), **{quota: 8})

    def acquire(_: int) -> bool:
        try:
            made.acquire("anna", quota)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(acquire, range(100))) == 8
    with pytest.raises(QuotaExceeded, match=rf"{quota} of anna reached: 8 of 8 \w+ are open; close one and retry"):
        made.acquire("anna", quota)
    assert made.open_of("anna") == ((8, 0) if quota == STREAMS else (0, 8))
    for _ in range(100):
        made.acquire("ben", quota)
    made.release("anna", quota)
    made.acquire("anna", quota)
    for _ in range(8):
        made.release("anna", quota)
    assert made.open_of("anna") == (0, 0)


def test_idle_callers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_limits, "_MANY", 10)
    clock = Clock()
    made = CallerLimits(lambda _: Allowance(calls_per_second=1), clock)
    for number in range(100):
        made.admit(f"caller {number}", 0)
        clock.now += 30.0
    assert len(made._buckets) <= 12


def servers(clock: Clock, **allowed: int) -> tuple[CallerLimits, CallerLimits]:
    """Return the limits of two servers that receive each other's messages at once."""
    made: list[CallerLimits] = []

    def share(name: str, uses: Sequence[CallerUse]) -> None:
        for use in uses:
            made[name == "first"].on_notification(Notification(use=replace(use, server=name)))

    for name in ("first", "second"):
        made.append(CallerLimits(lambda _: Allowance(**allowed), clock, lambda uses, name=name: share(name, uses)))
    return made[0], made[1]


def test_open_buffers_count_over_all_servers_and_streams_of_each() -> None:
    clock = Clock()
    first, second = servers(clock, open_buffers=3, open_streams=1)
    first.acquire("anna", BUFFERS)
    second.acquire("anna", BUFFERS)
    first.acquire("anna", BUFFERS)
    for each in (first, second):
        with pytest.raises(QuotaExceeded, match="open_buffers of anna reached: 3 of 3 buffers are open"):
            each.acquire("anna", BUFFERS)
        each.acquire("anna", STREAMS)
        assert each.open_of("anna") == (1, 3)
    first.release("anna", BUFFERS)
    second.acquire("anna", BUFFERS)
    for _ in range(3):
        first.acquire("ben", BUFFERS)


def test_the_buffers_of_a_server_that_is_silent_do_not_count_for_ever() -> None:
    clock = Clock()
    first, second = servers(clock, open_buffers=1)
    first.acquire("anna", BUFFERS)
    for _ in range(10):
        clock.now += caller_limits.ANNOUNCE_SECONDS
        first.announce()
        with pytest.raises(QuotaExceeded):
            second.acquire("anna", BUFFERS)
    clock.now += caller_limits.VALID_SECONDS
    second.acquire("anna", BUFFERS)


def test_a_new_server_learns_what_is_open_at_the_others() -> None:
    clock = Clock()
    first, _ = servers(clock, open_buffers=1)
    new = CallerLimits(lambda _: Allowance(open_buffers=1), clock)
    first.acquire("anna", BUFFERS)
    first._share = lambda uses: [new.on_notification(Notification(use=use)) for use in uses]  # type: ignore[assignment]
    first.announce()  # too early
    new.acquire("anna", BUFFERS)
    new.release("anna", BUFFERS)
    clock.now += caller_limits.ANNOUNCE_SECONDS
    first.announce()
    with pytest.raises(QuotaExceeded):
        new.acquire("anna", BUFFERS)


def test_uploaded_bytes_count_over_all_servers_up_to_a_small_part() -> None:
    clock = Clock()
    both = servers(clock, upload_bytes_per_minute=32_000)
    admitted = 0
    while True:
        try:
            both[admitted % 2].admit("anna", 100)
        except QuotaExceeded:
            break
        admitted += 1
    # The other server does not know less than a 32nd of the quota.
    assert 32_000 <= 100 * admitted <= 33_100
    clock.now += 30.0
    both[0].admit("anna", 15_000)
    both[1].admit("anna", 1_500)
    with pytest.raises(QuotaExceeded):
        both[1].admit("anna", 1)


def test_bytes_at_another_server_are_paid_off_while_no_call_comes() -> None:
    clock = Clock()
    first, second = servers(clock, upload_bytes_per_minute=6000)
    first.admit("anna", 6000)
    clock.now += 45.0
    second.admit("anna", 4400)
    second.admit("anna", 200)
    with pytest.raises(QuotaExceeded):
        second.admit("anna", 1)
    clock.now += 120.0
    first.admit("anna", 6000)
    assert len(second._others["anna"].uploaded) <= 2


def test_callers_of_other_servers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_limits, "_MOST_OTHERS", 10)
    clock = Clock()
    made = limits(clock, open_buffers=1)
    for number in range(100):
        made.on_notification(Notification(use=CallerUse(f"caller {number}", 1, 5, "other")))
    assert len(made._others) == 10
    clock.now += 100.0
    made.on_notification(Notification(use=CallerUse("anna", 1, 0, "other")))
    assert set(made._others) == {"anna"}
