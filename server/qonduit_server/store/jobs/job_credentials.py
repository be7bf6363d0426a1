# SPDX-License-Identifier: Apache-2.0
"""The credentials of jobs: decrypted when a job is claimed, and those of single jobs erased when the job ends."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job
from qonduit_server.encryption.sealing import Binding, Sealed, Sealer, Unreadable
from qonduit_server.store import credentials
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.schema import job_credentials, jobs
from qonduit_server.store.writer import Transaction

#: The time after which a job is claimed again whose credential could not be decrypted, in microseconds.
_RETRY: Final = timedelta(seconds=30) // timedelta(microseconds=1)
_INSERT: Final = sa.insert(job_credentials)
_SELECT: Final = select(job_credentials).where(among(job_credentials.c.job_id, "ids"))
#: Delete those of jobs.
DELETE: Final = sa.delete(job_credentials).where(among(job_credentials.c.job_id, "ids"))
_POSTPONE: Final = sa.update(jobs).where(among(jobs.c.id, "ids")).values(not_before=sa.bindparam("time"))


def has_credential(job: Job | JobSpec) -> bool:
    """Return whether a job uses a credential."""
    return bool(job.credential_id or job.one_time_credential)


def insert(connection: Connection, sealer: Sealer, job: Job, secret: str) -> None:
    """Insert the encrypted credential of a new job. Raises FailedPrecondition without a key."""
    sealed = sealer.seal(secret, _binding_of(job))
    connection.execute(_INSERT, {"job_id": job.id, "key_id": sealed.key_id, "sealed": sealed.data})


def erase(connection: Connection, job_ids: Collection[int]) -> None:
    """Erase the credentials that requests of ended jobs contained."""
    if job_ids:
        connection.execute(DELETE, {"ids": list(job_ids)})


def read(connection: Connection, sealer: Sealer, found: Collection[Job]) -> dict[int, str | Failure | Unreadable]:
    """Return the decrypted credential of each job that uses one.

    Returns:
        By job: the secret; the failure of a job whose credential was deleted; or the reason why the credential cannot
        be decrypted, which the operator can change.
    """
    using = [job for job in found if has_credential(job)]
    if not using:
        return {}
    stored_ids = {job.credential_id for job in using if job.credential_id}
    stored = credentials.read_sealed(connection, stored_ids) if stored_ids else {}
    own_ids = [job.id for job in using if job.one_time_credential]
    rows = connection.execute(_SELECT, {"ids": own_ids}) if own_ids else ()
    own = {row.job_id: Sealed(row.key_id, row.sealed) for row in rows}
    answers: dict[int, str | Failure | Unreadable] = {}
    for job in using:
        sealed = stored[job.credential_id].sealed if job.credential_id in stored else own.get(job.id)
        # Those of the job, which receives the secret, and not those of the credential's row. Its owner is one of two.
        binding = _binding_of(job)
        if job.credential_id:
            found_owner = stored[job.credential_id].binding.owner if job.credential_id in stored else ""
            owner = found_owner if found_owner in (job.executed_by, owner_of(job)) else job.executed_by
            binding = credentials.binding_of(job.credential_id, owner, binding.provider)
        if sealed is None:
            answers[job.id] = _deleted(job)
            continue
        try:
            answers[job.id] = sealer.open(sealed, binding)
        except Unreadable as error:
            answers[job.id] = error
    return answers


def postpone(transaction: Transaction, job_ids: Collection[int]) -> None:
    """Let queued jobs wait for a while, after which their credentials may be readable."""
    if job_ids:
        transaction.connection.execute(_POSTPONE, {"ids": list(job_ids), "time": transaction.now + _RETRY})
        transaction.times = True


def binding_of(job_id: int, owner: str, provider: str) -> Binding:
    """Return what the credential of a single job is bound to."""
    return Binding("job_credentials", job_id, owner, provider)


def _binding_of(job: Job) -> Binding:
    return binding_of(job.id, job.executed_by, job.device.partition("/")[0])


def _deleted(job: Job) -> Failure:
    what = f"credential {job.credential_id}" if job.credential_id else "the credential of the job"
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_PROVIDER,
        reason="CREDENTIAL_DELETED",
        message=f"{what} was deleted before the job started. Create another one, and rerun the job with credential_id.",
    )
