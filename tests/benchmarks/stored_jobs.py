# SPDX-License-Identifier: Apache-2.0
"""Fill a database with millions of jobs, inside the database: copies of a real job with other owners, times and states.

One owner has half of the jobs, and a thousand others have the rest. A fixed number of jobs waits, so that only the
number of stored jobs grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, select, text

from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED, SUCCEEDED
from qonduit_server.store import catalogue, schema
from qonduit_server.store.database import Database
from qonduit_server.store.engines import make_engine, parse_url
from tests.store_fixture import claim, description, submit, succeed

#: The owner of half of the jobs.
HEAVY: Final = "heavy"
#: One of the others.
LIGHT: Final = "user7"
_OTHERS: Final = 1000
#: The jobs that wait, at most a tenth of all.
_WAITING: Final = 1000
#: 2026-01-01, in microseconds since 1970. One job each second is created.
BEGIN: Final = 1_767_225_600_000_000
SECOND: Final = 1_000_000
#: Jobs of one deployment.
_SHARED: Final = 10
_TABLES: Final = (
    *(schema.jobs, schema.job_labels, schema.events, schema.results, schema.deployments, schema.deployment_labels),
    schema.programs,
)


def fill(url: str, db: Database, count: int) -> None:
    """Add jobs until a database has this number of them, with their events, results, labels and deployments.

    Args:
        url: of the database.
        db: the same, open.
        count: the number of jobs.
    """
    with db.read() as connection:
        present = int(connection.execute(select(func.max(schema.jobs.c.id))).scalar() or 0)
    if not present:
        catalogue.sync(db, [description(devices=("aer_simulator", "other"))])
        device = catalogue.device_by_name(db, "IBM/aer_simulator")
        submit(db, caller=LIGHT, name="bell 1", labels={"batch": "1"}, device=device)
        succeed(db, claim(db, capacity=1))
        present = 1
    if present >= count:
        return
    engine = make_engine(parse_url(url))
    with engine.connect() as connection:
        if db.kind == "postgresql":
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("SET maintenance_work_mem = '512MB'")
        else:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
            connection.exec_driver_sql("PRAGMA cache_size=-524288")
        indexes = [index for table in _TABLES for index in table.indexes if count - present > 10_000]
        for index in indexes:
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index.name}")
        _add(connection, present + 1, count)
        for index in indexes:
            index.create(connection)
        _finish(connection, db.kind)
    engine.dispose()


def _add(connection: Connection, first: int, last: int) -> None:
    waiting = last - min(_WAITING, last // 10)
    state = f"CASE WHEN n > {waiting} THEN {QUEUED} WHEN n % 50 = 0 THEN {FAILED} WHEN n % 97 = 0 THEN {CANCELLED} "
    state += f"ELSE {SUCCEEDED} END"
    owner = f"CASE WHEN n % 2 = 0 THEN '{HEAVY}' ELSE 'user' || ((n / 2) % {_OTHERS}) END"
    created = f"{BEGIN} + n * {SECOND}"
    ended = f"CASE WHEN n > {waiting} THEN NULL ELSE {BEGIN} + n * {SECOND} + (n % 7) * {SECOND} END"
    # An earlier size of the database had its own waiting jobs; they have ended.
    connection.exec_driver_sql(
        f"UPDATE jobs SET state = {SUCCEEDED}, finished_at = created_at, started_at = created_at WHERE state = {QUEUED}"
    )
    copies: dict[Table, dict[str, str]] = {
        schema.deployments: {
            "id": "n",
            "caller": owner,
            "name": "CASE WHEN n % 3 = 0 THEN 'deployment ' || (n % 1000) END",
            "deployed_at": f"{BEGIN} + n * {_SHARED * SECOND}",
            "request_id": "NULL",
        },
        schema.programs: {"id": "n", "deployment_id": "n"},
        schema.jobs: {
            "id": "n",
            "caller": owner,
            "request_id": "'request ' || n",
            "device_id": "1 + (n / 3) % 2",
            "deployment_id": f"1 + n / {_SHARED}",
            "name": "CASE WHEN n % 3 = 0 THEN 'bell ' || (n % 1000) END",
            "created_at": created,
            "state": state,
            "started_at": ended,
            "finished_at": ended,
        },
        schema.job_labels: {
            "job_id": "n",
            "key": "'batch'",
            "value": "'' || (n / 1000)",
            "caller": owner,
            "created_at": created,
        },
        schema.events: {"job_id": "n"},
        schema.results: {"id": "n", "job_id": "n"},
    }
    for table, values in copies.items():
        from_, to = first, last
        if table in (schema.deployments, schema.programs):
            from_, to = first // _SHARED + 2, last // _SHARED + 1
        condition = "WHERE n % 2 = 0" if table is schema.job_labels else f"WHERE n <= {waiting}"
        _copy(connection, table, values, from_, to, "" if table is schema.jobs else condition)


def _copy(connection: Connection, table: Table, values: dict[str, str], first: int, last: int, where: str) -> None:
    """Copy the rows of the first job with other values, one copy for each number n of a range."""
    if first > last:
        return
    names = [column.name for column in table.columns]
    chosen = ", ".join(values.get(name, f"t.{name}") for name in names)
    (key, *_) = table.primary_key
    if connection.dialect.name == "sqlite":
        numbers = f"WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) "
        source = "s"
    else:
        numbers, source = "", f"generate_series(CAST({first} AS bigint), {last}) AS s(n)"
    # The template's rows once: the copies of this statement have its key too.
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE template AS SELECT * FROM {table.name} WHERE {key.name} = 1")
    connection.execute(
        text(
            f"INSERT INTO {table.name} ({', '.join(names)}) {numbers}SELECT {chosen} FROM {source}, template t {where}"
        )
    )
    connection.exec_driver_sql("DROP TABLE template")


def _finish(connection: Connection, kind: str) -> None:
    """Advance the sequences of ids and update the statistics of the planner; on SQLite, empty the log."""
    if kind == "sqlite":
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    for table in (schema.jobs, schema.results, schema.deployments, schema.programs):
        highest = f"(SELECT max(id) FROM {table.name})"
        connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {highest})")
    for table in _TABLES:
        connection.exec_driver_sql(f"VACUUM ANALYZE {table.name}")


def sizes(db: Database) -> dict[str, int]:
    """Return the bytes of each table with its indexes on PostgreSQL, or of the file."""
    with db.read() as connection:
        if db.kind == "postgresql":
            rows: Sequence[Any] = connection.exec_driver_sql(
                "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND relname IN "
                f"({', '.join(repr(table.name) for table in _TABLES)})"
            ).all()
            return {name: int(size) for name, size in rows}
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return {"file": int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())}
