# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: the totals of jobs that have not ended."""

from __future__ import annotations

import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from qonduit_server.lifecycle import CANCELLING, QUEUED, RUNNING
from qonduit_server.store import catalogue, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows, queue_times, queue_totals
from qonduit_server.store.pauses import Paused
from qonduit_server.store.schema import IS_QUEUED
from tests.store_fixture import CALLER, claim, description, submit, succeed


def age(db: Database, job_id: int, seconds: int) -> None:
    with db._engine.begin() as connection:
        shift = seconds * 1_000_000
        connection.execute(text(f"UPDATE jobs SET created_at = created_at - {shift} WHERE id = {job_id}"))


def test_ended_jobs_do_not_count(db: Database) -> None:
    for _ in range(4):
        submit(db)
    first, second = claim(db, capacity=2)
    succeed(db, [first])
    job_rows.cancel(db, CALLER, second.job_id)
    found = queue_totals.totals(db)
    assert found.states == {QUEUED: 2, RUNNING: 0, CANCELLING: 1}
    assert found.devices == {"IBM/aer_simulator": 3}


def test_an_empty_database_has_no_oldest_job(db: Database) -> None:
    found = queue_totals.totals(db)
    assert found == ({QUEUED: 0, RUNNING: 0, CANCELLING: 0}, {}, 0.0)


def test_the_oldest_job_is_one_that_could_start(db: Database) -> None:
    catalogue.sync(db, [description(devices=("aer_simulator", "two"))])
    paused, device = catalogue.device_by_name(db, "IBM/two"), catalogue.device_by_name(db, "IBM/aer_simulator")
    age(db, submit(db, not_before=Timestamp(seconds=1 << 33)).id, 3000)
    age(db, submit(db, device=paused).id, 2000)
    pauses.pause(db, Paused(paused.provider_id, paused.id), "", "olga")
    while queue_times.apply_due(db) < 1:
        pass
    age(db, submit(db, device=device).id, 1000)
    assert queue_totals.totals(db).oldest_seconds == pytest.approx(1000, abs=100)
    claim(db)
    assert queue_totals.totals(db).oldest_seconds == 0


def test_a_count_ends_at_its_bound_and_waiting_jobs_do_not_hide_running_ones(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        submit(db)
    claim(db, capacity=1)
    monkeypatch.setattr(queue_totals, "MOST_COUNTED", 3)
    monkeypatch.setattr(queue_totals, "_QUEUED", queue_totals._count(IS_QUEUED))
    found = queue_totals.totals(db)
    assert found.states == {QUEUED: 3, RUNNING: 1, CANCELLING: 0}
    assert found.devices == {"IBM/aer_simulator": 4}


def test_jobs_are_counted_without_a_sort_of_more_than_are_counted(db: Database) -> None:
    submit(db)
    for statement in (queue_totals._QUEUED, queue_totals._LEASED):
        sql = statement.compile(db._engine, compile_kwargs={"literal_binds": True}).string
        with db._engine.connect() as connection:
            if db.kind == "postgresql":
                # A small table is read whole unless that is forbidden.
                connection.exec_driver_sql("SET enable_seqscan = off")
                plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {sql}")]
                assert any(re.search(r"Scan (on|using) ix_jobs_(queued|active|leased)", line) for line in plan), plan
                (limit,) = (number for number, line in enumerate(plan) if "Limit" in line)
                assert not any("Sort" in line for line in plan[limit:]), plan
            else:
                plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
                assert any(re.search(r"INDEX ix_jobs_(queued|active|leased)", line) for line in plan), plan
                assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan
