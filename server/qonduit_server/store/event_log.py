# SPDX-License-Identifier: Apache-2.0
"""The numbered events of jobs, stored as the bytes that watchers receive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, select, text

from qonduit.v1.event_pb2 import JobEvent
from qonduit_server.errors import NotFound
from qonduit_server.store import log_epoch
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import MAX_ID, is_id
from qonduit_server.store.database import Database
from qonduit_server.store.notification_bus import StoredEvent
from qonduit_server.store.owned_queries import Owned
from qonduit_server.store.ownership import Scope
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import events, jobs

_VISIBLE: Final = Owned(select(jobs.c.caller).where(jobs.c.id == bindparam("id")), jobs.c.caller)
_EXIST: Final = select(jobs.c.id).where(among(jobs.c.id, "ids"))
_LAST: Final = select(jobs.c.id, jobs.c.last_sequence).where(among(jobs.c.id, "ids"))
# Sequences have no gaps, so "at most n events per job" is a range.
_READ_AFTER: Final = Query(
    select(events.c.sequence, events.c.payload, events.c.is_terminal)
    .where(
        events.c.job_id == bindparam("job"),
        events.c.sequence.between(bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)),
    )
    .order_by(events.c.sequence)
)
_READ_AFTER_MANY: Final = {
    "sqlite": text(
        "SELECT e.job_id, e.sequence, e.payload, e.is_terminal "
        "FROM json_each(:cursors) AS c CROSS JOIN events AS e ON e.job_id = json_extract(c.value, '$[0]') "
        "AND e.sequence > json_extract(c.value, '$[1]') AND e.sequence <= json_extract(c.value, '$[1]') + :limit "
        "ORDER BY e.job_id, e.sequence"
    ),
    "postgresql": text(
        "SELECT e.job_id, e.sequence, e.payload, e.is_terminal "
        "FROM unnest(CAST(:jobs AS bigint[]), CAST(:afters AS bigint[])) AS c (job_id, sequence) "
        "JOIN events AS e ON e.job_id = c.job_id AND e.sequence > c.sequence AND e.sequence <= c.sequence + :limit "
        "ORDER BY e.job_id, e.sequence"
    ),
}


def require_job(db: Database, scope: Scope, job_id: int) -> str:
    """Return the owner of a job. Raises NotFound unless the job exists in the scope."""
    if is_id(job_id):
        with db.read() as connection:
            if (row := _VISIBLE.execute(connection, scope, {"id": job_id}).first()) is not None:
                return str(row.caller)
    raise NotFound("job", job_id)


def check_cursor(db: Database, job_id: int, sequence: int, epoch: int, event: StoredEvent | None) -> None:
    """Check that a client has read an event from this log, and not from one that a restore of the database ended.

    Args:
        sequence: the last sequence that the client has.
        epoch: the epoch of that event, as the client knows it.
        event: the stored event with the sequence; None if the job has none.

    Raises:
        FailedPrecondition: the client has an event of another log.
    """
    if event is None:
        with db.read() as connection:
            stored = log_epoch.read(connection).epoch
    else:
        stored = JobEvent.FromString(event.payload).log_epoch
    if stored != epoch:
        raise log_epoch.log_restored(
            f"event {sequence} of job {job_id} with the log_epoch {epoch} is not in the log: the server was restored "
            "from a backup, or the request lacks after_epoch; read the events with after_sequence = 0",
            f"jobs/{job_id}",
        )


def read_after(db: Database, job_id: int, after: int, limit: int) -> list[StoredEvent]:
    """Return a job's events after a sequence, oldest first, at most `limit`. Raises NotFound if the job is deleted."""
    if not is_id(job_id):
        raise NotFound("job", job_id)
    with db.read() as connection:
        rows = _READ_AFTER(connection, _range(job_id, after, limit))
        if not rows and connection.execute(_EXIST, {"ids": [job_id]}).first() is None:
            raise NotFound("job", job_id)
    return [StoredEvent(sequence, payload, bool(terminal)) for sequence, payload, terminal in rows]


