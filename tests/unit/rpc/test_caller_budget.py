# SPDX-License-Identifier: Apache-2.0
"""Each caller has a number of calls at once and a budget of worker seconds per minute."""

from __future__ import annotations

import pytest

from qonduit_server.errors import ResourceExhausted
from qonduit_server.rpc import caller_budget
from qonduit_server.rpc.caller_budget import CallerBudget


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def retry_after(budget: CallerBudget, caller: str = "a") -> float:
    with pytest.raises(ResourceExhausted) as refused:
        budget.acquire(caller)
    assert refused.value.retry_after is not None
    assert refused.value.subject in refused.value.message
    return refused.value.retry_after


def test_calls_at_once_are_limited_for_each_caller(clock: Clock) -> None:
    budget = CallerBudget(2, 0, clock)
    budget.acquire("a")
    with budget.call("a"):
        assert retry_after(budget) == 1.0
        budget.acquire("b")
    budget.acquire("a")


def test_limits_are_replaced_while_calls_run(clock: Clock) -> None:
    budget = CallerBudget(1, 30, clock)
    budget.acquire("a")
    charge = budget.charge("a")
    charge(29)
    budget.set_limits(2, 60)
    budget.acquire("a")
    # What a caller has used remains used.
    charge(30.9)
    budget.release("a")
    budget.acquire("a")
    charge(0.2)
    budget.release("a")
    assert retry_after(budget) == 1.0
    budget.set_limits(0, 0)
    for _ in range(5):
        budget.acquire("a")
    budget.set_limits(0, 30)
    assert retry_after(budget) > 1.0


def test_place_is_released_after_an_error(clock: Clock) -> None:
    budget = CallerBudget(1, 0, clock)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.call("a"):
            raise ZeroDivisionError


def test_used_budget_returns_with_time(clock: Clock) -> None:
    budget = CallerBudget(0, 30, clock)
    charge = budget.charge("a")
    charge(29.9)
    with budget.call("a"):
        charge(10)
    left = retry_after(budget)
    assert left == pytest.approx(20)  # 9.9 s of debt and 0.1 s of credit, at half a second per second
    with budget.call("b"):
        pass
    clock.now += left - 0.5
    retry_after(budget)
    clock.now += 0.5
    with budget.call("a"):
        pass


def test_budget_does_not_grow_beyond_a_minute(clock: Clock) -> None:
    budget = CallerBudget(0, 30, clock)
    clock.now += 3600
    budget.charge("a")(30)
    retry_after(budget)


def test_no_limits(clock: Clock) -> None:
    budget = CallerBudget(0, 0, clock)
    for _ in range(100):
        budget.acquire("a")
        budget.charge("a")(1000)


def test_callers_without_calls_and_debt_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_budget, "_MANY", 10)
    budget = CallerBudget(2, 30, clock)
    budget.acquire("busy")
    budget.charge("debtor")(31)
    for number in range(50):
        with budget.call(str(number)):
            pass
    assert len(budget._accounts) <= 11
    assert {"busy", "debtor"} <= budget._accounts.keys()
