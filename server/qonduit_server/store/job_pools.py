# SPDX-License-Identifier: Apache-2.0
"""The pools of queued jobs of a provider: jobs for its workers, and jobs for its devices at a vendor.

The workers of a provider may be busy for hours while its vendor takes jobs, and the other way round. So each pool has a
capacity and queues of its own, and no claim for one passes over the jobs of the other. The `not_before` of a queued job
is the number of its queue. Those of vendors' jobs are above all times, so that servers of releases without these pools
never claim them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import select

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.store.schema import devices, jobs

#: The number of different hashes of required versions (pinned_jobs.py).
HASHES: Final = 2**60


class AtVendor(NamedTuple):
    """The pool of the jobs of a provider whose devices are at a vendor. The name of a provider is that of the others.

    Attributes:
        provider: the name of the provider.
    """

    provider: str


#: A pool, as the key of capacities.
Pool = str | AtVendor


#: Ranges of the numbers of queues, each with its end, which does not belong to it.
Ranges = tuple[tuple[int, int], ...]


class Queues(NamedTuple):
    """The numbers of the queues of a pool.

    Attributes:
        main: of the jobs that require no versions.
        pinned: the first one of those that do; there are `HASHES`, of which the last one is that of `children`.
    """

    main: int
    pinned: int

    @property
    def children(self) -> int:
        """The queue of the jobs that server programs submit.

        They do not count as running jobs of their owner, and start while others wait for a quota.
        """
        return self.pinned + HASHES - 1


#: Below the second number, and above it, are the jobs that `held_jobs` holds: they have the id of their device.
_WORKERS: Final = Queues(0, 2**62 + 2**61)
_VENDORS: Final = Queues(2**62 + 2**60, 2**62 + 2**61 + HASHES)
#: Whether the device of a job is in the workers of servers. A subquery, so that a row lock does not lock the device.
IS_LOCAL: Final = (
    select(devices.c.is_local)
    .where(devices.c.id == jobs.c.device_id)
    .correlate(jobs)
    .scalar_subquery()
    .label("is_local")
)
#: The queues of jobs that require no versions.
MAIN_QUEUES: Final = (_WORKERS.main, _VENDORS.main)


def queues_of(pool: Pool) -> Queues:
    """Return the numbers of the queues of a pool."""
    return _VENDORS if isinstance(pool, AtVendor) else _WORKERS


def all_pinned(pool: Pool, left: Ranges = ()) -> Ranges:
    """Return the ranges of all queues of a pool whose jobs require versions, beginning with those that are left.

    If claims examine some of them, and jobs come in between, each queue is examined in turn.
    """
    first, end = queues_of(pool).pinned, queues_of(pool).children
    start = left[0][0] if left else first
    return tuple(each for each in ((start, end), (first, start)) if each[0] < each[1])


def provider_name(pool: Pool) -> str:
    """Return the name of the provider of a pool."""
    return pool.provider if isinstance(pool, AtVendor) else pool


def pool_of(task: Task) -> Pool:
    """Return the pool from which a task was claimed."""
    return AtVendor(task.provider) if task.HasField("vendor_device") else task.provider


def queues_of_device(*, is_local: bool) -> Queues:
    """Return the numbers of the queues of the jobs of a device."""
    return _WORKERS if is_local else _VENDORS
