# SPDX-License-Identifier: Apache-2.0
"""Quotas of callers on one server: rates of calls and bytes, open streams and buffers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from qonduit_server.errors import QuotaExceeded
from qonduit_server.rpc import caller_limits
from qonduit_server.rpc.caller_limits import BUFFERS, STREAMS, CallerLimits
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
