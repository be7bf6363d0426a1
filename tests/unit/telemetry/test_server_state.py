# SPDX-License-Identifier: Apache-2.0
"""The state of a server is read when it is collected; the jobs of the database are counted seldom."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from sqlalchemy import event

from qonduit.v1.system_service_pb2 import Worker, WorkerState
from qonduit_server.store.database import Database
from qonduit_server.store.database_health import Part
from qonduit_server.telemetry.bounded_labels import BoundedLabels
from qonduit_server.telemetry.server_state import ServerState, StateCollector
from tests.store_fixture import claim, submit

BUSY, IDLE = WorkerState.WORKER_STATE_BUSY, WorkerState.WORKER_STATE_IDLE


def collector(
    db: Database, clock: Callable[[], float] = lambda: 0.0, devices: int = 10, lag: float | None = None
) -> CollectorRegistry:
    workers = [
        Worker(provider="IBM", state=BUSY, memory_bytes=10),
        Worker(provider="IBM", state=BUSY, memory_bytes=20),
        Worker(provider="AWS", state=IDLE, memory_bytes=5),
    ]
    state = ServerState(
        version="1.2.3",
        database=db,
        workers=lambda: workers,
        running=lambda: 2,
        streams={"jobs": lambda: 7},
        limits={"workers": lambda: 4},
        lag=lambda: lag,
    )
    registry = CollectorRegistry()
    registry.register(StateCollector(state, BoundedLabels(devices), clock))
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"qonduit_{name}", labels)


def test_workers_streams_and_limits_are_those_of_the_server(db: Database) -> None:
    registry = collector(db)
    assert value(registry, "server_info", version="1.2.3") == 1
    assert value(registry, "workers", provider="IBM", state="busy") == 2
    assert value(registry, "workers", provider="AWS", state="idle") == 1
    assert value(registry, "worker_memory_bytes", provider="IBM") == 30
    assert value(registry, "streams", kind="jobs") == 7
    assert value(registry, "running_jobs") == 2
    assert value(registry, "limit", setting="workers") == 4


def test_the_lag_of_the_engine_has_a_value_if_other_machines_run_tasks(db: Database) -> None:
    assert value(collector(db), "engine_lag_seconds") is None
    assert value(collector(db, lag=2.5), "engine_lag_seconds") == 2.5


def test_jobs_of_the_database_are_counted_by_state_and_device(db: Database) -> None:
    for _ in range(3):
        submit(db)
    claim(db, capacity=1)
    registry = collector(db)
    assert value(registry, "jobs", state="queued") == 2
    assert value(registry, "jobs", state="running") == 1
    assert value(registry, "jobs", state="cancelling") == 0
    assert value(registry, "device_jobs", device="IBM/aer_simulator") == 3
    oldest = value(registry, "oldest_queued_seconds")
    assert oldest is not None
    assert 0 < oldest < 60
    # With a bound of labels, devices share one.
    assert value(collector(db, devices=0), "device_jobs", device="other") == 3


def test_the_database_is_not_queried_by_each_scrape(db: Database) -> None:
    statements: list[str] = []
    event.listen(db._engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    now = [0.0]
    registry = collector(db, lambda: now[0])
    for _ in range(20):
        assert value(registry, "jobs", state="queued") == 0
    assert 0 < len(statements) <= 9  # the catalogue is read once as well
    submit(db)
    statements.clear()
    now[0] = 9.9
    assert value(registry, "jobs", state="queued") == 0
    assert statements == []
    now[0] = 10.0
    assert value(registry, "jobs", state="queued") == 1


def test_without_the_database_its_jobs_have_no_value(db: Database) -> None:
    registry = collector(db)
    assert value(registry, "database_available") == 1
    db.health.mark_unavailable(Part.DATABASE, RuntimeError("gone"))
    with db.health._trying:  # another caller is trying
        fresh = collector(db)
        assert value(fresh, "jobs", state="queued") is None
        assert value(fresh, "oldest_queued_seconds") is None
        assert value(fresh, "database_available") == 0
        assert value(fresh, "running_jobs") == 2
    db.health.mark_available(Part.DATABASE)
    assert value(collector(db), "jobs", state="queued") == 0
