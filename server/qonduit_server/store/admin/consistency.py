# SPDX-License-Identifier: Apache-2.0
"""Consistency checks: find contradictory rows, which only a damaged file or a manual change can cause."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, bindparam, exists, func, not_, or_, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_pb2 import Result
from qonduit_server.lifecycle import SUCCEEDED, TERMINAL
from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.jobs.job_spec import LARGE
from qonduit_server.store.labels import searchable
from qonduit_server.store.schema import (
    IS_LEASED,
    IS_QUEUED,
    buffers,
    deployments,
    devices,
    events,
    job_labels,
    job_options,
    jobs,
    lanes,
    member_lanes,
    options,
    programs,
    providers,
    results,
)
from qonduit_server.store.users.stored_bytes import DIFFERENCES

#: How many of the latest rows, large results and large options are checked, unless all are.
SAMPLE: Final = 10_000
_SAMPLE_BUFFERS: Final = 20
_SAMPLE_OPTIONS: Final = 1000
#: A spec with a reference to an option is longer than this.
_SHA256_LENGTH: Final = 64
#: Servers requeue expired leases every few seconds; a lease that expired this long ago is stuck.
_STUCK_MICROSECONDS: Final = 60 * 1_000_000
#: Chunks are written at most this long before their result; a slower server detects that they were deleted.
_WRITE_AHEAD_MICROSECONDS: Final = 2 * 3600 * 1_000_000
_PAGE: Final = 1000
#: Weights and virtual times are less than this.
_MOST: Final = 1e15
_NAMED: Final = 5

_RESTORE: Final = "A program other than the server changed the database: restore a backup, or delete these jobs."
_ENDED: Final = jobs.c.state.in_([int(state) for state in TERMINAL])

#: A check: (connection, deep, now) -> findings.
Check = Callable[[Connection, bool, int], Iterator[Finding]]


def _from(connection: Connection, table: Table, deep: bool) -> int:
    """Return the id after which rows are checked."""
    last = connection.execute(select(func.max(table.c.id))).scalar()
    return 0 if deep or last is None else max(0, int(last) - SAMPLE)


def _check_query(
    connection: Connection, query: Select[Any], what: str, fix: str, level: str = "error", thing: str = "job"
) -> Iterator[Finding]:
    """Yield a finding with the number and the first ids of the rows, if the query has any."""
    ids = [row[0] for row in connection.execute(query.limit(SAMPLE))]
    if ids:
        yield _finding(ids, what, fix, level, thing)


def _finding(ids: Sequence[int], what: str, fix: str, level: str = "error", thing: str = "job") -> Finding:
    named = ", ".join(map(str, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
    count = f"{len(ids)} or more" if len(ids) == SAMPLE else str(len(ids))
    plural = thing if len(ids) == 1 else f"{thing}s"
    return Finding("warning" if level == "warning" else "error", f"{count} {plural} {what} ({named})", fix)


def queue(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check for jobs that wait or run forever."""
    waiting = connection.execute(select(func.count()).select_from(jobs).where(IS_QUEUED)).scalar_one()
    running = connection.execute(select(func.count()).select_from(jobs).where(IS_LEASED)).scalar_one()
    yield Finding("ok", f"{waiting} jobs are queued, {running} are running")
    yield from _check_query(
        connection,
        select(jobs.c.id).where(IS_LEASED, jobs.c.lease_until < now - _STUCK_MICROSECONDS).order_by(jobs.c.owner),
        "belong to a lost server",
        "Start a server: it requeues them.",
        "warning",
    )
    yield from _check_query(
        connection,
        select(jobs.c.id).where(IS_LEASED, or_(jobs.c.lease_until.is_(None), jobs.c.owner.is_(None))),
        "are running without a lease: no server requeues them",
        "Stop all servers, then: UPDATE jobs SET owner = '', lease_until = 0 WHERE state IN (2, 3).",
    )
    idle = connection.execute(
        select(providers.c.name, devices.c.name, func.count())
        .select_from(jobs)
        .join(devices, devices.c.id == jobs.c.device_id)
        .join(providers, providers.c.id == devices.c.provider_id)
        .where(IS_QUEUED, devices.c.available.is_(False))
        .group_by(providers.c.name, devices.c.name)
    ).all()
    for provider, device, count in idle:
        fix = "Offer that provider again (QONDUIT_PROVIDERS), or cancel the jobs."
        yield Finding("warning", f"{count} jobs wait for the unavailable device {provider}/{device}", fix)
    yield from _programs(connection, deep)


