# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.benchmarks.job_writes`: the rows and bytes that a small job writes, on each database.

Jobs are created one by one, claimed 16 at a time, and recorded to their end, as an idle server does. Rows and bytes are
counted by the databases, so the load of the machine changes nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event

from qonduit_server.store.database import Database, open_database
from tests.postgresql import PostgresqlServer, running
from tests.store_fixture import claim, known_device, submit, succeed

_JOBS: Final = 480
_CLAIMED: Final = 16
_ROWS: Final = (
    "SELECT sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint, sum(n_tup_del)::bigint "
    "FROM pg_stat_user_tables"
)


def run_jobs(db: Database, count: int) -> None:
    """Run jobs of several owners to their end."""
    done = 0
    while done < count:
        for number in range(_CLAIMED):
            submit(db, caller=f"user{number % 4}")
        while tasks := claim(db, capacity=_CLAIMED):
            succeed(db, tasks)
            done += len(tasks)


def _keep_log(connection: Any, record: object) -> None:
    # The log keeps all that is written.
    connection.execute("PRAGMA wal_autocheckpoint=0")


def on_sqlite(folder: Path) -> str:
    """Return a line for SQLite."""
    path = folder / "writes.sqlite3"
    event.listen(Engine, "connect", _keep_log)
    db = open_database(f"sqlite:///{path}")
    log = folder / "writes.sqlite3-wal"
    known_device(db)
    with db.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        before = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    run_jobs(db, _JOBS)
    written = log.stat().st_size
    with db.read() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one()) - before
        size = pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    db.close()
    event.remove(Engine, "connect", _keep_log)
    return f"SQLite: {size / _JOBS:,.0f} bytes stored a job, {written / _JOBS:,.0f} bytes of log"


def on_postgresql(server: PostgresqlServer) -> str:
    """Return a line for PostgreSQL."""
    url = server.url(server.new_database())
    db = open_database(url)
    known_device(db)
    run_jobs(db, _CLAIMED)

    before = _counters(db)
    run_jobs(db, _JOBS)
    db.close()
    # The statistics of sessions are complete when they have ended.
    db = open_database(url)
    wal, size, inserted, updated, hot, deleted = (
        (after - earlier) / _JOBS for after, earlier in zip(_counters(db), before, strict=True)
    )
    db.close()
    return (
        f"PostgreSQL: {size:,.0f} bytes stored a job, {wal:,.0f} bytes of log, {inserted:.1f} rows inserted, "
        f"{updated:.1f} updated ({hot:.1f} without a new index entry), {deleted:.1f} deleted"
    )


def _counters(db: Database) -> tuple[int, ...]:
    with db.read() as connection:
        connection.exec_driver_sql("CHECKPOINT")
        position = connection.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'").scalar_one()
        size = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
        return (int(position), int(size), *map(int, connection.exec_driver_sql(_ROWS).one()))


def main() -> None:
    """Print a line for each database."""
    with tempfile.TemporaryDirectory() as folder:
        print(on_sqlite(Path(folder)))
    with running() as server:
        print(on_postgresql(server))


if __name__ == "__main__":
    main()
