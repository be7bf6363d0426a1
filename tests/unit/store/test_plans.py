# SPDX-License-Identifier: Apache-2.0
"""Every statement on growing tables (jobs, events, results, programs, deployments) uses an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, event

from qonduit.v1.job_pb2 import Job
from qonduit.v1.project_pb2 import Project
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_server.store import (
    audit_list,
    catalogue,
    deployment_list,
    deployments,
    event_log,
    pauses,
    projects,
    sqlite_driver,
)
from qonduit_server.store.admin import audit_retention, audit_verification
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import (
    bulk_changes,
    job_list,
    job_rows,
    job_updates,
    queue,
    queue_positions,
    queue_times,
    queue_totals,
    shares,
)
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.pauses import Paused
from qonduit_server.store.results import result_rows
from qonduit_server.store.users import quota_rows
from tests.store_fixture import CALLER, LEASE, claim, deployment, submit, succeed

#: Partial indexes that hold only active jobs: they are meant to be scanned whole.
_SMALL = ("ix_jobs_queued", "ix_jobs_queued_of_member", "ix_jobs_leased", "ix_jobs_active")
_LARGE = ("jobs", "events", "results", "programs", "deployments", "job_labels", "deployment_labels", "audit_entries")

#: The caller and its projects each cost one range of an index.
PROJECTS = frozenset({"projects/lab", "projects/group"})
MEMBER = Visibility(CALLER, PROJECTS)
OPERATOR = Visibility(CALLER, sees_all=True)


def do_everything(db: Database) -> None:
    limits = QuotaValues(queued_jobs=100, running_jobs=100, shots_per_day=10**6, stored_bytes=10**9)
    quota_rows.set_quota(db, CALLER, limits)
    job, other = submit(db, request_id="a", max_queued=10), submit(db, name="x", labels={"a": "b"})
    submit(db, request_id="a")
    succeed(db, claim(db, capacity=1))
    claim(db)
    job_rows.cancel(db, CALLER, other.id)
    queue.cancelling(db, "me")
    queue.renew(db, "me", LEASE)
    queue.expire(db)
    submit(db, expires_at=Timestamp(seconds=5))
    submit(db, not_before=Timestamp(seconds=1 << 33))
    queue_times.apply_due(db)
    (waiting, *_) = job_list.list_page(db, CALLER, filter="state = QUEUED").items
    job_updates.change(db, CALLER, Job(id=waiting.id, priority=1, labels={"c": "d"}))
    shares.list_page(db)
    shares.list_page(db, 1, 1)
    pauses.pause(db, Paused(1, 1), "", "olga")
    queue_times.apply_due(db)
    pauses.running_jobs(db, 1)
    pauses.for_operators(db)
    catalogue.list_devices(db, filter="paused = true")
    pauses.resume(db, Paused(1, 1))
    queue_times.apply_due(db)
    queue_positions.of_jobs(db, [job.id, other.id])
    queue_positions.of_job(db, job.id)
    queue.release(db, "me", {(other.id, 1): None}, "lost")
    catalogue.queue_depth(db, 1)
    catalogue.queue_depths(db)
    queue_totals.totals(db)
    moment = 'created_at < "2020-01-01T00:00:00Z"'
    equals = (
        "state = QUEUED",
        "deployment_id = 1",
        "device = IBM/aer_simulator",
        'name = "x"',
        "label.a = b",
        "id = 1",
    )
    tested = ("shots > 3", "NOT label:a", "name = x* OR label.a = b", "state = QUEUED shots > 3", "label:*")
    for filter in ("", moment, *equals, *tested, *(f"{one} AND {moment}" for one in equals)):
        for order_by in ("", "id", "name", "name desc", "finished_at", "finished_at desc"):
            token = job_list.list_page(db, CALLER, 1, "", filter, order_by).next_page_token
            job_list.list_page(db, CALLER, 1, token, filter, order_by)
    for filter in ("", "state = QUEUED", "label.a = b", "shots > 3", "project = lab"):
        for order_by in ("", "id", "name", "finished_at"):
            token = job_list.list_page(db, MEMBER, 1, "", filter, order_by).next_page_token
            job_list.list_page(db, MEMBER, 1, token, filter, order_by)
        deployment_list.list_page(db, MEMBER)
    job_rows.get(db, PROJECTS | {CALLER}, job.id)
    projects.create(db, CALLER, Project(name="plans"))
    projects.roles_of(db, CALLER)
    projects.list_page(db, CALLER)
    projects.list_page(db, CALLER, sees_all=True)
    projects.list_members(db, CALLER, "plans")
    projects.delete(db, CALLER, "plans")
    projects.create(db, CALLER, Project(name="turns"))
    in_project = submit(db, project="turns", request_id="turn")
    second = submit(db, project="turns")
    queue_positions.of_job(db, in_project.id)
    queue_positions.of_jobs(db, [in_project.id, second.id])
    succeed(db, claim(db))
    for filter in ("owner:*", "owner = x", "owner:* state = QUEUED", "owner:* id = 1", "owner:* shots > 3"):
        for order_by in ("", "id"):
            token = job_list.list_page(db, OPERATOR, 1, "", filter, order_by).next_page_token
            job_list.list_page(db, OPERATOR, 1, token, filter, order_by)
        deployment_list.list_page(db, OPERATOR, filter="owner:*")
    bulk_changes.cancel_matching(db, OPERATOR, "owner:* id = 4711")
    bulk_changes.delete_matching(db, OPERATOR, "owner:* id = 4711")
    bulk_changes.cancel_matching(db, CALLER, "label.a = b")
    bulk_changes.delete_matching(db, CALLER, "shots > 3000")
    job_rows.get(db, CALLER, job.id)
    job_rows.rerun(db, CALLER, job.id)
    (result,) = result_rows.list_page(db, CALLER, job.id).items
    result_rows.get(db, CALLER, result.id)
    quota_rows.get(db, CALLER)
    event_log.read_after(db, job.id, 0, 5)
    event_log.read_after_many(db, [(job.id, 0), (4711, 0)], 5)
    event_log.stale_jobs(db, {job.id: 0, 4711: 0})
    event_log.list_page(db, CALLER, job.id)
    stored = deployments.create(db, CALLER, deployment(), "request")
    deployments.get(db, CALLER, stored.id)
    deployments.update(db, CALLER, stored)
    for filter in ("", 'name = "x"', "id < 5", "label.a = b", "label:a"):
        for order_by in ("", "id", "name"):
            deployment_list.list_page(db, CALLER, filter=filter, order_by=order_by)
    deployments.delete(db, CALLER, stored.id)
    with acting(Act("anna", "JobService/DeleteJob")):
        job_rows.delete(db, CALLER, job.id)
    for filter in ("", "principal = anna", "principal = anna outcome = OK", moment.replace("created_at", "time")):
        token = audit_list.list_page(db, 1, "", filter).next_page_token
        audit_list.list_page(db, 1, token, filter)
    list(audit_list.since(db, 0))
    audit_verification.verify(db)
    audit_retention.erase_oldest(db, 1 << 62)


def test_no_statement_reads_a_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_database(f"sqlite:///{tmp_path}/x.sqlite3")
    seen: dict[str, object] = {}

    @event.listens_for(db._engine, "before_cursor_execute")
    def note(
        connection: object, cursor: object, statement: str, parameters: object, context: object, many: bool
    ) -> None:
        seen.setdefault(statement, parameters[0] if many else parameters)  # type: ignore[index]

    execute = sqlite_driver.execute

    def note_driver(connection: Connection, statement: str, *rows: Sequence[Any]) -> object:
        seen.setdefault(statement, tuple(rows[0]) if rows else ())
        return execute(connection, statement, *rows)

    monkeypatch.setattr(sqlite_driver, "execute", note_driver)
    do_everything(db)
    asked = {one: values for one, values in seen.items() if one.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(asked) > 30
    with db.read() as connection:
        for statement, parameters in asked.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            for step in plan.scalars("detail"):
                words = step.split()
                whole = words[0] == "SCAN" and words[1] in _LARGE and words[-1] not in _SMALL
                assert not whole, f"{step}: {statement}"
                # Those of several owners merge one bounded range for each.
                sorts_few = "json_each" in statement or "UNION ALL" in statement
                assert "TEMP B-TREE FOR ORDER BY" not in step or sorts_few, statement
    db.close()
