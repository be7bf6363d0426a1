# SPDX-License-Identifier: Apache-2.0
"""Lists of what owners used, grouped by owner, user, device or day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, func, not_, or_, select

from qonduit.v1.usage_service_pb2 import UsageGrouping, UsageRow
from qonduit_server.errors import InvalidArgument
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.paging import Cursor, Page, sent_bytes
from qonduit_server.store.usage_ledger import MILLION
from qonduit_server.store.usage_tables import usage, usage_costs
from qonduit_server.store.users.quota_checks import read_totals

_EPOCH: Final = date(1970, 1, 1)
_COLUMNS: Final[Mapping[int, Any]] = {
    UsageGrouping.USAGE_GROUPING_OWNER: usage.c.owner,
    UsageGrouping.USAGE_GROUPING_USER: usage.c.executed_by,
    UsageGrouping.USAGE_GROUPING_DEVICE: usage.c.device,
    UsageGrouping.USAGE_GROUPING_DAY: usage.c.day,
}


def list_page(
    db: Database,
    scope: str | None,
    start_day: str = "",
    end_day: str = "",
    group_by: Sequence[int] = (),
    page_size: int = 0,
    page_token: str = "",
) -> Page[UsageRow]:
    """Return a page of what jobs used when they ran, in the order of the grouping columns.

    Args:
        db: the database.
        scope: the owner of the jobs; None for all owners.
        start_day: the first day as "2026-11-29"; empty for the first one with any use.
        end_day: the last day; empty for today.
        group_by: values of UsageGrouping; none for one row.
        page_size: the maximum number of rows.
        page_token: the token of the previous page.

    Raises:
        InvalidArgument: a day or the page token is invalid.
    """
    columns: list[Any] = [_COLUMNS[each] for each in group_by]
    cursor = Cursor(("usage", scope, start_day, end_day, list(group_by)), page_size, page_token)
    sums = (func.sum(usage.c.jobs).label("jobs"), func.sum(usage.c.shots).label("shots"), func.sum(usage.c.seconds))
    after = cursor.after(*(column.type.python_type for column in columns))
    # By the names of columns, which the table of costs has too.
    conditions: list[Callable[[Table], Any]] = []
    if scope is not None:
        owner = checked_text("owner", scope)
        conditions.append(lambda table: table.c.owner == owner)
    if start_day:
        first = _day("start_day", start_day)
        conditions.append(lambda table: table.c.day >= first)
    if end_day:
        last = _day("end_day", end_day)
        conditions.append(lambda table: table.c.day <= last)
    query = select(*columns, *sums).where(*(condition(usage) for condition in conditions))
    if columns:
        query = query.group_by(*columns).order_by(*columns).limit(cursor.size + 1)
        if after is not None:
            query = query.where(_is_after(columns, after))
    with db.read() as connection:
        rows = [row for row in connection.execute(query).all() if row.jobs is not None]
        found = [_message(columns, row) for row in rows]
        if found:
            _add_costs(connection, columns, conditions, after, rows, found)
        if list(group_by) == [UsageGrouping.USAGE_GROUPING_OWNER]:
            owners = [row.owner for row in found]
            for owner, used in read_totals(connection, owners, 0).items():
                found[owners.index(owner)].stored_bytes = used.stored_bytes
    keyed = list(zip(rows, found, strict=True))
    kept, token = cursor.cut(keyed, lambda pair: tuple(pair[0][: len(columns)]), lambda pair: sent_bytes(pair[1]))
    return Page([message for _, message in kept], token)


def _add_costs(
    connection: Connection,
    columns: Sequence[Any],
    conditions: Sequence[Callable[[Table], Any]],
    after: Sequence[Any] | None,
    rows: Sequence[Any],
    found: Sequence[UsageRow],
) -> None:
    """Add what vendors charge to the rows of a page, which follow the groups `after`."""
    own = [usage_costs.c[column.name] for column in columns]
    query = (
        select(*own, usage_costs.c.unit, func.sum(usage_costs.c.spent), func.sum(usage_costs.c.reserved))
        .where(*(condition(usage_costs) for condition in conditions))
        .group_by(*own, usage_costs.c.unit)
        .order_by(usage_costs.c.unit)
    )
    if own:
        query = query.where(not_(_is_after(own, rows[-1][: len(own)])))
        if after is not None:
            query = query.where(_is_after(own, after))
    places = {tuple(row[: len(own)]): message for row, message in zip(rows, found, strict=True)}
    for *group, unit, spent, reserved in connection.execute(query):
        message = places.get(tuple(group))
        if message is not None:
            message.costs.add(unit=unit, spent=int(spent) / MILLION, reserved=int(reserved) / MILLION)


def _is_after(columns: Sequence[Any], keys: Sequence[Any]) -> Any:
    """Return the condition of the groups after those of the previous page."""
    return or_(
        *(
            and_(column > keys[place], *(before == keys[index] for index, before in enumerate(columns[:place])))
            for place, column in enumerate(columns)
        )
    )


def _day(field: str, text: str) -> int:
    """Return the number of a day since 1970. Raises InvalidArgument."""
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise InvalidArgument.of(
            field, f"{field}.date", f'{field}: must be a day as "2026-11-29", got {text!r:.40}'
        ) from None


def _message(columns: Sequence[Any], row: Any) -> UsageRow:
    message = UsageRow(jobs=int(row.jobs), shots=int(row.shots), worker_seconds=row[-1])
    for column, value in zip(columns, row, strict=False):
        text = str(_EPOCH + timedelta(days=value)) if column is usage.c.day else value
        setattr(message, column.name, text)
    return message