def shares(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check the shares of callers: one that is not a number could keep the jobs of its caller from being claimed."""
    sound = and_(
        lanes.c.weight > 0, lanes.c.weight < _MOST, lanes.c.virtual_time < _MOST, lanes.c.virtual_start < _MOST
    )
    yield from _lanes(connection, lanes, sound, "All callers")
    sound = and_(member_lanes.c.virtual_time < _MOST, member_lanes.c.virtual_start < _MOST)
    yield from _lanes(connection, member_lanes, sound, "All members of projects")


def _lanes(connection: Connection, table: Table, sound: ColumnElement[bool], owners: str) -> Iterator[Finding]:
    rows = connection.execute(select(table.c.owner).where(not_(sound)).order_by(table.c.owner).limit(SAMPLE)).all()
    if rows:
        name = table.name.replace("_", " ")
        fix = f"Stop all servers, then: DELETE FROM {table.name}. {owners} then begin with equal shares."
        yield Finding("error", f"{len(rows)} {name} have an invalid weight or time ({rows[0].owner})", fix)


def _programs(connection: Connection, deep: bool) -> Iterator[Finding]:
    """Check for queued and running jobs whose programs are missing: the dispatcher cannot assign them to a worker."""
    query = select(jobs.c.id, jobs.c.program_runs).where(or_(IS_QUEUED, IS_LEASED))
    rows = connection.execute(query if deep else query.limit(SAMPLE)).all()
    needed = {row.id: [run.program_id for run in Job.FromString(row.program_runs).program_runs] for row in rows}
    known: set[int] = set()
    ids = sorted({program_id for required in needed.values() for program_id in required})
    existing = select(programs.c.id).where(among(programs.c.id, "ids"))
    for start in range(0, len(ids), _PAGE):
        known |= set(connection.execute(existing, {"ids": ids[start : start + _PAGE]}).scalars())
    broken = [job_id for job_id, required in needed.items() if not known.issuperset(required)]
    if broken:
        yield _finding(broken, "are queued or running without their programs: no job can be dispatched", _RESTORE)


def histories(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check that a job's events are numbered 1, 2, 3 ... to its last sequence, and that the last one ends the job."""
    first = _from(connection, jobs, deep)
    counted = (
        select(events.c.job_id, func.count().label("number"), func.max(events.c.sequence).label("last"))
        .where(events.c.job_id > first)
        .group_by(events.c.job_id)
        .subquery()
    )
    yield from _check_query(
        connection,
        select(jobs.c.id)
        .outerjoin(counted, counted.c.job_id == jobs.c.id)
        .where(
            jobs.c.id > first,
            or_(
                counted.c.number.is_(None),
                counted.c.number != jobs.c.last_sequence,
                counted.c.last != jobs.c.last_sequence,
            ),
        ),
        "have gaps in their events, or a wrong last sequence",
        _RESTORE,
    )
    last = and_(events.c.job_id == jobs.c.id, events.c.sequence == jobs.c.last_sequence)
    yield from _check_query(
        connection,
        select(jobs.c.id)
        .outerjoin(events, last)
        .where(jobs.c.id > first, _ENDED, or_(events.c.job_id.is_(None), events.c.is_terminal.is_(False))),
        "have ended without a terminal event: their watchers wait forever",
        _RESTORE,
    )
    yield from _check_query(
        connection,
        select(events.c.job_id)
        .distinct()
        .where(events.c.job_id > first, ~exists().where(jobs.c.id == events.c.job_id)),
        "are deleted, but their events remain",
        "They only use disk space: DELETE FROM events WHERE job_id NOT IN (SELECT id FROM jobs).",
        "warning",
    )


def outcomes(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check for jobs without their results, and results without a job."""
    first = _from(connection, jobs, deep)
    after = first
    missing: list[int] = []
    page = select(jobs.c.id, jobs.c.program_runs).where(jobs.c.state == int(SUCCEEDED)).order_by(jobs.c.id).limit(_PAGE)
    existing = select(results.c.id, results.c.job_id).where(among(results.c.id, "ids"))
    while rows := connection.execute(page.where(jobs.c.id > after)).all():
        after = rows[-1].id
        expected = {
            row.id: [x for run in Job.FromString(row.program_runs).program_runs for x in run.result_ids] for row in rows
        }
        ids = [result_id for required in expected.values() for result_id in required]
        known = {tuple(row) for row in connection.execute(existing, {"ids": ids})}
        missing += [
            job_id
            for job_id, required in expected.items()
            if not required or not known.issuperset((x, job_id) for x in required)
        ]
    if missing:
        yield _finding(missing, "succeeded, but their results are missing", _RESTORE)
    yield from _check_query(
        connection,
        select(results.c.id).where(
            results.c.id > _from(connection, results, deep), ~exists().where(jobs.c.id == results.c.job_id)
        ),
        "belong to no job",
        "They only use disk space: DELETE FROM results WHERE job_id NOT IN (SELECT id FROM jobs).",
        "warning",
        "result",
    )


def large_results(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check buffers against their results."""
    orphans = select(buffers.c.result_id).where(
        buffers.c.piece == 0, ~exists().where(results.c.id == buffers.c.result_id)
    )
    if connection.execute(select(jobs.c.id).where(IS_LEASED).limit(1)).first() is not None:
        # Buffers are written before their results. Only those with ids below a result this old are surely orphaned.
        settled = (
            select(results.c.id)
            .join(jobs, jobs.c.id == results.c.job_id)
            .where(
                results.c.id > _from(connection, results, deep),
                jobs.c.finished_at < now - _WRITE_AHEAD_MICROSECONDS,
            )
            .order_by(results.c.id.desc())
            .limit(1)
        )
        orphans = orphans.where(buffers.c.result_id < (connection.execute(settled).scalar() or 0))
    yield from _check_query(
        connection,
        orphans,
        "are missing, but their buffers remain",
        "They only use disk space. Start a server: it deletes them within two hours.",
        "warning",
        "result",
    )
    with_buffers = select(buffers.c.result_id).where(buffers.c.piece == 0).order_by(buffers.c.result_id.desc())
    ids = list(connection.execute(with_buffers if deep else with_buffers.limit(_SAMPLE_BUFFERS)).scalars())
    broken = []
    for result_id in ids:
        message = connection.execute(select(results.c.result).where(results.c.id == result_id)).scalar()
        if message is not None and not _is_intact(connection, result_id, Result.FromString(message)):
            broken.append(result_id)
    broken += _without_buffer(connection, _from(connection, results, deep))
    if broken:
        what = "have a damaged buffer: its size or its SHA-256 differs"
        yield _finding(broken, what, "Run their jobs again: `qonduit rerun`.", thing="result")


def _without_buffer(connection: Connection, after: int) -> Iterator[int]:
    """Yield the results whose buffer is missing. The row of a result with a buffer is small."""
    page = (
        select(results.c.id, results.c.result)
        .where(results.c.size < 64 * 1024, ~exists().where(buffers.c.result_id == results.c.id))
        .order_by(results.c.id)
        .limit(_PAGE)
    )
    while rows := connection.execute(page.where(results.c.id > after)).all():
        after = rows[-1].id
        yield from (row.id for row in rows if Result.FromString(row.result).HasField("buffer"))


def _is_intact(connection: Connection, result_id: int, result: Result) -> bool:
    digest, size, number = hashlib.sha256(), 0, 0
    query = select(buffers.c.data).where(buffers.c.result_id == result_id, buffers.c.piece == bindparam("number"))
    while (chunk := connection.execute(query, {"number": number}).scalar()) is not None:
        digest.update(chunk)
        size += len(chunk)
        number += 1
    return (size, digest.hexdigest()) == (result.buffer.size_bytes, result.buffer.sha256)


def large_options(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check large options against their jobs."""
    unused = select(func.count()).where(~exists().where(job_options.c.sha256 == options.c.sha256))
    if count := connection.execute(unused.select_from(options)).scalar_one():
        fix = "They only use disk space. A running server deletes them within an hour."
        yield Finding("warning", f"{count} large options belong to no job", fix)
    yield from _check_query(
        connection,
        select(job_options.c.job_id)
        .distinct()
        .where(
            job_options.c.job_id > _from(connection, jobs, deep), ~exists().where(jobs.c.id == job_options.c.job_id)
        ),
        "are deleted, but their links to large options remain",
        "They only use disk space: DELETE FROM job_options WHERE job_id NOT IN (SELECT id FROM jobs).",
        "warning",
    )
    if missing := list(_without_option(connection, _from(connection, jobs, deep))):
        yield _finding(missing, "have missing large options: no job can be dispatched", _RESTORE)
    some = select(options.c.sha256)
    hashes = connection.execute(some if deep else some.limit(_SAMPLE_OPTIONS)).scalars().all()
    one = select(options.c.data).where(options.c.sha256 == bindparam("sha256"))
    damaged = [
        sha256
        for sha256 in hashes
        if hashlib.sha256(connection.execute(one, {"sha256": sha256}).scalar() or b"").hexdigest() != sha256
    ]
    if damaged:
        yield Finding("error", f"{len(damaged)} large options have a wrong SHA-256 ({damaged[0]})", _RESTORE)


def _without_option(connection: Connection, after: int) -> Iterator[int]:
    """Yield the jobs that refer to an option which is missing or not linked to them."""
    page = (
        select(jobs.c.id, jobs.c.spec).where(func.length(jobs.c.spec) > _SHA256_LENGTH).order_by(jobs.c.id).limit(_PAGE)
    )
    existing = (
        select(job_options.c.job_id, options.c.sha256)
        .join(options, options.c.sha256 == job_options.c.sha256)
        .where(among(job_options.c.job_id, "ids"))
    )
    while rows := connection.execute(page.where(jobs.c.id > after)).all():
        after = rows[-1].id
        expected = {row.id: JobSpec.FromString(row.spec) for row in rows}
        known = {tuple(row) for row in connection.execute(existing, {"ids": list(expected)})}
        for job_id, spec in expected.items():
            hashes = [getattr(spec, f"{field}_reference").sha256 for field in LARGE]
            if any(sha256 and (job_id, sha256) not in known for sha256 in hashes):
                yield job_id


def labels(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check the rows of labels, by which filters find jobs, against the specs of the jobs."""
    first = _from(connection, jobs, deep)
    yield from _check_query(
        connection,
        select(job_labels.c.job_id)
        .distinct()
        .where(job_labels.c.job_id > first, ~exists().where(jobs.c.id == job_labels.c.job_id)),
        "are deleted, but their labels remain",
        "They only use disk space: DELETE FROM job_labels WHERE job_id NOT IN (SELECT id FROM jobs).",
        "warning",
    )
    after = first
    wrong: list[int] = []
    page = select(jobs.c.id, jobs.c.spec).order_by(jobs.c.id).limit(_PAGE)
    stored = select(job_labels.c.job_id, job_labels.c.key, job_labels.c.value).where(among(job_labels.c.job_id, "ids"))
    while rows := connection.execute(page.where(jobs.c.id > after)).all():
        after = rows[-1].id
        expected = {row.id: searchable(JobSpec.FromString(row.spec or b"").labels) for row in rows}
        found: dict[int, dict[str, str]] = {job_id: {} for job_id in expected}
        for row in connection.execute(stored, {"ids": list(expected)}):
            found[row.job_id][row.key] = row.value
        wrong += [job_id for job_id in expected if found[job_id] != expected[job_id]]
    if wrong:
        yield _finding(wrong, "have other labels for filters than in their specs", _RESTORE)


def inline_deployments(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Report inline deployments whose jobs are deleted."""
    unused: ColumnElement[bool] = ~exists().where(jobs.c.deployment_id == deployments.c.id)
    query = select(deployments.c.id).where(
        deployments.c.id > _from(connection, deployments, deep), deployments.c.is_inline, unused
    )
    count = len(connection.execute(query).all())
    if count:
        fix = "A server with retention_days set deletes them."
        yield Finding("ok", f"{count} inline deployments have no jobs any more", fix)


def totals(connection: Connection, deep: bool, now: int) -> Iterator[Finding]:
    """Check the stored bytes of owners, which quotas limit, against the rows; only a deep check reads all of them."""
    if not deep:
        return
    # One statement, so that it sees one state of the database.
    rows = connection.execute(DIFFERENCES.limit(_NAMED)).all()
    if not rows:
        return
    named = ", ".join(f"{row.owner}: {int(row.missing):+}" for row in rows)
    values = ", ".join(f"({_quoted(row.owner)}, 0, {int(row.missing)}, 0, 0)" for row in rows)
    fix = (
        f"INSERT INTO owner_totals (owner, day, stored_bytes, shots, seconds) VALUES {values} ON CONFLICT (owner) "
        "DO UPDATE SET stored_bytes = owner_totals.stored_bytes + excluded.stored_bytes;"
    )
    what = "the stored bytes that quotas count differ from the rows of owners"
    yield Finding("warning", f"{what} (missing in the totals: {named})", fix)


def _quoted(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


#: The checks by subject.
CHECKS: Final[dict[str, Check]] = {
    "the queue": queue,
    "shares": shares,
    "events": histories,
    "results": outcomes,
    "large results": large_results,
    "large options": large_options,
    "labels": labels,
    "inline deployments": inline_deployments,
    "the totals of owners": totals,
}
