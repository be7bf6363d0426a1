# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.benchmarks.growth`: the time of each indexed filter and order, and of the queue, as jobs accumulate.

Fills a SQLite file and a PostgreSQL database with more and more jobs, and prints a Markdown table. Times are the
shortest of repeated calls of the store, with warm caches. Ten million jobs need 11 GB of disk on SQLite and 18 GB on
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
from functools import partial
from pathlib import Path
from typing import Any, Final

from qonduit.v1.job_pb2 import Job
from qonduit_server.store import audit_list, deployment_list, event_log
from qonduit_server.store.admin import retention
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows, queue, queue_positions, queue_totals
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.paging import Page
from qonduit_server.store.results import result_rows
from qonduit_server.store.users import usage_rows
from tests.benchmarks.stored_jobs import BEGIN, HEAVY, LIGHT, SECOND, fill, sizes
from tests.postgresql import running
from tests.store_fixture import LEASE

_CALLS: Final = 15
_CLAIM: Final = "claim of 16"
#: Free bytes of disk that a job needs, while it is loaded.
_BYTES_A_JOB: Final = 2500
#: The index that the database makes for the ids of jobs.
PRIMARY_KEY: Final = "primary key"
#: The lists of docs/filters.md: filter, order, and the index.
LISTS: Final = (
    ("", "", "ix_jobs_caller_created_at"),
    ("created_at < {middle}", "", "ix_jobs_caller_created_at"),
    ("id = {id}", "", PRIMARY_KEY),
    ("state = FAILED", "", "ix_jobs_caller_state"),
    ("device = IBM/other", "", "ix_jobs_caller_device_id"),
    ("deployment_id = {deployment}", "", "ix_jobs_deployment_id"),
    ('name = "bell 30"', "", "ix_jobs_caller_name"),
    ("label.batch = {batch}", "", "ix_job_labels_caller_key_value"),
    ("", "finished_at desc", "ix_jobs_caller_finished_at"),
    ("finished_at > {middle}", "finished_at", "ix_jobs_caller_finished_at"),
    ("", "name", "ix_jobs_caller_name"),
    ('name = "bell 30"', "name", "ix_jobs_caller_name"),
)
#: The same for the jobs of all owners.
LISTS_OF_ALL: Final = (
    ("owner:*", "", "ix_jobs_created_at"),
    ("owner:* created_at < {middle}", "", "ix_jobs_created_at"),
    ("owner:* state = QUEUED", "", "ix_jobs_active_state"),
    ("owner:* id = {id}", "", PRIMARY_KEY),
    ("owner:*", "id", PRIMARY_KEY),
)


def lists(db: Database, count: int) -> Mapping[tuple[str, str, str], Callable[..., Page[Job]]]:
    """Return the lists of a database of this number of jobs, by filter, order and owner; each takes a page token."""
    middle = datetime.fromtimestamp((BEGIN + count // 2 * SECOND) / 1_000_000, UTC).isoformat()
    some = count // 2 // 2 * 2
    values = {"middle": middle, "id": some, "deployment": 1 + some // 10, "batch": some // 1000}
    found: dict[tuple[str, str, str], Callable[..., Page[Job]]] = {}
    for filter, order_by, _ in LISTS:
        for caller in (HEAVY, LIGHT):
            found[filter, order_by, caller] = partial(_page, db, caller, filter.format(**values), order_by)
    for filter, order_by, _ in LISTS_OF_ALL:
        found[filter, order_by, "all"] = partial(_page, db, HEAVY, filter.format(**values), order_by, sees_all=True)
    return found


def _page(
    db: Database, caller: str, filter: str, order_by: str, token: str = "", *, sees_all: bool = False
) -> Page[Job]:
    return job_list.list_page(db, Visibility(caller, sees_all=sees_all), 50, token, filter, order_by)


def calls(db: Database, count: int) -> Mapping[str, Callable[[], object]]:
    """Return the calls to measure, by their names, on a database of this number of jobs."""
    some = count // 2 // 2 * 2
    found: dict[str, Callable[[], object]] = {
        f"{filter or 'all'} | {order_by or 'created_at desc'} | {owner}": call
        for (filter, order_by, owner), call in lists(db, count).items()
    }
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
        _CLAIM: lambda: queue.claim(db, "me", {"IBM": 16}, LEASE),
    }
    return found


def measure(db: Database, count: int) -> dict[str, float]:
    """Return the shortest time of each call in seconds: other load of the machine only adds to it."""
    times: dict[str, float] = {}
    for name, call in calls(db, count).items():
        taken = []
        for _ in range(_CALLS):
            begun = time.perf_counter()
            tasks = call()
            taken.append(time.perf_counter() - begun)
            if name == _CLAIM:
                queue.release(db, "me", {(task.job_id, task.attempt): None for task in tasks}, "measured")  # type: ignore[attr-defined]
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
            # As an operator runs it.
            settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "fsync": "on"}
            with running(tempfile.gettempdir(), **settings) as server:
                print(table(_grow(server.url(server.new_database()), sorted(options.jobs))))


if __name__ == "__main__":
    main()
