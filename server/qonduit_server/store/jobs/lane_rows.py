# SPDX-License-Identifier: Apache-2.0
"""Write the costs of lanes to their tables: those of owners, and those of the members of projects.

A claim never waits for a row that another server has locked: it leaves the row, and the next claim writes the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from qonduit_server.store import postgresql_pipeline, sqlite_driver
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
        columns = (*key, *LaneCost._fields, "is_known")
        keys = ", ".join(key)
        types = ("bigint", *["text"] * (len(key) - 1), *["float8"] * len(LaneCost._fields), "bool")
        new = f"unnest({', '.join(f'%b::{each}[]' for each in types)}) AS new ({', '.join(columns)})"
        of_new = {"table": name, "greatest": "GREATEST", "least": "LEAST"} | {each: f"new.{each}" for each in columns}
        of_parameters = {"table": name, "greatest": "max", "least": "min"} | {
            each: f"?{place}" for place, each in enumerate(columns[:-1], 1)
        }
        inserted = f"{name} ({keys}, virtual_time, virtual_start, mean_seconds)"
        values = f"{', '.join(of_parameters[each] for each in key)}, {_VALUES.format(**of_parameters)}"
        self._sqlite = (
            f"INSERT INTO {inserted} VALUES ({values}) "
            f"ON CONFLICT ({keys}) DO UPDATE SET {_SETS.format(**of_parameters)}"
        )
        own = ", ".join(f"{name}.{each}" for each in key)
        order = ", ".join(str(place) for place in range(1, len(key) + 1))
        same = " AND ".join(f"{name}.{each} = new.{each}" for each in key)
        self._postgresql = (
            f"WITH new AS MATERIALIZED (SELECT * FROM {new}), free AS MATERIALIZED (SELECT {own} "
            f"FROM new JOIN {name} USING ({keys}) ORDER BY {order} FOR NO KEY UPDATE OF {name} SKIP LOCKED), "
            f"changed AS (UPDATE {name} SET {_SETS.format(**of_new)} FROM new JOIN free USING ({keys}) WHERE {same} "
            f"RETURNING {own}), "
            f"added AS (INSERT INTO {inserted} SELECT {', '.join(f'new.{each}' for each in key)}, "
            f"{_VALUES.format(**of_new)} FROM new LEFT JOIN free USING ({keys}) "
            f"WHERE NOT new.is_known AND free.provider_id IS NULL ON CONFLICT DO NOTHING RETURNING {keys}) "
            f"SELECT {keys} FROM changed UNION ALL SELECT {keys} FROM added"
        )

    def write(
        self, connection: Connection, costs: Sequence[tuple[Lane, LaneCost]], known: Collection[Lane]
    ) -> Callable[[], set[Lane]]:
        """Write costs; the answer is the lanes that were written. Lanes of `known` have rows."""
        rows: list[tuple[Any, ...]] = [(*lane[: self._size], *cost) for lane, cost in costs]
        if connection.dialect.name == "sqlite":
            sqlite_driver.execute(connection, self._sqlite, *rows)
            return lambda: {lane for lane, _ in costs}
        columns = [*map(list, zip(*rows, strict=True)), [lane in known for lane, _ in costs]]
        answer = postgresql_pipeline.ask(connection, self._postgresql, columns)
        return lambda: {Lane(*row) for row in answer()}


_LANES: Final = _LaneTable("lanes", ("provider_id", "owner"))
_MEMBER_LANES: Final = _LaneTable("member_lanes", ("provider_id", "owner", "member"))


def write(
    connection: Connection, costs: Iterable[tuple[Lane, LaneCost]], known: Collection[Lane]
) -> Callable[[], set[Lane]]:
    """Write the costs of lanes.

    Args:
        connection: the connection of a transaction.
        costs: each lane once.
        known: the lanes of which it is known that they have rows.

    Returns:
        A function that returns the lanes that were written: the others are locked by another server. It waits for the
        answer of the database; after the commit, the answer is there.
    """
    # In the same order on each server.
    ordered = sorted(costs, key=lambda each: each[0])
    answers = [
        table.write(connection, own, known)
        for table, own in (
            (_LANES, [each for each in ordered if not each[0].member]),
            (_MEMBER_LANES, [each for each in ordered if each[0].member]),
        )
        if own
    ]
    return lambda: {lane for answer in answers for lane in answer()}
