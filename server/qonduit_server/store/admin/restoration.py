# SPDX-License-Identifier: Apache-2.0
"""Begin a new log in a restored database: the changes after the backup are lost, but clients and vendors know them.

- Events get a new epoch, so that no cursor of the lost log continues in this one (store/log_epoch.py).
- Ids of lost objects are never given to new ones.
- A job of a vendor's device may have been sent since the backup, so it fails and is not sent again. After a
  failover of PostgreSQL, a job whose submissions all have ids of the vendor is polled, and submits nothing more.
- Jobs that ran on local devices are queued again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import false, func, or_, select

from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.errors import StartError
from qonduit_server.lifecycle import CANCELLING, FAILED
from qonduit_server.store import log_epoch
from qonduit_server.store.admin.command_database import command_act
from qonduit_server.store.audit_trail import acting
from qonduit_server.store.database import Database
from qonduit_server.store.id_allocation import skip_ids
from qonduit_server.store.jobs import submission_settlement
from qonduit_server.store.jobs.lease_ends import end_lease
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, JobChange, UnitOfWork
from qonduit_server.store.schema import IS_ACTIVE, IS_LEASED, devices, jobs
from qonduit_server.store.writer import Operation, Transaction

#: A bound of the ids of a table that all servers together assign in a second.
_IDS_A_SECOND: Final = 100_000
#: The clocks of servers differ by less than this.
_CLOCK_SECONDS: Final = 3600
_RESTORED: Final = "the database was restored from a backup"
_LOST: Final = "the database was restored from a backup, or failed over to a replica"
_REMOTE: Final = select(devices.c.id).where(devices.c.is_local == false())
_IS_REMOTE: Final = jobs.c.device_id.in_(_REMOTE)
_SELECT_ACTIVE: Final = SELECT_ENTRIES.where(IS_ACTIVE).order_by(jobs.c.id).with_for_update(of=jobs)
_SELECT_AFFECTED: Final = _SELECT_ACTIVE.where(or_(IS_LEASED, _IS_REMOTE))
_SELECT_REMOTE: Final = _SELECT_ACTIVE.where(_IS_REMOTE)
_SELECT_NEWEST: Final = select(func.max(jobs.c.created_at))


class Restoration(NamedTuple):
    """A new log, and the numbers of jobs that were queued again and that failed."""

    log_epoch: int
    requeued: int
    failed: int


def begin_log(db: Database, *, audited: bool = True) -> Restoration:
    """Begin a new log, in one transaction. Raises StartError if another process writes to the database."""
    with acting(command_act("qonduit serve --restored") if audited else None):
        restoration = db.write(_BEGIN, None)
    if restoration is None:
        raise StartError("other servers or commands use the database: stop them, then start with --restored")
    return restoration


def follow_failover(transaction: Transaction, *, new_log: bool, lost: bool) -> int:
    """Follow a failover of PostgreSQL to another server (store/timeline.py); return the number of jobs that failed.

    The running jobs of servers that live continue; the leases of others expire.

    Args:
        transaction: of the session that found out.
        new_log: whether to begin a new log; no other session writes then.
        lost: whether changes may be lost, so that it is not known what vendors have received.
    """
    if new_log:
        _begin_epoch(transaction)
    if not lost:
        return 0
    unit = UnitOfWork(transaction)
    found = unit.add_rows(transaction.connection.execute(_SELECT_REMOTE).all())
    running = [entry.job.id for entry in found if entry.job.state != CANCELLING]
    polled = submission_settlement.bar(transaction, running)
    failed = [entry for entry in found if entry.job.id not in polled]
    _fail(unit, failed)
    for entry in found:
        if entry.job.id in polled:
            # Another attempt reads the ledger: the server that has the job remembers lost changes.
            end_lease(unit, entry, _LOST, counts=False)
    unit.flush()
    return len(failed)


def is_copy(db: Database) -> bool:
    """Return whether `qonduit backup` made the database, and no server has used it since."""
    with db.read() as connection:
        return log_epoch.read(connection).is_copy


def _begin(transaction: Transaction, calls: Sequence[None]) -> list[Restoration | None]:
    epoch = _begin_epoch(transaction)
    if epoch is None:
        return [None] * len(calls)
    remote = set(transaction.connection.execute(_REMOTE).scalars())
    unit = UnitOfWork(transaction)
    found = unit.add_rows(transaction.connection.execute(_SELECT_AFFECTED).all())
    failed = [entry for entry in found if entry.job.executed_on_id in remote]
    _fail(unit, failed)
    for entry in found:
        if entry.job.executed_on_id not in remote:
            end_lease(unit, entry, _RESTORED, counts=True)
    unit.flush()
    return [Restoration(epoch, len(found) - len(failed), len(failed))] * len(calls)


def _begin_epoch(transaction: Transaction) -> int | None:
    """Begin a new epoch, and leave out the ids that may be lost. Return None if other sessions write."""
    before = transaction.log_epoch
    epoch = log_epoch.begin(transaction.connection, transaction.now)
    if epoch is not None:
        transaction.log_epoch = epoch
        newest = max(before, transaction.connection.execute(_SELECT_NEWEST).scalar() or 0)
        since = max(0, transaction.now - newest) + _CLOCK_SECONDS * 1_000_000
        skip_ids(transaction, since * _IDS_A_SECOND // 1_000_000)
    return epoch


def _fail(unit: UnitOfWork, entries: Sequence[JobChange]) -> None:
    """Fail jobs of vendors, and record that it is not known what the vendors have received."""
    submission_settlement.lose(unit.transaction, [entry.job.id for entry in entries])
    for entry in entries:
        entry.job.failure.CopyFrom(_SUBMISSION_UNKNOWN)
        unit.set_open_programs(entry, FAILED, entry.job.failure)
        unit.move(entry, FAILED)


_SUBMISSION_UNKNOWN: Final = Failure(
    category=FailureCategory.FAILURE_CATEGORY_PROVIDER,
    reason="SUBMISSION_UNKNOWN",
    message=f"{_LOST}, and the job may have been sent to the vendor since then. It is not sent again: look for it "
    "in the vendor's list of jobs, then run `qonduit resolve` with --vendor-id ID or with --not-submitted.",
)
_BEGIN: Final = Operation(_begin)
