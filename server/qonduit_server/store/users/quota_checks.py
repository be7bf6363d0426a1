# SPDX-License-Identifier: Apache-2.0
"""Check quotas in the transaction that uses them up: of submissions, which are refused, and of claims, which wait.

On PostgreSQL, a transaction that depends on the quotas of an owner holds the owner's lock until its commit. So servers
that submit or claim for the same owner at once do so in turn, and the quotas of jobs hold exactly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ARRAY, Connection, Text, bindparam, func, select, text

from qonduit_server.errors import QuotaExceeded
from qonduit_server.store import queued_jobs
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.quota_registry import Allowance
from qonduit_server.store.schema import IS_LEASED, jobs
from qonduit_server.store.usage_ledger import DAY, Used
from qonduit_server.store.usage_tables import owner_totals, usage_costs
from qonduit_server.store.writer import Transaction

#: The memory that a running job counts with, unless a worker found that it needs more: every task gets it.
TASK_BYTES: Final = 128 * 1024**2
#: The seconds after which to retry when the use of an owner may have changed.
_RETRY_SECONDS: Final = 5.0
_MICROSECONDS: Final = 1_000_000

_TOTALS: Final = select(
    owner_totals.c.owner, owner_totals.c.day, owner_totals.c.stored_bytes, owner_totals.c.shots, owner_totals.c.seconds
).where(among(owner_totals.c.owner, "owners"))
# On the index of running jobs, of which there are few.
# The jobs that server programs submit do not count: their program does.
_RUNNING_JOBS: Final = select(jobs.c.caller, jobs.c.memory_bytes).where(
    IS_LEASED, among(jobs.c.caller, "owners"), jobs.c.parent_job_id.is_(None)
)
_SPENT: Final = (
    select(usage_costs.c.owner, usage_costs.c.unit, (func.sum(usage_costs.c.reserved) + func.sum(usage_costs.c.spent)))
    .where(among(usage_costs.c.owner, "owners"), usage_costs.c.day == bindparam("day"))
    .group_by(usage_costs.c.owner, usage_costs.c.unit)
)
# Two transactions of the same owner exclude each other; the class distinguishes these locks from others.
_KEY: Final = "hashtextextended(owner, 1903)"
_OWNERS: Final = bindparam("owners", type_=ARRAY(Text))
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock({_KEY}) FROM unnest(:owners) AS owner").bindparams(_OWNERS)
_TRY_LOCK: Final = text(
    f"SELECT owner FROM unnest(:owners) AS owner WHERE pg_try_advisory_xact_lock({_KEY})"
).bindparams(_OWNERS)


def read_totals(connection: Connection, owners: Iterable[str], now: int) -> dict[str, Used]:
    """Return the totals of owners: the bytes that they store, and the shots and seconds of the day of `now`."""
    rows = connection.execute(_TOTALS, {"owners": list(owners)})
    return {
        row.owner: Used(
            shots=row.shots if row.day >= now // DAY else 0,
            seconds=row.seconds if row.day >= now // DAY else 0.0,
            stored_bytes=row.stored_bytes,
        )
        for row in rows
    }


def read_costs(connection: Connection, owners: Collection[str], day: int) -> dict[str, dict[str, int]]:
    """Return what owners spend on a day, reserved or not, by unit in millionths."""
    found: dict[str, dict[str, int]] = {owner: {} for owner in owners}
    for owner, unit, amount in connection.execute(_SPENT, {"owners": sorted(owners), "day": day}):
        found[owner][unit] = int(amount)
    return found


def read_running(connection: Connection, owners: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return the number of running jobs of owners, and the memory that these count with in bytes."""
    found: dict[str, tuple[int, int]] = {}
    for row in connection.execute(_RUNNING_JOBS, {"owners": list(owners)}):
        count, memory = found.get(row.caller, (0, 0))
        found[row.caller] = (count + 1, memory + max(TASK_BYTES, row.memory_bytes))
    return found


class SubmissionQuotas:
    """The quotas of the owners of new jobs and deployments in one transaction.

    Args:
        transaction: the transaction.
        owners: the owners.
    """

    def __init__(self, transaction: Transaction, owners: Iterable[str]) -> None:
        self._now = transaction.now
        snapshot = transaction.quotas()
        found = {owner: snapshot.of(owner) for owner in owners}
        self._allowances = {owner: each for owner, each in found.items() if each.limits_submissions}
        self._queued: dict[str, int] = {}
        self._used: dict[str, Used] = {}
        if not self._allowances:
            return
        connection = transaction.connection
        limited = sorted(self._allowances)
        if transaction.kind == "postgresql":
            connection.execute(_LOCK, {"owners": limited})
        # A separate statement, which sees what others committed before they released the locks.
        totals = read_totals(connection, limited, self._now)
        for owner in limited:
            used, pending = totals.get(owner, Used()), transaction.usage.pending(owner)
            self._used[owner] = Used(
                shots=used.shots + pending.shots, stored_bytes=used.stored_bytes + pending.stored_bytes
            )
            most = self._allowances[owner].queued_jobs
            self._queued[owner] = queued_jobs.of_owner(connection, owner, most) if most else 0

    def __bool__(self) -> bool:
        """Return whether any of the owners has a limit."""
        return bool(self._allowances)

    def take_job(self, owner: str, shots: int, size: int) -> QuotaExceeded | None:
        """Add a job to the use of its owner; return why it is refused, if it is.

        Args:
            owner: the owner.
            shots: the shots of all its programs and points.
            size: the bytes that it stores now. Its results are not known, and are stored in any case.
        """
        if (allowed := self._allowances.get(owner)) is None:
            return None
        queued, most = self._queued[owner], allowed.queued_jobs
        if most is not None and queued >= most:
            return exceeded("queued_jobs", owner, f"{queued} of {most} jobs are queued; retry when some have started")
        used, most = self._used[owner].shots, allowed.shots_per_day
        if most is not None and used + shots > most:
            hint = f"the job has {shots} shots, {used} of {most} are used"
            if shots > most:
                return exceeded("shots_per_day", owner, f"{hint}; submit fewer", None)
            hint = f"{hint}; retry after {_midnight(self._now)}"
            return exceeded("shots_per_day", owner, hint, seconds_to_midnight(self._now))
        refusal = self.take_bytes(owner, size)
        if refusal is None:
            self._queued[owner] += 1
            self._used[owner].shots += shots
        return refusal

    def take_bytes(self, owner: str, size: int) -> QuotaExceeded | None:
        """Add stored bytes to the use of an owner; return why they are refused, if they are."""
        if (allowed := self._allowances.get(owner)) is None:
            return None
        used, most = self._used[owner].stored_bytes, allowed.stored_bytes
        if most is not None and used + size > most:
            hint = f"{size} more bytes, {used} of {most} are used; delete jobs or deployments"
            return exceeded("stored_bytes", owner, hint, None)
        self._used[owner].stored_bytes += size
        return None


