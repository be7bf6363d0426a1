# SPDX-License-Identifier: Apache-2.0
"""Polls, reads and cancellations of a part that the vendor has, with a real ledger."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_TOKEN,
    VENDOR_ERROR_KIND_REFUSED,
    VENDOR_JOB_STATE_FAILED,
    NativeCircuit,
    Submission,
    VendorJob,
    VendorOutcome,
    VendorReply,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.execution.remote.remote_jobs import Agenda, Line, Part, RemoteJob, RemoteJobs
from qonduit_server.execution.remote.terms import with_defaults
from qonduit_server.execution.remote.vendor_processes import Account
from qonduit_server.execution.remote.vendor_work import VendorWork, wrong_results
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, submissions
from qonduit_server.store.jobs.submission_entries import Change, Entry, State
from tests.sqlite_template import new_sqlite
from tests.store_fixture import Clock
from tests.unit.execution.scripted_vendor import ScriptedProcesses, plan

TERMS = with_defaults(VendorTerms())


class Scene:
    """Jobs of one account, and what polls them."""

    def __init__(self, folder: Path) -> None:
        clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.db = open_database(new_sqlite(folder / "q.sqlite3"), clock=clock)
        self.processes = ScriptedProcesses(clock)
        self.jobs, self.agenda = RemoteJobs(), Agenda(time.monotonic)
        self.work = VendorWork(
            self.db,
            self.processes,
            self.jobs,
            self.agenda,
            lambda _: TERMS,
            on_done=lambda _: None,
            on_failure=lambda *_: None,
        )

    def add(self, *, sent: bool = True) -> Part:
        """Return a part, which the vendor has if it is `sent`."""
        holder = plan(self.db, IDEMPOTENCY_CLIENT_TOKEN)
        job = RemoteJob(holder, "d", Account("IBM", "token"))
        self.jobs.add([job], lambda _: TERMS)
        part = job.parts[0, 0] = Part(job, 0, 0)
        if sent:
            part.vendor_id = f"v-{holder.job_id}"
            found = VendorJob(vendor_id=part.vendor_id)
            assert submissions.change(self.db, Change(holder=holder, stage=0, part=0, state=State.SUBMITTED, job=found))
        return part

    def line(self, part: Part) -> Line:
        return self.jobs.line(part.job.account, lambda _: TERMS)

    def entry(self, part: Part) -> Entry:
        (entry,) = submissions.read(self.db, [part.job.holder.job_id])[part.job.holder.job_id]
        return entry

    def poll(self, *parts: Part) -> None:
        """Poll parts with one call."""
        for part in parts:
            self.jobs.push_poll(self.line(part), 0.0, part)
        self.work.poll(self.line(parts[0]))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.db.close()


@pytest.mark.parametrize("call", [VendorWork.cancel, VendorWork.fetch])
def test_no_call_is_made_while_the_vendor_asks_to_wait(scene: Scene, call: Callable[[VendorWork, Part], None]) -> None:
    part = scene.add()
    scene.line(part).pause.failed(time.monotonic(), 3600, random.Random(1))
    call(scene.work, part)
    assert scene.processes.calls == []


@pytest.mark.parametrize("answered", [slice(1, None), slice(None, None, -1)], ids=["one is missing", "another order"])
def test_a_job_does_not_end_by_the_state_of_another_one(scene: Scene, answered: slice) -> None:
    parts = [scene.add(), scene.add()]
    states = [VendorJob(vendor_id=part.vendor_id, state=VENDOR_JOB_STATE_FAILED) for part in parts]
    scene.processes.answers = [VendorReply(jobs=states[answered])]
    scene.poll(*parts)
    assert [scene.entry(part).state for part in parts] == [State.SUBMITTED, State.SUBMITTED]


def test_an_id_that_the_vendor_refuses_keeps_no_other_job_from_its_poll(scene: Scene) -> None:
    parts = [scene.add() for _ in range(4)]
    refused = VendorReply(error=VendorReply.Error(kind=VENDOR_ERROR_KIND_REFUSED, message="bad id"))
    states = [VendorJob(vendor_id=part.vendor_id, word="running") for part in parts]
    # All, the first half, its two ids, and the other half.
    scene.processes.answers = [
        *(refused, refused, VendorReply(jobs=states[:1]), refused),
        VendorReply(jobs=states[2:]),
    ]
    scene.poll(*parts)
    assert [scene.entry(part).status.word for part in parts] == ["running", "", "running", "running"]
    assert scene.line(parts[0]).pause.until == 0
    assert "bad id" in job_rows.get(scene.db, None, parts[1].job.holder.job_id).provider_status.message
    assert all(part.polled for part in parts)


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ([], "0 results of 1"),
        ([VendorOutcome(keys=[b"0"], counts=[11])], "11 shots of 10"),
        ([VendorOutcome()], "0 shots of 10"),
        ([VendorOutcome(keys=[b"0"], counts=[5, 5])], "2 counts of 1 outcomes"),
        ([VendorOutcome(keys=[b"0", b"1"], counts=[11, -1])], "none may be negative"),
        ([VendorOutcome(keys=[b"0"], counts=[9])], ""),
        ([VendorOutcome(failure=Failure(reason="E"))], ""),
    ],
)
def test_results_are_compared_with_their_submission(outcomes: list[VendorOutcome], why: str) -> None:
    found = wrong_results(Submission(circuits=[NativeCircuit(text="h")], shots=10), outcomes)
    assert why in found
    assert bool(found) == bool(why)


def test_a_submission_that_begins_during_a_cancellation_does_not_stop_its_job(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = scene.add(sent=False)
    part.job.cancelled = True
    begins = Change(holder=part.job.holder, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=7))
    change = submissions.change

    def change_late(db: Database, changed: Change) -> bool:
        """Change the ledger after the thread that submits the part has done so."""
        if changed.state == State.DONE:
            assert change(db, begins)
        return change(db, changed)

    monkeypatch.setattr(submissions, "change", change_late)
    scene.work.cancel_job(part.job)
    step = scene.agenda.take()
    assert step is not None
    step.run()
    assert scene.entry(part).state == State.SUBMITTING
    assert not part.job.stopped  # else the results of a vendor that refuses the cancellation would be lost
