# SPDX-License-Identifier: Apache-2.0
"""Write the costs of lanes to their tables: those of owners, and those of the members of projects.

A claim never waits for a row that another server has locked: it leaves the row, and the next claim writes the cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from qonduit_server.store import sqlite_driver
from qonduit_server.store.lane_accounts import Lane


class LaneCost(NamedTuple):
    """A change of a lane. All but `observed` and `remains` are virtual times.

    Attributes:
        owed: the debt before this claim.
        floor: the virtual time at which an idle lane begins.
        ceiling: the highest virtual time before the charge.
        charge: the estimates of the claimed jobs.
        start: the virtual time of the lane when it was last served.
        observed: the mean of the seconds of the jobs that ended.
        remains: the share of the old mean that remains; 1 if no job ended.
    """

    owed: float
    floor: float
    ceiling: float
    charge: float
    start: float
    observed: float
    remains: float


_SETS: Final = (
    "virtual_time = {least}({greatest}({table}.virtual_time + {owed}, {floor}), {ceiling}) + {charge}, "
    "virtual_start = {greatest}({table}.virtual_start, {start}), "
    "mean_seconds = CASE WHEN {remains} = 1 THEN {table}.mean_seconds "
    "WHEN {table}.mean_seconds IS NULL THEN {observed} "
    "ELSE {observed} + ({table}.mean_seconds - {observed}) * {remains} END"
)
_VALUES: Final = "{greatest}({owed}, {floor}) + {charge}, {start}, CASE WHEN {remains} < 1 THEN {observed} END"


class _LaneTable:
    """The statements of a table of lanes.

    Args:
        name: the table.
        key: the columns of its key: the first fields of `Lane`.
    """

    def __init__(self, name: str, key: Sequence[str]) -> None:
        self._size = len(key)
        columns = (*key, *LaneCost._fields)
        keys = ", ".join(key)
        types = ("bigint", *["text"] * (len(key) - 1), *["float8"] * len(LaneCost._fields))
        new = f"unnest({', '.join(f'%b::{each}[]' for each in types)}) AS new ({', '.join(columns)})"
        of_new = {"table": name, "greatest": "GREATEST", "least": "LEAST"} | {each: f"new.{each}" for each in columns}
        of_parameters = {"table": name, "greatest": "max", "least": "min"} | {
            each: f"?{place}" for place, each in enumerate(columns, 1)
        }
        inserted = f"{name} ({keys}, virtual_time, virtual_start, mean_seconds)"
        values = f"{', '.join(of_parameters[each] for each in key)}, {_VALUES.format(**of_parameters)}"
        self._sqlite = (
            f"INSERT INTO {inserted} VALUES ({values}) "
            f"ON CONFLICT ({keys}) DO UPDATE SET {_SETS.format(**of_parameters)}"
        )
        own = ", ".join(f"{name}.{each}" for each in key)
        order = ", ".join(str(place) for place in range(1, len(key) + 1))
        self._update = (
            f"WITH new AS MATERIALIZED (SELECT * FROM {new}), free AS MATERIALIZED (SELECT {own} "
            f"FROM new JOIN {name} USING ({keys}) ORDER BY {order} FOR NO KEY UPDATE OF {name} SKIP LOCKED) "
            f"UPDATE {name} SET {_SETS.format(**of_new)} FROM new JOIN free USING ({keys}) "
            f"WHERE {' AND '.join(f'{name}.{each} = new.{each}' for each in key)} RETURNING {own}"
        )
        self._insert = (
            f"INSERT INTO {inserted} SELECT {', '.join(f'new.{each}' for each in key)}, {_VALUES.format(**of_new)} "
            f"FROM {new} ON CONFLICT DO NOTHING RETURNING {keys}"
        )

    def write(
        self, connection: Connection, costs: Sequence[tuple[Lane, LaneCost]], known: Collection[Lane]
    ) -> set[Lane]:
        """Write costs; return the lanes that were written. Lanes of `known` have rows."""
        rows: dict[Lane, tuple[Any, ...]] = {lane: (*lane[: self._size], *cost) for lane, cost in costs}
        if connection.dialect.name == "sqlite":
            sqlite_driver.execute(connection, self._sqlite, *rows.values())
            return set(rows)
        written = self._execute(connection, self._update, list(rows.values()))
        if new := [row for lane, row in rows.items() if lane not in written and lane not in known]:
            written |= self._execute(connection, self._insert, new)
        return written

    @staticmethod
    def _execute(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> set[Lane]:
        columns = tuple(map(list, zip(*rows, strict=True)))
        return {Lane(*row) for row in connection.exec_driver_sql(statement, columns)}


_LANES: Final = _LaneTable("lanes", ("provider_id", "owner"))
_MEMBER_LANES: Final = _LaneTable("member_lanes", ("provider_id", "owner", "member"))


def write(connection: Connection, costs: Iterable[tuple[Lane, LaneCost]], known: Collection[Lane]) -> set[Lane]:
    """Write the costs of lanes; return the lanes that were written: the others are locked by another server.

    Args:
        connection: the connection of a transaction.
        costs: each lane once.
        known: the lanes of which it is known that they have rows.
    """
    # In the same order on each server.
    ordered = sorted(costs, key=lambda each: each[0])
    written: set[Lane] = set()
    for table, own in (
        (_LANES, [each for each in ordered if not each[0].member]),
        (_MEMBER_LANES, [each for each in ordered if each[0].member]),
    ):
        if own:
            written |= table.write(connection, own, known)
    return written