class ClaimQuotas:
    """The quotas of the owners of queued jobs in one transaction.

    Args:
        transaction: the transaction.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._snapshot = transaction.quotas()
        self._rooms: dict[str, ClaimRoom] = {}

    def read(self, owners: Collection[str]) -> None:
        """Read the use of owners, before `room` is called for them.

        While another server claims for the same owner, this server claims nothing of it, and again after its commit.
        """
        found = {owner: self._snapshot.of(owner) for owner in owners if owner not in self._rooms}
        limited = {owner: allowed for owner, allowed in found.items() if allowed.limits_claims}
        if not limited:
            return
        connection = self._transaction.connection
        locked = set(limited)
        if self._transaction.kind == "postgresql":
            locked = set(connection.execute(_TRY_LOCK, {"owners": sorted(limited)}).scalars())
            if len(locked) < len(limited):
                self._transaction.queued.add(ANY_PROVIDER)
        pending = {owner: self._transaction.usage.pending(owner).seconds for owner in locked}
        rooms = claim_rooms(connection, {owner: limited[owner] for owner in locked}, self._transaction.now, pending)
        self._rooms |= {owner: rooms.get(owner, ClaimRoom()) for owner in limited}

    def room(self, owner: str) -> float:
        """Return the number of jobs of an owner that may start now."""
        room = self._rooms.get(owner)
        return math.inf if room is None else room.count

    def take(self, owner: str, memory: int) -> None:
        """Start a job of an owner; `memory` is the memory that it is known to need, or 0."""
        if (room := self._rooms.get(owner)) is not None:
            room.jobs -= 1
            room.memory -= max(TASK_BYTES, memory)


@dataclass(slots=True)
class ClaimRoom:
    """The jobs of an owner that may start: their number, and their memory in bytes."""

    jobs: float = 0.0
    memory: float = 0.0

    @property
    def count(self) -> float:
        """The number of jobs that may start, if none needs more memory than every task gets."""
        return max(0.0, min(self.jobs, self.memory // TASK_BYTES))


def claim_rooms(
    connection: Connection, allowances: Mapping[str, Allowance], now: int, pending: Mapping[str, float] | None = None
) -> dict[str, ClaimRoom]:
    """Return the room of owners whose claims are limited.

    Args:
        connection: a connection.
        allowances: the limits, by owner.
        now: the time in microseconds since 1970.
        pending: the seconds of each owner that the transaction has not written yet.
    """
    if not allowances:
        return {}
    totals = read_totals(connection, allowances, now)
    running = read_running(connection, allowances)
    rooms: dict[str, ClaimRoom] = {}
    for owner, allowed in allowances.items():
        count, memory = running.get(owner, (0, 0))
        seconds = totals.get(owner, Used()).seconds + (pending or {}).get(owner, 0.0)
        if allowed.worker_seconds_per_day is not None and seconds >= allowed.worker_seconds_per_day:
            rooms[owner] = ClaimRoom()
            continue
        jobs = math.inf if allowed.running_jobs is None else allowed.running_jobs - count
        room = math.inf if allowed.running_memory_bytes is None else allowed.running_memory_bytes - memory
        if not count and 0 < room < TASK_BYTES:
            room = TASK_BYTES  # one job runs at any size
        rooms[owner] = ClaimRoom(jobs, room)
    return rooms


def exceeded(quota: str, owner: str, hint: str, retry_after: float | None = _RETRY_SECONDS) -> QuotaExceeded:
    """Return the error of a quota that is used up."""
    return QuotaExceeded(f"quota {quota} of {owner} reached: {hint}", subject=quota, retry_after=retry_after)


def seconds_to_midnight(now: int) -> float:
    """Return the seconds to the next day (UTC) of a time in microseconds since 1970."""
    return (DAY - now % DAY) / _MICROSECONDS


def _midnight(now: int) -> str:
    return datetime.fromtimestamp((now // DAY + 1) * DAY // _MICROSECONDS, UTC).strftime("%Y-%m-%d 00:00 UTC")
