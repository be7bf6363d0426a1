# SPDX-License-Identifier: Apache-2.0
"""The stored quotas of owners: set, read, list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.v1.quota_pb2 import Quota, QuotaValues
from qonduit_server.errors import CallError, InvalidArgument
from qonduit_server.store import queued_jobs
from qonduit_server.store.bulk_statements import BulkUpsert
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.paging import Cursor, Page, sent_bytes
from qonduit_server.store.quota_registry import COSTS, MAX_UNITS, NAMES, allowance
from qonduit_server.store.usage_ledger import DAY, MILLION, Used
from qonduit_server.store.usage_tables import quotas
from qonduit_server.store.users.quota_checks import read_costs, read_running, read_totals
from qonduit_server.store.writer import Operation, Transaction

#: Queued jobs are not counted beyond this number.
_MOST_COUNTED: Final = 1_000_000

_SELECT: Final = select(quotas.c.limits).where(quotas.c.owner == bindparam("owner"))
_SELECT_LOCKED: Final = _SELECT.with_for_update()
_PAGE: Final = (
    select(quotas.c.owner, quotas.c.limits)
    .where(quotas.c.owner > bindparam("after"))
    .order_by(quotas.c.owner)
    .limit(bindparam("most"))
)
_UPSERT: Final = BulkUpsert(quotas, ("owner", "limits"), "limits = excluded.limits")
_DELETE: Final = sa.delete(quotas).where(quotas.c.owner == bindparam("of"))


class _Change(NamedTuple):
    owner: str
    limits: QuotaValues
    names: Sequence[str]
    #: Whether the limits replace all that are stored.
    whole: bool


def set_quota(db: Database, owner: str, limits: QuotaValues, paths: Sequence[str] = ()) -> Quota:
    """Set limits of an owner; those that are not set in `limits` become those of the default.

    Args:
        db: the database.
        owner: the owner.
        limits: the limits.
        paths: the names of the limits to change; all if empty.

    Raises:
        InvalidArgument: a path is not the name of a quota.
    """
    for index, path in enumerate(paths):
        if path not in NAMES:
            field = f"update_mask.paths[{index}]"
            raise InvalidArgument.of(
                field, "update_mask.unknown", f"{field}: must be one of {', '.join(NAMES)}, got {path!r:.100}"
            )
    try:
        stored = db.write(_SET, _Change(checked_text("quota.owner", owner), limits, paths or NAMES, not paths))
    finally:
        # Also after an error: a lost response may belong to a change that was committed.
        db.quotas.changed()
    return _message(db, owner, stored)


def get(db: Database, owner: str) -> Quota:
    """Return the quota of an owner, the limits in force, and the current use."""
    owner = checked_text("owner", owner)
    with db.read() as connection:
        data = connection.execute(_SELECT, {"owner": owner}).scalar()
        totals = read_totals(connection, [owner], db.now()).get(owner, Used())
        running, memory = read_running(connection, [owner]).get(owner, (0, 0))
        queued = queued_jobs.of_owner(connection, owner, _MOST_COUNTED)
        costs = read_costs(connection, [owner], db.now() // DAY)[owner]
    quota = _message(db, owner, QuotaValues.FromString(data or b""))
    quota.used.MergeFrom(
        QuotaValues(
            queued_jobs=queued,
            running_jobs=running,
            shots_per_day=totals.shots,
            worker_seconds_per_day=math.ceil(totals.seconds),
            running_memory_bytes=memory,
            stored_bytes=totals.stored_bytes,
            cost_per_day={unit: amount / MILLION for unit, amount in costs.items()},
        )
    )
    return quota


def list_page(db: Database, page_size: int = 0, page_token: str = "") -> Page[Quota]:
    """Return a page of the owners whose quotas differ from the default, by name."""
    cursor = Cursor(("quotas",), page_size, page_token)
    (after,) = cursor.after(str) or ("",)
    with db.read() as connection:
        rows = connection.execute(_PAGE, {"after": after, "most": cursor.size + 1}).all()
    found = [_message(db, row.owner, QuotaValues.FromString(row.limits)) for row in rows]
    kept, token = cursor.cut(found, lambda quota: (quota.owner,), sent_bytes)
    return Page(kept, token)


def _message(db: Database, owner: str, limits: QuotaValues) -> Quota:
    return Quota(owner=owner, limits=limits, effective=allowance(limits, db.quotas.default).message())


def _set(transaction: Transaction, changes: Sequence[_Change]) -> list[QuotaValues | CallError]:
    answers: list[QuotaValues | CallError] = []
    for change in changes:
        data = transaction.connection.execute(_SELECT_LOCKED, {"owner": change.owner}).scalar()
        limits = QuotaValues.FromString(data or b"")
        for name in change.names:
            if name == COSTS:
                # A change of one unit leaves the others; without any, all are those of the default.
                if change.whole or not change.limits.cost_per_day:
                    limits.ClearField(name)
                for unit, amount in change.limits.cost_per_day.items():
                    limits.cost_per_day[unit] = amount
            elif change.limits.HasField(name):
                setattr(limits, name, getattr(change.limits, name))
            else:
                limits.ClearField(name)
        if len(limits.cost_per_day) > MAX_UNITS:
            message = f"quota.limits.{COSTS}: must have at most {MAX_UNITS} units, got {len(limits.cost_per_day)}"
            answers.append(InvalidArgument.of(f"quota.limits.{COSTS}", "quota.units", message))
            continue
        if limits.ByteSize():
            _UPSERT(transaction.connection, [(change.owner, limits.SerializeToString(deterministic=True))])
        else:
            transaction.connection.execute(_DELETE, {"of": change.owner})
        answers.append(limits)
    transaction.quotas_changed = True
    transaction.queued.add(ANY_PROVIDER)  # jobs that a quota held may start
    return answers


_SET: Final = Operation(_set)
