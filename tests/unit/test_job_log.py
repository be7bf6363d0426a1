# SPDX-License-Identifier: Apache-2.0
"""The log has one line for every step of a job, with its id, and no program."""

from __future__ import annotations

from structlog.testing import capture_logs

from qonduit_server.job_log import JobLog
from qonduit_server.store.database import Database
from tests import store_fixture


def test_every_step_is_logged_once_and_in_order(db: Database) -> None:
    with capture_logs() as lines:
        journal = JobLog(db.notifications)
        job = store_fixture.submit(db)
        tasks = store_fixture.claim(db)
        store_fixture.succeed(db, tasks)
        failing = store_fixture.submit(db)
        (task,) = store_fixture.claim(db)
        store_fixture.queue.record(db, "me", [store_fixture.failed(task), store_fixture.finished(task)])
        journal.close()
    steps = [(line["job_id"], line["before"], line["state"]) for line in lines]
    assert steps == [
        (job.id, "", "QUEUED"),
        (job.id, "QUEUED", "RUNNING"),
        (job.id, "RUNNING", "SUCCEEDED"),
        (failing.id, "", "QUEUED"),
        (failing.id, "QUEUED", "RUNNING"),
        (failing.id, "RUNNING", "FAILED"),
    ]
    assert lines[-1]["reason"] == "SYNTAX_ERROR"
    assert lines[-1]["attempt"] == 1
    assert lines[-1]["seconds"] >= 0
    assert not any("OPENQASM" in str(line) for line in lines)


def test_nothing_is_logged_after_close(db: Database) -> None:
    with capture_logs() as lines:
        JobLog(db.notifications).close()
        store_fixture.submit(db)
    assert lines == []
