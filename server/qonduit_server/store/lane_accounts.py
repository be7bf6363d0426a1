# SPDX-License-Identifier: Apache-2.0
"""The running jobs of this server as costs of their lanes: estimated at the claim, known at the end.

A lane is one owner of jobs in one provider's queue, or one member among the jobs of a project there. Costs reach the
tables of lanes with the next claim of this server, so that the record of an ended job writes no lane, for which servers
would wait for each other.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from qonduit_server.store.job_pools import Pool, Ranges, all_pinned

#: A task costs at least this many seconds: the work of a server for one job.
LEAST_SECONDS: Final = 0.001
#: A job that has run for longer than this many seconds occupies a worker for itself.
_LONG_SECONDS: Final = 1.0


class Lane(NamedTuple):
    """The key of a lane. Without a member, it is the lane of all jobs of an owner."""

    provider_id: int
    owner: str
    member: str = ""


class Owed(NamedTuple):
    """What a lane owes beyond its row in the table.

    Attributes:
        time: the virtual time to add; negative if estimates were too high.
        ended: the number of jobs that ended.
        observed: the sum of their seconds.
    """

    time: float = 0.0
    ended: int = 0
    observed: float = 0.0

    def plus(self, other: Owed) -> Owed:
        """Return the sum."""
        return Owed(self.time + other.time, self.ended + other.ended, self.observed + other.observed)


def add_owed(total: dict[Lane, Owed], more: Mapping[Lane, Owed]) -> None:
    """Add what lanes owe to a total."""
    for lane, each in more.items():
        total[lane] = total.get(lane, Owed()).plus(each)


class Running(NamedTuple):
    """The running jobs of a lane.

    Attributes:
        excess: the seconds that they have run beyond their estimates.
        long: the number of them that occupy a worker.
    """

    excess: float = 0.0
    long: int = 0


class Charge(NamedTuple):
    """The estimated cost of a claimed job for one of its lanes.

    Attributes:
        job: the job and its attempt.
        lane: the lane.
        seconds: the estimate.
        weight: the weight of the lane at the claim.
    """

    job: tuple[int, int]
    lane: Lane
    seconds: float
    weight: float = 1.0


class LaneAccounts:
    """What lanes owe for the jobs of this server. Thread-safe.

    A server that dies takes its accounts with it: its lanes then paid the estimates of its last jobs.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[tuple[int, int], tuple[float, list[Charge]]] = {}
        self._owed: dict[Lane, Owed] = {}
        #: Where more lanes wait than a claim compares, after which the next claim begins: the owner by pool and "",
        #: the member by pool and project.
        self.turns: dict[tuple[Pool, str], str] = {}
        #: The pools that had queued jobs with required versions at the last claim.
        self.pinned: frozenset[Pool] = frozenset()
        #: The queues of such jobs that are left to examine, by pool: another claim must follow.
        self.unexamined: Mapping[Pool, Ranges] = {}

    def examine_all(self, pools: Iterable[Pool]) -> None:
        """Examine all queues of these pools again: jobs were queued in any of them, or workers have other versions."""
        left = self.unexamined
        self.unexamined = {**left, **{pool: all_pinned(pool, left[pool]) for pool in pools if pool in left}}

    def take(self) -> dict[Lane, Owed]:
        """Remove and return everything that lanes owe, to write it."""
        with self._lock:
            owed, self._owed = self._owed, {}
        return owed

    def add(self, owed: Mapping[Lane, Owed]) -> None:
        """Add what lanes owe, for example because their rows were locked."""
        with self._lock:
            add_owed(self._owed, owed)

    def started(self, charges: Iterable[Charge]) -> None:
        """Add claimed jobs, which are charged."""
        now = self._clock()
        with self._lock:
            for charge in charges:
                self._running.setdefault(charge.job, (now, []))[1].append(charge)

    def ended(self, job: tuple[int, int], seconds: float | None) -> None:
        """Replace the estimated cost of an ended job by the seconds that it occupied a worker.

        Args:
            job: the job and its attempt.
            seconds: the time; None if it is not known, which counts as the time since the claim.
        """
        now = self._clock()
        with self._lock:
            since, charges = self._running.pop(job, (now, []))
            cost = max(LEAST_SECONDS, now - since if seconds is None else seconds)
            for charge in charges:
                add_owed(self._owed, {charge.lane: Owed((cost - charge.seconds) / charge.weight, 1, cost)})

    def forget(self, jobs: Iterable[tuple[int, int]]) -> None:
        """Drop jobs that were requeued or belong to another server; their estimates remain charged."""
        with self._lock:
            for job in jobs:
                self._running.pop(job, None)

    def running(self) -> dict[Lane, Running]:
        """Return the running jobs, by lane."""
        now = self._clock()
        found: defaultdict[Lane, Running] = defaultdict(Running)
        with self._lock:
            for since, charges in self._running.values():
                elapsed = now - since
                for charge in charges:
                    excess, long = found[charge.lane]
                    found[charge.lane] = Running(
                        excess + max(0.0, elapsed - charge.seconds), long + (elapsed > _LONG_SECONDS)
                    )
        return dict(found)
