# SPDX-License-Identifier: Apache-2.0
"""Select and lease the next jobs of a provider, in the order of fair share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, Connection, Text, and_, bindparam, exists, func, select, true

from qonduit.v1.event_pb2 import LOG_LEVEL_WARNING, LogLine
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.lifecycle import FAILED
from qonduit_server.store.jobs import job_credentials
from qonduit_server.store.jobs.fair_share import MAX_LANES, FairShare, last_owner, order, windows
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, JobChange, UnitOfWork
from qonduit_server.store.lane_accounts import Charge, Lane, Owed, Running
from qonduit_server.store.schema import IS_QUEUED, jobs, pauses, providers
from qonduit_server.store.sqlite_driver import Query
from qonduit_server.store.users.quota_checks import ClaimQuotas


class Claim(NamedTuple):
    """A request for jobs."""

    owner: str
    capacity: Mapping[str, int]
    lease: int
    slots: int
    #: What lanes owe, their running jobs, and where to begin with many lanes.
    owed: Mapping[Lane, Owed]
    running: Mapping[Lane, Running]
    turns: Mapping[str, str]
    #: Decrypts the credentials of jobs.
    sealer: Sealer


class Claimed(NamedTuple):
    """The jobs of a claim with the names of their providers, their credentials and costs, and where the next begins."""

    jobs: list[tuple[str, JobChange]]
    credentials: dict[int, str]
    charges: list[Charge]
    turns: dict[str, str]


_OF_PROVIDER: Final = and_(
    IS_QUEUED,
    jobs.c.not_before == 0,
    jobs.c.provider_id == select(providers.c.id).where(providers.c.name == bindparam("provider")).scalar_subquery(),
)
_WHOLE: Final = pauses.alias("whole")
# One row for each of their paused devices, or one without any.
_SELECT_WAITING: Final = Query(
    select(providers.c.name, pauses.c.device_id)
    .outerjoin(pauses, and_(pauses.c.provider_id == providers.c.id, pauses.c.device_id > 0))
    .where(
        exists().where(IS_QUEUED, jobs.c.not_before == 0, jobs.c.provider_id == providers.c.id),
        ~exists().where(_WHOLE.c.device_id == 0, _WHOLE.c.provider_id.in_((0, providers.c.id))),
    )
)
_SELECT_NEXT: Final = SELECT_ENTRIES.where(_OF_PROVIDER).order_by(jobs.c.rank, jobs.c.id)
_SELECT_OF_LANE: Final = Query(_SELECT_NEXT.where(jobs.c.caller == bindparam("owner")).limit(bindparam("count")))
_WANTED: Final = (
    func.unnest(bindparam("owners", type_=ARRAY(Text)), bindparam("counts", type_=ARRAY(BigInteger)))
    .table_valued("owner", "count")
    .render_derived(name="wanted")
)
# Two limits: PostgreSQL plans for the constant one, and stops at that of the lane.
_FIRST: Final = (
    _SELECT_NEXT.where(jobs.c.caller == _WANTED.c.owner)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=jobs)
    .correlate(_WANTED)
    .subquery("first")
)
_OF_WANTED: Final = select(*_FIRST.c).limit(_WANTED.c.count).lateral("queue")
_SELECT_OF_LANES: Final = select(*_OF_WANTED.c).select_from(_WANTED.join(_OF_WANTED, true()))


def waiting_providers(connection: Connection) -> dict[str, set[int]]:
    """Return the providers that have jobs to claim, with the ids of their paused devices."""
    waiting: dict[str, set[int]] = {}
    for name, paused in _SELECT_WAITING(connection, {}):
        waiting.setdefault(name, set()).update(() if paused is None else (paused,))
    return waiting


def claim_jobs(
    unit: UnitOfWork,
    share: FairShare,
    quotas: ClaimQuotas,
    wanted: Claim,
    provider: str,
    found: Claimed,
    paused: AbstractSet[int],
) -> None:
    """Claim jobs of a provider, as many as there are and as quotas allow, but none of the devices that are paused.

    A lane whose next job is for a paused device is left until its jobs are moved (held_jobs.py).
    """
    connection = unit.transaction.connection
    lease_until = unit.transaction.now + wanted.lease
    left = wanted.capacity[provider]
    after = wanted.turns.get(provider, "")
    for rows in windows(connection, provider, after):
        quotas.read([row.owner for row in rows])
        free = [row for row in rows if quotas.room(row.owner) > 0]
        lanes = share.add(free) if free else []
        while lanes and left:
            for lane in lanes:
                lane.room = quotas.room(lane.lane.owner)
            turns = order(lanes, left, wanted.slots)
            queues = _read_queues(connection, provider, Counter(lane.lane.owner for lane in turns))
            found_rows = [(lane, each) for lane in turns if (each := next(queues[lane.lane.owner], None)) is not None]
            served = [(lane, row) for lane, row in found_rows if row.device_id not in paused]
            unit.transaction.times |= len(served) < len(found_rows)
            entries = unit.add_rows([row for _, row in served])
            ready = _with_credentials(unit, wanted.sealer, entries, found.credentials)
            for (lane, row), entry in zip(served, entries, strict=True):
                if entry.job.id not in ready:
                    continue
                unit.start(entry, wanted.owner, lease_until)
                quotas.take(lane.lane.owner, row.memory_bytes)
                charge = Charge((entry.job.id, entry.job.attempt), lane.lane, share.charge(lane))
                found.charges.append(charge)
                found.jobs.append((provider, entry))
            # Written now, so that the next query of this transaction does not return them.
            unit.flush()
            left -= len(ready)
            emptied = Counter(lane.lane for lane in turns) - Counter(lane.lane for lane, _ in served)
            lanes = [lane for lane in lanes if lane.lane not in emptied and quotas.room(lane.lane.owner) > 0]
        if not left:
            found.turns[provider] = last_owner(rows) if len(rows) == MAX_LANES else ""
            return


def _with_credentials(
    unit: UnitOfWork, sealer: Sealer, entries: Sequence[JobChange], credentials: dict[int, str]
) -> set[int]:
    """Decrypt the credentials of jobs; return the jobs that can start.

    A job whose credential was deleted fails. A job whose credential cannot be decrypted waits.
    """
    ready = {entry.job.id for entry in entries}
    found = job_credentials.read(unit.transaction.connection, sealer, [entry.job for entry in entries])
    for job_id, credential in found.items():
        if isinstance(credential, str):
            credentials[job_id] = credential
            continue
        ready.remove(job_id)
        entry = unit.entries[job_id]
        if isinstance(credential, Failure):
            entry.job.failure.CopyFrom(credential)
            unit.set_open_programs(entry, FAILED, credential)
            unit.move(entry, FAILED)
        else:
            job_credentials.postpone(unit.transaction, job_id)
            if entry.job.last_sequence == 1:
                message = f"the job waits, because its credential cannot be decrypted: {credential}"
                unit.append(entry, log=LogLine(level=LOG_LEVEL_WARNING, message=message))
    return ready


def _read_queues(connection: Connection, provider: str, counts: Mapping[str, int]) -> dict[str, Iterator[Any]]:
    """Lock and return the first jobs of lanes, as many as requested, by owner."""
    rows: dict[str, list[Any]] = {owner: [] for owner in counts}
    if connection.dialect.name == "sqlite":
        for owner, count in counts.items():
            values = {"provider": provider, "owner": owner, "count": count}
            rows[owner] = list(_SELECT_OF_LANE(connection, values))
    else:
        values = {"provider": provider, "owners": list(counts), "counts": list(counts.values())}
        values["most"] = max(counts.values())
        for row in connection.execute(_SELECT_OF_LANES, values):
            rows[row.caller].append(row)
    return {owner: iter(each) for owner, each in rows.items()}
