# SPDX-License-Identifier: Apache-2.0
"""Fair share: which lanes the next jobs are claimed from, by stride scheduling.

Each lane has a virtual time: the seconds of workers that its jobs have used, divided by its weight. A claim takes the
next job of the lowest lane, and adds the estimated cost of the job to it, which is the mean of the lane's jobs. The end
of the job corrects it. A lane that was idle, or is new, starts at the virtual time of its provider, so it has neither
credit nor debt of the time before.

The owners of jobs are the lanes of a provider. The members of a project are lanes among those of the project, by the
same rules: what the project gets is theirs to share.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import Pool
from qonduit_server.store.jobs import lane_rows
from qonduit_server.store.jobs.lane_rows import LaneCost
from qonduit_server.store.jobs.waiting_lanes import Window, windows_of_queues
from qonduit_server.store.lane_accounts import LEAST_SECONDS, Charge, Lane, Owed, Running
from qonduit_server.store.writer import Operation, Transaction

#: The estimated seconds of a job of a lane of which none has ended.
UNKNOWN_SECONDS: Final = 0.1
#: A caller waits for others to use at most this many seconds of workers, however much it has used alone before.
MOST_DEBT: Final = 300.0
#: The share of the old mean that remains after one more job ended.
_REMAINS: Final = 0.8


@dataclass(eq=False, slots=True)
class LaneShare:
    """A lane with jobs to claim, as far as a claim knows it.

    Attributes:
        lane: its key.
        weight: its weight.
        virtual_time: its virtual time, including what its running jobs cost so far.
        mean: the estimated seconds of a job.
        long: the number of its jobs that occupy a worker of this server.
        room: the number of jobs that may be claimed; quotas of its owner may limit it.
        project: of the lane of a member, the lane of the project.
        members: of the lane of a project, those of its members with jobs to claim, as soon as they are read.
        further: the windows of its further members; None before the first are read, and after the last.
    """

    lane: Lane
    weight: float
    virtual_time: float
    mean: float
    long: int = 0
    room: float = math.inf
    project: LaneShare | None = None
    members: list[LaneShare] | None = None
    further: Iterator[Window] | None = None

    @property
    def stride(self) -> float:
        """The virtual time that one job adds."""
        return self.mean / self.weight

    def remains_without(self, emptied: Container[Lane]) -> bool:
        """Drop members without jobs to claim; return whether the lane has jobs, as far as is known."""
        if self.members is None:
            return self.lane not in emptied
        self.members = [member for member in self.members if member.lane not in emptied]
        return bool(self.members) or self.further is not None


def order(shares: Iterable[LaneShare], count: int, slots: int = 0) -> list[LaneShare]:
    """Return the lanes from which to claim `count` jobs, in order, as if each had as many.

    Args:
        shares: the lanes.
        count: the number of jobs.
        slots: the number of tasks that the server runs at once. While others wait, a lane is served only if it occupies
            less than its part of them; 0 means no limit.
    """
    heap = [(share.virtual_time, share.lane, share) for share in shares]
    heapq.heapify(heap)
    weights = sum(share.weight for _, _, share in heap)
    held = {share.lane: share.long for _, _, share in heap}
    room = {share.lane: share.room for _, _, share in heap}
    found: list[LaneShare] = []
    full: list[tuple[float, Lane, LaneShare]] = []
    while heap and len(found) < count:
        time, lane, share = heap[0]
        if room[lane] < 1:
            heapq.heappop(heap)
            if not heap and full:
                heap, full, slots = full, [], 0
                heapq.heapify(heap)
            continue
        is_full = slots > 0 and held[lane] >= max(1, math.ceil(slots * share.weight / weights))
        if is_full and len(heap) + len(full) > 1:
            full.append(heapq.heappop(heap))
            if not heap:
                # No lane is below its part: the workers that remain are shared by virtual time alone.
                heap, full, slots = full, [], 0
                heapq.heapify(heap)
            continue
        found.append(share)
        room[lane] -= 1
        held[lane] += count <= slots  # then each task occupies a worker
        heapq.heapreplace(heap, (time + share.stride, lane, share))
    return found


def order_members(turns: Sequence[LaneShare], slots: int) -> list[LaneShare]:
    """Replace each turn of a project, whose members are read, by a turn of one of its members; without any, drop it.

    Args:
        turns: the lanes of owners, as `order` returns them.
        slots: as in `order`.
    """
    counts = Counter(share.lane for share in turns if share.members)
    # What a project occupies is shared as the workers are among owners.
    occupied = 0 if len(turns) > slots else 1
    following = {
        share.lane: iter(order(share.members, counts[share.lane], occupied * (share.long + counts[share.lane])))
        for share in {share.lane: share for share in turns}.values()
        if share.members
    }
    return [
        next(following[share.lane]) if share.members else share
        for share in turns
        if share.members is None or share.members
    ]


@dataclass(slots=True)
class _Change:
    charge: float = 0.0
    start: float = 0.0
    floor: float = 0.0
    ceiling: float = math.inf


class FairShare:
    """The lanes of one transaction: what its claims cost them. `flush` writes it.

    Args:
        connection: the connection of the transaction.
        owed: what lanes owe before.
        running: the running jobs of this server, by lane.
    """

    def __init__(self, connection: Connection, owed: Mapping[Lane, Owed], running: Mapping[Lane, Running]) -> None:
        self._connection = connection
        self._owed = owed
        self._running = running
        self._known: set[Lane] = set()
        self._changes: dict[Lane, _Change] = {}

    def add(self, rows: Sequence[Any]) -> list[LaneShare]:
        """Add lanes from rows of waiting_lanes.py. No lane stays further behind the lowest one than `MOST_DEBT`."""
        shares = [self._share(row) for row in rows]
        if not shares:
            return []
        most = min(share.virtual_time for share in shares) + MOST_DEBT
        for share in shares:
            ran = self._running.get(share.lane, Running()).excess / share.weight
            if share.virtual_time - ran > most:
                share.virtual_time = most + ran
                self._changes[share.lane].ceiling = most
        return shares

    def _share(self, row: Any) -> LaneShare:
        lane = Lane(row.id, row.owner, row.member)
        if row.virtual_time is not None:
            self._known.add(lane)
        change = self._changes.setdefault(lane, _Change())
        change.floor = row.floor or 0.0
        share = share_of(row, self._owed.get(lane, Owed()), self._running.get(lane, Running()))
        share.virtual_time += change.charge
        return share

    def read_members(self, pool: Pool, share: LaneShare, after: str, queues: Collection[int], most: int) -> str | None:
        """Read the next members of a project that have jobs to claim, unless some are known.

        Args:
            pool: the pool of jobs.
            share: the lane of the project.
            after: the member after which to begin.
            queues: those that have jobs for this server.
            most: the maximum number of members.

        Returns:
            The member after which the next claim shall begin; None if nothing was read.
        """
        if share.members:
            return None
        if share.members is None:
            share.further = windows_of_queues(
                self._connection, pool, after, queues, project=share.lane.owner, most=most
            )
        window = next(share.further, None) if share.further is not None else None
        share.members = self.add(window.lanes if window is not None else ())
        for member in share.members:
            member.project = share
        if window is None:
            share.further = None
            return None
        return window.last

    def charge(self, job: tuple[int, int], share: LaneShare) -> list[Charge]:
        """Charge the lane of a job, and that of its project; return the charges."""
        charges = self.charge(job, share.project) if share.project is not None else []
        change = self._changes[share.lane]
        change.start = max(change.start, share.virtual_time)
        change.charge += share.stride
        share.virtual_time += share.stride
        return [*charges, Charge(job, share.lane, share.mean, share.weight)]

    def flush(self) -> Callable[[], dict[Lane, Owed]]:
        """Write all costs. The function returns those of lanes that another server has locked (lane_rows.py)."""
        changed = {
            lane for lane, change in self._changes.items() if change.charge or change.ceiling < math.inf
        } | self._owed.keys()
        written = lane_rows.write(self._connection, [(lane, self._cost(lane)) for lane in changed], self._known)
        return lambda: {lane: self._unwritten(lane) for lane in changed - written()}

    def _cost(self, lane: Lane) -> LaneCost:
        change, owed = self._changes.get(lane, _Change()), self._owed.get(lane, Owed())
        observed = owed.observed / owed.ended if owed.ended else 0.0
        return LaneCost(
            owed.time, change.floor, change.ceiling, change.charge, change.start, observed, _REMAINS**owed.ended
        )

    def _unwritten(self, lane: Lane) -> Owed:
        change = self._changes.get(lane, _Change())
        return self._owed.get(lane, Owed()).plus(Owed(change.charge))


def share_of(row: Any, owed: Owed, running: Running) -> LaneShare:
    """Return a lane from a row of waiting_lanes.py."""
    weight = row.weight or 1.0
    time = max((row.virtual_time or 0.0) + owed.time, row.floor or 0.0)
    mean = row.mean_seconds
    if owed.ended:
        observed = owed.observed / owed.ended
        mean = observed + ((observed if mean is None else mean) - observed) * _REMAINS**owed.ended
    mean = max(LEAST_SECONDS, UNKNOWN_SECONDS if mean is None else mean)
    return LaneShare(Lane(row.id, row.owner, row.member), weight, time + running.excess / weight, mean, running.long)


def set_weight(db: Database, provider_id: int, owner: str, weight: float) -> None:
    """Set the weight of a lane: twice the weight is twice the share of the workers while others wait."""
    db.write(_SET_WEIGHT, (provider_id, owner, weight))


def _set_weight(transaction: Transaction, weights: Sequence[tuple[int, str, float]]) -> list[None]:
    for provider_id, owner, weight in weights:
        values = {"provider_id": provider_id, "owner": owner, "weight": weight}
        transaction.connection.execute(_WEIGHT, values)
    return [None] * len(weights)


_WEIGHT: Final = text(
    "INSERT INTO lanes (provider_id, owner, weight, virtual_time, virtual_start) "
    "VALUES (:provider_id, :owner, :weight, 0, 0) ON CONFLICT (provider_id, owner) DO UPDATE SET weight = :weight"
)
_SET_WEIGHT: Final = Operation(_set_weight)
