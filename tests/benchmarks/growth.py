# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.benchmarks.growth`: the time of each indexed filter and order, and of the queue, as jobs accumulate.

Fills a SQLite file and a PostgreSQL database with more and more jobs, and prints a Markdown table. Times are the
shortest of repeated calls of the store, with warm caches. Ten million jobs need 11 GB of disk on SQLite and 15 GB on
PostgreSQL.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from qonduit_server.store import audit_list, deployment_list, event_log
from qonduit_server.store.admin import retention
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows, queue, queue_positions, queue_totals
from qonduit_server.store.results import result_rows
from qonduit_server.store.users import usage_rows
from tests.benchmarks.stored_jobs import BEGIN, HEAVY, LIGHT, SECOND, fill, sizes
from tests.postgresql import PostgresqlServer, find_binaries
from tests.store_fixture import LEASE

_CALLS: Final = 15
#: As an operator runs it.
_POSTGRESQL: Final = ("shared_buffers=256MB", "max_wal_size=4GB", "max_connections=200")
#: Free bytes of disk that a job needs, while it is loaded.
_BYTES_A_JOB: Final = 2500
#: The lists of docs/filters.md: filter and order.
LISTS: Final = (
    ("", ""),
    ("created_at < {middle}", ""),
    ("id = {id}", ""),
    ("state = FAILED", ""),
    ("device = IBM/other", ""),
    ("deployment_id = {deployment}", ""),
    ('name = "bell 30"', ""),
    ("label.batch = {batch}", ""),
    ("", "finished_at desc"),
    ("finished_at > {middle}", "finished_at"),
    ("", "name"),
    ('name = "bell 30"', "name"),
)
#: The same for the jobs of all owners.
LISTS_OF_ALL: Final = (
    ("owner:*", ""),
    ("owner:* created_at < {middle}", ""),
    ("owner:* state = QUEUED", ""),
    ("owner:* id = {id}", ""),
    ("owner:*", "id"),
)


def calls(db: Database, count: int) -> Mapping[str, Callable[[], object]]:
    """Return the calls to measure, by their names, on a database of this number of jobs."""
    middle = datetime.fromtimestamp((BEGIN + count // 2 * SECOND) / 1_000_000, UTC).isoformat()
    some = count // 2 // 2 * 2
    values = {"middle": middle, "id": some, "deployment": 1 + some // 10, "batch": some // 1000}
    found: dict[str, Callable[[], object]] = {}
    for filter, order_by in LISTS:
        text = filter.format(**values)
        for caller in (HEAVY, LIGHT):
            name = f"{filter or 'all'} | {order_by or 'created_at desc'} | {caller}"
            found[name] = lambda text=text, order=order_by, caller=caller: job_list.list_page(  # type: ignore[misc]
                db, caller, 50, "", text, order
            )
    for filter, order_by in LISTS_OF_ALL:
        text = filter.format(**values)
        found[f"{filter} | {order_by or 'created_at desc'} | all"] = lambda text=text, order=order_by: (
            job_list.list_page(  # type: ignore[misc]
                db, HEAVY, 50, "", text, order, sees_all=True
            )
        )
    young = int((datetime.fromtimestamp(BEGIN / 1_000_000, UTC) - timedelta(days=1)).timestamp() * 1_000_000)
    found |= {
        "deployments": lambda: deployment_list.list_page(db, HEAVY),
        "GetJob": lambda: job_rows.get(db, frozenset({HEAVY}), some),
        "events of a job": lambda: event_log.list_page(db, HEAVY, some),
        "results of a job": lambda: result_rows.list_page(db, frozenset({HEAVY}), some),
        "place in the queue": lambda: queue_positions.of_job(db, count),
        "jobs by state": lambda: queue_totals.totals(db),
        "usage": lambda: usage_rows.list_page(db, HEAVY),
        "audit log": lambda: audit_list.list_page(db),
        "sweep of retention, nothing old": lambda: retention.sweep(db, young, threading.Event()),
        "claim of 16": lambda: _claim(db),
    }
    return found


def _claim(db: Database) -> None:
    tasks = queue.claim(db, "me", {"IBM": 16}, LEASE)
    queue.release(db, "me", {(task.job_id, task.attempt): None for task in tasks}, "measured")


def measure(db: Database, count: int) -> dict[str, float]:
    """Return the shortest time of each call in seconds: other load of the machine only adds to it."""
    times: dict[str, float] = {}
    for name, call in calls(db, count).items():
        call()
        taken = []
        for _ in range(_CALLS):
            begun = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begun)
        times[name] = min(taken)
    return times


def table(measured: Mapping[int, Mapping[str, float]]) -> str:
    """Return a Markdown table of milliseconds: a line for each call, a column for each number of jobs."""
    counts = sorted(measured)
    names = measured[counts[0]]
    lines = [f"| call | {' | '.join(f'{count:,}' for count in counts)} |", f"|---{'|---' * len(counts)}|"]
    for name in names:
        cells = " | ".join(f"{measured[count][name] * 1000:.1f}" for count in counts)
        lines.append(f"| {name.replace(' | ', ', ')} | {cells} |")
    return "\n".join(lines)


def _grow(url: str, counts: list[int]) -> dict[int, dict[str, float]]:
    measured: dict[int, dict[str, float]] = {}
    for count in counts:
        db = open_database(url)
        begun = time.monotonic()
        fill(url, db, count)
        print(f"{db.kind}: {count:,} jobs, {time.monotonic() - begun:.0f} s, {_sizes(db)}", flush=True)
        measured[count] = measure(db, count)
        db.close()
    return measured


def _sizes(db: Database) -> str:
    return ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in sizes(db).items())


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1_000_000, 10_000_000])
    parser.add_argument("--kind", choices=["sqlite", "postgresql"], nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--database", help="Measure an existing database that this program filled, with --jobs of it.")
    options: Any = parser.parse_args()
    if options.database:
        print(table(_grow(options.database, sorted(options.jobs))))
        return
    for kind in options.kind:
        with tempfile.TemporaryDirectory(prefix="qonduit-growth") as folder:
            free, needed = shutil.disk_usage(folder).free, max(options.jobs) * _BYTES_A_JOB
            if free < needed:
                raise SystemExit(f"{max(options.jobs):,} jobs need {needed:,} bytes in {folder}, {free:,} are free")
            if kind == "sqlite":
                print(table(_grow(f"sqlite:///{Path(folder) / 'growth.sqlite3'}", sorted(options.jobs))))
                continue
            if (binaries := find_binaries()) is None:
                raise SystemExit("there is no PostgreSQL (initdb)")
            server = PostgresqlServer(binaries, tempfile.gettempdir(), _POSTGRESQL)
            try:
                print(table(_grow(server.url(server.new_database()), sorted(options.jobs))))
            finally:
                server.close()


if __name__ == "__main__":
    main()
