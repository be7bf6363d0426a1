# SPDX-License-Identifier: Apache-2.0
"""Retry delays grow, have jitter, respect the server's RetryInfo, and end."""

from __future__ import annotations

import pytest

from qonduit_client.errors import ServerUnavailable
from qonduit_client.retry import Attempts, Retry


class Time:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, attempts: Attempts, error: ServerUnavailable, limit: float) -> None:
        self.sleep(attempts.pause(error, limit))


def policy(time: Time, luck: float = 1.0) -> Retry:
    return Retry(first=0.1, factor=2, most=1.0, clock=time.clock, random=lambda: luck)


def test_delays_double_up_to_the_longest() -> None:
    retry = policy(Time())
    assert [retry.delay(n) for n in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_jitter_takes_up_to_half() -> None:
    assert policy(Time(), 0.0).delay(3) == pytest.approx(0.2)
    assert policy(Time(), 0.5).delay(3) == pytest.approx(0.3)


def test_a_retry_never_comes_before_the_servers_retry_delay() -> None:
    assert policy(Time(), 0.0).delay(1, asked=3.0) == 3.0
    assert policy(Time(), 1.0).delay(1, asked=3.0) == 3.75
    assert policy(Time(), 1.0).delay(4, asked=0.1) == pytest.approx(0.8)


def test_patience_ends_with_the_last_error() -> None:
    time = Time()
    attempts = Attempts(policy(time))
    errors = [ServerUnavailable(f"{n}") for n in range(20)]
    for error in errors[:4]:
        time.wait(attempts, error, 2.0)
    with pytest.raises(ServerUnavailable) as caught:
        time.wait(attempts, errors[4], 2.0)
    assert caught.value is errors[4]
    assert sum(time.slept) <= 2.0
    assert len(time.slept) == 4


def test_success_renews_patience() -> None:
    time = Time()
    attempts = Attempts(policy(time))
    for _ in range(30):
        time.wait(attempts, ServerUnavailable("away"), 1.0)
        attempts.succeeded()
    assert time.slept == pytest.approx([0.1] * 30)


def test_no_attempt_is_made_after_the_deadline() -> None:
    time = Time()
    attempts = Attempts(policy(time))
    with pytest.raises(ServerUnavailable):
        attempts.pause(ServerUnavailable("away", retry_after=5.0), limit=60.0, deadline=time.now + 4.0)
    assert time.slept == []