def read_after_many(
    db: Database, cursors: Sequence[tuple[int, int]], limit: int
) -> dict[int, list[StoredEvent] | None]:
    """Read the events of many jobs at once.

    Args:
        cursors: (job id, sequence to read after), one per job.
        limit: the maximum number of events per job.

    Returns:
        The events of each job, oldest first; None for a deleted job.
    """
    found: dict[int, list[StoredEvent] | None] = {}
    unknown: list[tuple[int, int]] = []
    for job_id, after in cursors:
        recent = db.event_cache.after(job_id, after, limit)
        if recent is None:
            unknown.append((job_id, after))
        else:
            found[job_id] = recent
    cursors = unknown
    if not cursors:
        return found
    ids = [job_id for job_id, _ in cursors]
    with db.read() as connection:
        rows: Iterable[Sequence[Any]]
        if len(cursors) == 1:
            rows = ((ids[0], *row) for row in _READ_AFTER(connection, _range(*cursors[0], limit)))
        else:
            # Limited so that adding the limit does not overflow.
            afters = [min(after, MAX_ID // 2) for _, after in cursors]
            lists: dict[str, object] = {"jobs": ids, "afters": afters}
            if db.kind == "sqlite":
                lists = {"cursors": json.dumps(list(zip(ids, afters, strict=True)))}
            rows = connection.execute(_READ_AFTER_MANY[db.kind], {**lists, "limit": min(limit, MAX_ID // 2)})
        for job_id, sequence, payload, terminal in rows:
            event = StoredEvent(sequence, payload, bool(terminal))
            if (known := found.get(job_id)) is None:
                found[job_id] = [event]
            else:
                known.append(event)
        quiet = [job_id for job_id in ids if job_id not in found]
        if quiet:
            found.update((job_id, None) for job_id in quiet)
            found.update((job_id, []) for job_id in connection.execute(_EXIST, {"ids": quiet}).scalars())
    return found


def _range(job_id: int, after: int, limit: int) -> dict[str, int]:
    # Limited so that adding the limit does not overflow.
    after = min(after, MAX_ID // 2)
    return {"job": job_id, "first": after + 1, "last": after + min(limit, MAX_ID // 2)}


def stale_jobs(db: Database, cursors: Mapping[int, int]) -> list[int]:
    """Return the jobs that have events after a sequence, or that are deleted.

    It is one query that bypasses the cache. The cached events of these jobs are dropped, so that the next reader gets
    them from the database.

    Args:
        cursors: the last known sequence by job id.
    """
    if not cursors:
        return []
    with db.read() as connection:
        last = {row.id: row.last_sequence for row in connection.execute(_LAST, {"ids": list(cursors)})}
    found = [job_id for job_id, after in cursors.items() if last.get(job_id, MAX_ID) > after]
    db.event_cache.invalidate(found)
    return found


def list_page(
    db: Database,
    scope: Scope,
    job_id: int,
    page_size: int = 0,
    page_token: str = "",
    after_sequence: int = 0,
    after_epoch: int = 0,
) -> Page[JobEvent]:
    """Return a page of a job's events, oldest first. Raises NotFound, and the error of `check_cursor`."""
    require_job(db, scope, job_id)
    cursor = Cursor(("events", job_id), page_size, page_token)
    after, epoch = cursor.after(int, int) or (after_sequence, after_epoch)
    rows = read_after(db, job_id, max(0, after - 1), cursor.size + 2)
    if after > 0:
        last = rows.pop(0) if rows and rows[0].sequence == after else None
        check_cursor(db, job_id, after, epoch, last)
    page = [JobEvent.FromString(event.payload) for event in rows[: cursor.size + 1]]
    kept, token = cursor.cut(page, lambda event: (event.sequence, event.log_epoch), lambda event: event.ByteSize() + 8)
    return Page(kept, token)
