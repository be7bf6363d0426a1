# SPDX-License-Identifier: Apache-2.0
"""Connections share limited resources fairly."""

from __future__ import annotations

from qonduit_server.rpc.fairness import FairLimit, FairQueue


def test_connections_take_turns_and_the_items_of_one_stay_in_order() -> None:
    turns: FairQueue[int] = FairQueue()
    for item in range(4):
        turns.push("greedy", item)
    turns.push("modest", 10)
    assert [turns.pop(lambda _: True) for _ in range(5)] == [0, 10, 1, 2, 3]
    assert not turns
    assert turns.pop(lambda _: True) is None


def test_a_connection_that_may_not_be_served_keeps_its_turn() -> None:
    turns: FairQueue[int] = FairQueue()
    turns.push("first", 1)
    turns.push("second", 2)
    assert turns.pop(lambda connection: connection != "first") == 2
    assert turns.pop(lambda connection: connection != "first") is None
    assert "first" in turns
    assert turns.pop(lambda _: True) == 1


def test_a_new_connection_finds_room_however_many_want_all() -> None:
    share = FairLimit(64)
    for connections in (1, 2, 5, 20, 60):
        names = [f"greedy {number}" for number in range(connections)]
        while any(share.allows(name) for name in names):
            for name in names:
                if share.allows(name):
                    share.add(name)
        assert share.allows("newcomer")
        # Without newcomers, little of it stays unused.
        assert share.total >= 64 * connections // (connections + 1) - connections
        for name in names:
            share.remove(name, share.used(name))
    assert share.total == 0


def test_amounts_of_zero_are_added_and_removed_in_any_order() -> None:
    limit = FairLimit(10)
    for amount in (0, 0, 3, 0):
        limit.add("a", amount)
    for amount in (0, 3, 0, 0):
        limit.remove("a", amount)
    assert limit.total == limit.used("a") == 0
    assert limit.allows("a")
