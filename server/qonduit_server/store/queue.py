# SPDX-License-Identifier: Apache-2.0
"""The queue, as dispatchers see it: leases on jobs, and the only writer of a running one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from qonduit.execution.v1.task_pb2 import Task, TaskEvent

from qonduit_server.store.database import Database


def claim(db: Database, owner: str, capacity: Mapping[str, int], lease: timedelta) -> list[Task]:
    """Lease queued jobs, oldest first: QUEUED -> RUNNING, attempt + 1, event state_change.

    Args:
        owner: the dispatcher, unique for each start of a server.
        capacity: how many jobs at most, by provider name.
        lease: how long the jobs stay the owner's unless renewed.

    Returns:
        Tasks with their programs; limits of memory and time are left for the dispatcher to fill in.
    """
    raise NotImplementedError


def record(db: Database, owner: str, batch: Sequence[TaskEvent]) -> set[tuple[int, int]]:
    """Store what happened to running jobs, in one transaction: results, events, states.

    Events of a (job, attempt) that is not leased to `owner` now change nothing.

    Returns:
        The refused (job, attempt) pairs: their tasks can be dropped.
    """
    raise NotImplementedError


def release(db: Database, owner: str, jobs: Sequence[tuple[int, int]], why: str) -> None:
    """Hand (job, attempt) pairs back: RUNNING -> QUEUED with a log event telling why; CANCELLING -> CANCELLED."""
    raise NotImplementedError


def renew(db: Database, owner: str, lease: timedelta) -> None:
    """Prolong all leases of an owner, from now."""
    raise NotImplementedError


def cancelling(db: Database, owner: str) -> list[tuple[int, int]]:
    """Return the (job, attempt) pairs leased to an owner whose cancel was asked for."""
    raise NotImplementedError


def expire(db: Database) -> int:
    """Take back leases that ran out: RUNNING -> QUEUED, CANCELLING -> CANCELLED. Returns how many."""
    raise NotImplementedError
