# SPDX-License-Identifier: Apache-2.0
"""The order in which lanes are served, and the accounts of their running jobs."""

from __future__ import annotations

from collections import Counter

from qonduit_server.store.jobs.fair_share import LaneShare, order, order_members
from qonduit_server.store.lane_accounts import LEAST_SECONDS, Charge, Lane, LaneAccounts, Owed, Running


def share(owner: str, time: float = 0.0, mean: float = 1.0, weight: float = 1.0, long: int = 0) -> LaneShare:
    return LaneShare(Lane(1, owner), weight, time, mean, long)


def owners(shares: list[LaneShare]) -> str:
    return "".join(each.lane.owner for each in shares)


def test_lanes_take_turns_from_the_lowest() -> None:
    assert owners(order([share("a", 5.0), share("b", 2.5)], 6)) == "bbbaba"


def test_a_lane_with_jobs_that_are_four_times_as_long_runs_a_quarter_of_them() -> None:
    assert Counter(owners(order([share("a", mean=4.0), share("b")], 50))) == {"a": 10, "b": 40}


def test_twice_the_weight_is_twice_the_jobs() -> None:
    assert Counter(owners(order([share("a", weight=2.0), share("b")], 30))) == {"a": 20, "b": 10}


def test_one_lane_gets_every_slot() -> None:
    assert owners(order([share("a", long=3)], 2, slots=4)) == "aa"


def test_a_lane_does_not_get_more_than_its_part_of_the_slots_while_others_wait() -> None:
    # Its jobs have been short so far, which may change with the next one.
    quick, slow = share("a", mean=0.001), share("b", mean=60.0)
    assert Counter(owners(order([quick, slow], 4, slots=4))) == {"a": 2, "b": 2}
    # One slot is free, and the lowest lane has its part already.
    assert owners(order([share("a", 0.0, long=2), share("b", 9.0, long=1)], 1, slots=4)) == "b"
    # Every lane has its part: the slots that remain are shared by the time alone.
    assert owners(order([share("a", 0.0, long=1), share("b", 9.0, long=1)], 2, slots=2)) == "aa"
    # A claim ahead of busy workers is longer than the slots, and shared by time.
    assert Counter(owners(order([share("a", mean=1.0), share("b", mean=9.0)], 40, slots=4))) == {"a": 36, "b": 4}


def project(*members: LaneShare, long: int = 0) -> LaneShare:
    found = share("lab", long=long)
    found.members = list(members)
    return found


def test_the_turns_of_a_project_are_those_of_its_members() -> None:
    lab = project(share("a", mean=4.0), share("b"))
    own = share("c")
    turns = order_members([lab, own] * 5, slots=0)
    assert owners(turns[1::2]) == "ccccc"
    assert Counter(owners(turns[::2])) == {"a": 1, "b": 4}


def test_a_member_does_not_get_more_than_its_part_of_what_the_project_occupies() -> None:
    lab = project(share("a", mean=0.001, long=1), share("b", mean=60.0, long=0), long=1)
    assert owners(order_members([lab], slots=2)) == "b"
    assert Counter(owners(order_members([lab] * 3, slots=4))) == {"a": 1, "b": 2}
    # A claim ahead of busy workers is shared by time.
    assert owners(order_members([lab] * 4, slots=2)) == "abaa"


def test_a_lane_without_the_members_that_have_no_jobs_remains() -> None:
    lab = project(share("a"), share("b"))
    assert lab.remains_without({Lane(1, "a")})
    assert owners(order_members([lab, lab], slots=0)) == "bb"
    assert not lab.remains_without({Lane(1, "b")})
    assert owners(order_members([lab, share("c")], slots=0)) == "c"
    assert share("a").remains_without(set())
    assert not share("a").remains_without({Lane(1, "a")})


def test_a_job_is_charged_to_both_of_its_lanes_by_their_weights() -> None:
    now = 100.0
    accounts = LaneAccounts(lambda: now)
    whole, member = Lane(1, "projects/lab"), Lane(1, "projects/lab", "a")
    accounts.started([Charge((1, 1), whole, 0.5), Charge((1, 1), member, 1.0, weight=2.0)])
    now = 103.0
    assert accounts.running() == {whole: Running(2.5, 1), member: Running(2.0, 1)}
    accounts.ended((1, 1), 3.0)
    assert accounts.take() == {whole: Owed(2.5, 1, 3.0), member: Owed(1.0, 1, 3.0)}


def test_the_end_of_a_job_replaces_its_estimate() -> None:
    now = 100.0
    accounts = LaneAccounts(lambda: now)
    lane, other = Lane(1, "a"), Lane(2, "a")
    accounts.started([Charge((1, 1), lane, 0.5), Charge((2, 1), lane, 0.5), Charge((3, 1), other, 0.5)])
    accounts.started([Charge((4, 1), other, 0.5)])
    now = 103.0
    assert accounts.running() == {lane: Running(5.0, 2), other: Running(5.0, 2)}
    accounts.ended((1, 1), 2.0)
    accounts.ended((2, 1), 0.0)
    accounts.ended((3, 1), None)
    accounts.ended((3, 1), 50.0)  # known already
    accounts.forget([(4, 1)])
    assert accounts.running() == {}
    owed = accounts.take()
    assert owed == {lane: Owed(1.0 + LEAST_SECONDS, 2, 2.0 + LEAST_SECONDS), other: Owed(2.5, 1, 3.0)}
    assert accounts.take() == {}
    accounts.add(owed)
    accounts.add({other: Owed(-0.5)})
    assert accounts.take()[other] == Owed(2.0, 1, 3.0)
