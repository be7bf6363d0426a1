# SPDX-License-Identifier: Apache-2.0
"""Servers know the environments of each other's workers, and forget those of lost servers."""

from __future__ import annotations

import json

import pytest

from qonduit_server.store.environments import MAX_ENVIRONMENTS, Environments
from qonduit_server.version_requirements import Environment

OLD, NEW = {"numpy": "2.3.5"}, {"numpy": "2.4.0"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def passed(payloads: object, to: Environments) -> list[object]:
    """Deliver payloads to another server; return the notifications."""
    return [to.receive("qonduit_environments", payload) for payload in payloads]  # type: ignore[attr-defined]


def test_a_server_knows_the_environments_of_others_until_they_expire() -> None:
    clock = Clock()
    one, two = Environments(clock), Environments(clock)
    one.announce({"IBM": [Environment(OLD)], "AWS": []}, 30)
    passed(two.announce({"IBM": [Environment(NEW), Environment(OLD, 0)]}, 30), one)
    assert one.of("IBM") == [OLD, NEW]
    assert one.of("AWS") == []
    clock.now = 29
    passed(two.announce({"IBM": [Environment(NEW)]}, 30), one)
    clock.now = 58
    assert one.of("IBM") == [OLD, NEW]
    clock.now = 60
    assert one.of("IBM") == [OLD]


def test_a_new_announcement_replaces_the_one_before() -> None:
    one, two = Environments(), Environments()
    passed(two.announce({"IBM": [Environment(OLD)], "AWS": [Environment(OLD)]}, 30), one)
    passed(two.announce({"IBM": [Environment(NEW)]}, 30), one)
    assert (one.of("IBM"), one.of("AWS")) == ([NEW], [])
    passed(two.announce({}, 30), one)
    assert one.of("IBM") == []


def test_the_first_announcement_asks_for_those_of_the_others() -> None:
    one, two = Environments(), Environments()
    (notification,) = passed(one.announce({"IBM": [Environment(OLD)]}, 30), two)
    assert notification.environments_wanted  # type: ignore[attr-defined]
    assert passed(one.announce({"IBM": [Environment(OLD)]}, 30), two) == [None]


def test_own_payloads_and_those_of_other_programs_change_nothing() -> None:
    one = Environments()
    payloads = one.announce({"IBM": [Environment(OLD)]}, 30)
    assert passed(payloads, one) == [None]
    assert one.of("IBM") == [OLD]
    for wrong in ("", "[]", "{}", "7", json.dumps(["a", 1, 30, False, "IBM", 7])):
        with pytest.raises((ValueError, TypeError)):
            one.receive("qonduit_environments", wrong)


def test_environments_and_payloads_are_bounded() -> None:
    one, two = Environments(), Environments()
    many = [Environment({"numpy": f"{number:03}"}) for number in range(200)]
    payloads = one.announce({"IBM": many, "AWS": [Environment({"x" * 8000: "1"})]}, 30)
    assert len(payloads) == MAX_ENVIRONMENTS
    assert all(len(each.encode()) < 8000 for each in payloads)
    passed(payloads, two)
    assert len(two.of("IBM")) == len(one.of("IBM")) == MAX_ENVIRONMENTS
