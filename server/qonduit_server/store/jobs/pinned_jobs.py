# SPDX-License-Identifier: Apache-2.0
"""Queued jobs that require versions stand apart in the pool of their provider, one queue for equal requirements.

The `not_before` of such a job is a number above all times and above those of `held_jobs`. It contains the hash of the
requirements. So a claim finds the queues whose requirements it meets by the index of the queue, and passes over no job
that it cannot run. A server of a release without required versions never claims them.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, bindparam, column, select, text

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit_server.errors import FailedPrecondition
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import (
    HASHES,
    Pool,
    Ranges,
    all_pinned,
    provider_name,
    queues_of,
    queues_of_device,
)
from qonduit_server.store.schema import IS_QUEUED, providers
from qonduit_server.version_requirements import Environment, Versions, listed, matches, requirements_of, unmet

#: The first number of these queues, of any pool.
PINNED: Final = queues_of("").pinned
#: The queues of a provider that one claim compares with its environments.
_MOST: Final = 256
#: The known requirements of queues that are kept in memory.
_MOST_KNOWN: Final = 4096
_STEP: Final = (
    f"SELECT min(not_before) FROM jobs WHERE state = {int(QUEUED)} AND provider_id = :provider AND not_before {{}} "
)
_QUEUES: Final = text(
    f"WITH RECURSIVE queues (queue) AS (SELECT ({_STEP.format('>= :first')}) UNION ALL "
    f"SELECT ({_STEP.format('> queues.queue')}) FROM queues WHERE queue IS NOT NULL) "
    f"SELECT queue FROM queues WHERE queue IS NOT NULL AND queue <= :last LIMIT :most"
).columns(column("queue", BigInteger))
_PROVIDER: Final = select(providers.c.id).where(providers.c.name == bindparam("provider"))
_SPEC: Final = f"(SELECT spec FROM jobs WHERE {IS_QUEUED} AND provider_id = :provider AND not_before = q.value LIMIT 1)"
_SPECS: Final = {
    "sqlite": text(f"SELECT q.value, {_SPEC} FROM json_each(:queues) AS q"),
    "postgresql": text(f"SELECT q.value, {_SPEC} FROM unnest(CAST(:queues AS bigint[])) AS q(value)"),
}
_FIELD: Final = "job.required_versions"
_known: dict[int, tuple[str, ...]] = {}
_known_lock: Final = threading.Lock()


def queue_of(spec: JobSpec, *, is_local: bool) -> int:
    """Return the queue of a job that may be claimed, the value of its `not_before`.

    Args:
        spec: of the job.
        is_local: whether its device is not at a vendor.
    """
    queues, requirements = queues_of_device(is_local=is_local), requirements_of(spec)
    if requirements:
        return queues.pinned + min(_hash(requirements), HASHES - 2)
    return queues.children if spec.parent_job_id else queues.main


def check_served(db: Database, device: str, spec: JobSpec) -> None:
    """Refuse a job whose required versions no living worker has, unless it asks to wait.

    Args:
        db: the database, which knows the environments of workers.
        device: the device of the job as "PROVIDER/device".
        spec: the options of the job.

    Raises:
        FailedPrecondition: reason VERSION_UNAVAILABLE; NOT_REPRODUCIBLE for an exact rerun.
    """
    requirements = requirements_of(spec)
    if not requirements or spec.required_versions.wait:
        return
    provider = device.partition("/")[0]
    environments = catalogue.environments(db, provider)
    missing = _missing(provider, requirements, environments)
    if not missing:
        return
    if spec.HasField("required_provenance"):
        if not environments:
            return  # the job waits for a worker, as others do
        closest = min((list(unmet(requirements, each)) for each in environments), key=len)
        raise FailedPrecondition(
            f"the job cannot be repeated exactly: no worker of {provider} has the versions of its first run; the "
            f"closest one differs in {', '.join(closest)}. Run it again without `exact`",
            subject=_FIELD,
            kind="VERSION",
            reason="NOT_REPRODUCIBLE",
        )
    raise FailedPrecondition(
        f"{_FIELD}: {missing}; set job.required_versions.wait to queue the job until one has them",
        subject=_FIELD,
        kind="VERSION",
        reason="VERSION_UNAVAILABLE",
    )


def reason_to_wait(db: Database, provider: str, spec: JobSpec) -> str:
    """Return the versions of the workers of a provider if none has those that a job requires; empty if one has."""
    return _missing(provider, requirements_of(spec), catalogue.environments(db, provider))


def _missing(provider: str, requirements: Sequence[str], environments: Sequence[Versions]) -> str:
    """Return which versions no worker of a provider has, and which they have; empty if one meets the requirements."""
    if any(matches(requirements, each) for each in environments):
        return ""
    return f"no worker of {provider} has {', '.join(requirements)}; workers have {listed(requirements, environments)}"


def queues_for(
    connection: Connection, pool: Pool, environments: Sequence[Environment] | None, left: Ranges = ()
) -> tuple[dict[int, float], Ranges]:
    """Return queues of waiting jobs of a pool whose required versions environments have.

    Of many queues, one call examines some, so that its time is bounded. Calls with what earlier ones left examine all.

    Args:
        connection: a connection.
        pool: the jobs for the workers of a provider, or for its devices at a vendor.
        environments: those of its workers; None if they meet all requirements.
        left: the ranges of queues that are left; default: all.

    Returns:
        The number of jobs that they take, by queue; and the ranges of the queues that are left.
    """
    provider_id = connection.execute(_PROVIDER, {"provider": provider_name(pool)}).scalar_one()
    waiting, left = _waiting(connection, provider_id, left or all_pinned(pool))
    if environments is None:
        return dict.fromkeys(waiting, math.inf), left
    found: dict[int, float] = {}
    for queue, requirements in _requirements(connection, provider_id, waiting).items():
        room = sum(each.room for each in environments if requirements and matches(requirements, each.versions))
        if room:
            found[queue] = room
    return found, left


def _waiting(connection: Connection, provider_id: int, ranges: Ranges) -> tuple[list[int], Ranges]:
    """Return the first queues in ranges that have jobs, and the ranges behind them."""
    found: list[int] = []
    for place, (first, end) in enumerate(ranges):
        # PostgreSQL and SQLite have no integers above 2^63 - 1.
        values: Mapping[str, Any] = {"provider": provider_id, "first": first, "last": end - 1}
        found += connection.execute(_QUEUES, {**values, "most": _MOST - len(found)}).scalars()
        if len(found) >= _MOST:
            return found, ((found[-1] + 1, end), *ranges[place + 1 :])
    return found, ()


def _requirements(connection: Connection, provider_id: int, queues: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Return the requirements of the jobs of queues; none of one that has no jobs any more."""
    with _known_lock:
        found = {queue: _known.get(queue, ()) for queue in queues}
    unknown = [queue for queue, known in found.items() if not known]
    if not unknown:
        return found
    sqlite = connection.dialect.name == "sqlite"
    values = {"provider": provider_id, "queues": json.dumps(unknown) if sqlite else unknown}
    for queue, spec in connection.execute(_SPECS[connection.dialect.name], values):
        requirements = requirements_of(JobSpec.FromString(spec or b""))
        if requirements and _hash(requirements) == (queue - PINNED) % HASHES:
            found[queue] = requirements
    with _known_lock:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known.update((queue, found[queue]) for queue in unknown if found[queue])
    return found


def _hash(requirements: Sequence[str]) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(requirements).encode()).digest()[:8]) % HASHES
