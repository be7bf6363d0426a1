# SPDX-License-Identifier: Apache-2.0
"""The time that an attempt of a job can have occupied a worker, for attempts whose worker did not report it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, select

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit_server.lifecycle import RUNNING
from qonduit_server.store.jobs.unit_of_work import JobChange
from qonduit_server.store.schema import events
from qonduit_server.store.timestamps import microseconds
from qonduit_server.store.writer import Transaction

_PAGE: Final = 100
#: The events that are searched for the start of an attempt, the latest ones.
_SEARCHED: Final = 1000
_EVENTS: Final = (
    select(events.c.sequence, events.c.payload)
    .where(events.c.job_id == bindparam("job"), events.c.sequence < bindparam("before"))
    .order_by(events.c.sequence.desc())
    .limit(_PAGE)
)


def most_seconds(transaction: Transaction, entry: JobChange) -> float:
    """Return the maximum time for which the current attempt of a leased job occupied a worker, in seconds.

    It ends now. If its lease has expired, its server was lost at some time before, and it ends with the lease.
    """
    end = transaction.now if entry.lease_until is None else min(transaction.now, entry.lease_until)
    return max(0, end - _start(transaction.connection, entry.job)) / 1e6


def _start(connection: Connection, job: Job) -> int:
    """Return the start of the current attempt in microseconds; that of the first one if there are too many events."""
    before = job.last_sequence + 1
    while before > max(1, job.last_sequence - _SEARCHED):
        rows = connection.execute(_EVENTS, {"job": job.id, "before": before}).all()
        for row in rows:
            event = JobEvent.FromString(row.payload)
            if event.state_change.to_state == RUNNING:
                return microseconds(event.event_time)
        before = rows[-1].sequence if rows else 0
    return microseconds(job.started_at)
