# SPDX-License-Identifier: Apache-2.0
"""Submissions whose calls fail, pause or are cancelled, with a real ledger: none is made twice, and none hangs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_TOKEN,
    IDEMPOTENCY_TAG,
    VENDOR_ERROR_KIND_BUSY,
    VENDOR_ERROR_KIND_NOT_SENT,
    VENDOR_ERROR_KIND_REFUSED,
    Idempotency,
    VendorErrorKind,
    VendorJob,
    VendorReply,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.errors import Unavailable
from qonduit_server.execution.remote.part_steps import PartSteps
from qonduit_server.execution.remote.remote_jobs import Agenda, Part, RemoteJob, RemoteJobs, Step
from qonduit_server.execution.remote.submitter import Submitter
from qonduit_server.execution.remote.terms import with_defaults
from qonduit_server.execution.remote.vendor_processes import Account, CallLost, CallNotMade
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import Change, State
from tests.sqlite_template import new_sqlite
from tests.store_fixture import Clock
from tests.unit.execution.scripted_vendor import ScriptedProcesses, plan

SENT = VendorReply(jobs=[VendorJob(vendor_id="v-1")])
BUSY = VendorReply(error=VendorReply.Error(kind=VENDOR_ERROR_KIND_BUSY, message="slow down", retry_after_seconds=3600))


class Scene:
    """One planned part of a leased job, and what submits it."""

    def __init__(self, folder: Path, idempotency: Idempotency) -> None:
        self.clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.db = open_database(new_sqlite(folder / "q.sqlite3"), clock=self.clock)
        holder = plan(self.db, idempotency)
        self.processes = ScriptedProcesses(self.clock)
        self.agenda, jobs = Agenda(self.seconds), RemoteJobs()
        self.agenda.limit("IBM", 9)
        self.job = RemoteJob(holder, "d", Account("IBM", "token"))
        terms = with_defaults(VendorTerms(submit_seconds=100, grace_seconds=20, recovery_seconds=600))
        jobs.add([self.job], lambda _: terms)
        self.part = Part(self.job, 0, 0)
        self.failures: list[Failure] = []
        self.unsent: list[Part] = []
        self.steps = PartSteps(
            self.db,
            self.processes,
            jobs,
            self.agenda,
            lambda _: terms,
            on_done=lambda _: None,
            on_polls=lambda _: None,
            clock=self.seconds,
            chance=random.Random(1),
        )
        self.submitter = Submitter(
            self.steps,
            on_submitted=lambda *_: None,
            on_cancelled=self.unsent.append,
            on_failure=lambda _, failure: self.failures.append(failure),
        )

    def seconds(self) -> float:
        return self.clock.now.timestamp()

    @property
    def state(self) -> State:
        return self.steps.entry(self.part).state

    def run(self, seconds: float) -> None:
        """Let a time pass, and run the steps that are due."""
        self.clock.now += timedelta(seconds=seconds)
        # A poll is taken after all other steps that are due.
        self.agenda.add(Step("poll", "IBM", lambda: None))
        while (step := self.agenda.take()) is not None and step.kind != "poll":
            step.run()
            self.agenda.done(step)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, IDEMPOTENCY_CLIENT_TOKEN)
    yield made
    made.db.close()


def test_a_lost_call_is_repeated_with_its_token(scene: Scene) -> None:
    scene.processes.answers = [CallLost("no answer"), SENT]
    scene.submitter.submit(scene.part)
    scene.run(119)
    assert len(scene.processes.calls) == 1
    scene.run(2)
    assert len(scene.processes.calls) == 2
    assert len({call.submit.token for call in scene.processes.calls}) == 1
    assert scene.state == State.SUBMITTED


def test_a_call_is_not_repeated_after_a_pause_in_which_the_vendor_may_have_forgotten_it(scene: Scene) -> None:
    scene.processes.answers = [CallLost("no answer"), SENT]
    scene.submitter.submit(scene.part)
    scene.steps.line(scene.job).pause.failed(scene.seconds(), 3600, random.Random(1))  # another part met a status 429
    scene.run(121)
    scene.run(3600)
    assert len(scene.processes.calls) == 1
    assert scene.state == State.UNKNOWN
    assert [failure.reason for failure in scene.failures] == ["SUBMISSION_UNKNOWN"]


def test_a_call_is_not_repeated_if_its_process_starts_too_late(scene: Scene) -> None:
    scene.processes.answers = [CallLost("no answer"), SENT]
    scene.submitter.submit(scene.part)
    scene.processes.start_seconds = 500
    scene.run(121)
    assert len(scene.processes.calls) == 1
    scene.run(121)
    assert scene.state == State.UNKNOWN


def test_a_job_that_is_cancelled_before_a_repetition_ends(scene: Scene) -> None:
    scene.processes.answers = [CallLost("no answer")]
    scene.submitter.submit(scene.part)
    scene.steps.line(scene.job).pause.failed(scene.seconds(), 200, random.Random(1))
    scene.run(121)
    scene.job.cancelled = True
    scene.run(200)
    assert (scene.unsent, scene.state) == ([], State.UNKNOWN)
    assert [failure.reason for failure in scene.failures] == ["SUBMISSION_UNKNOWN"]


def test_an_sdk_that_fails_before_the_call_sends_nothing(scene: Scene) -> None:
    # An error of any other kind than those of VendorError, as of a service that the SDK calls when it starts.
    scene.processes.refusal = CallNotMade("", VendorReply.Error(message="the login failed"))
    assert scene.processes.refusal.error.kind == VENDOR_ERROR_KIND_NOT_SENT
    scene.submitter.submit(scene.part)
    assert scene.state == State.PLANNED
    scene.processes.refusal, scene.processes.answers = None, [SENT]
    scene.run(100)
    assert scene.state == State.SUBMITTED


def test_a_busy_vendor_gets_the_submission_after_its_pause(scene: Scene) -> None:
    scene.processes.answers = [BUSY, SENT]
    scene.submitter.submit(scene.part)
    scene.run(3599)
    assert (len(scene.processes.calls), scene.state) == (1, State.PLANNED)
    scene.run(2)
    assert scene.state == State.SUBMITTED


def test_a_submission_is_not_looked_up_while_the_vendor_asks_to_wait(tmp_path: Path) -> None:
    scene = Scene(tmp_path, IDEMPOTENCY_TAG)
    scene.processes.answers = [CallLost("no answer"), SENT]
    scene.submitter.submit(scene.part)
    scene.steps.line(scene.job).pause.failed(scene.seconds(), 500, random.Random(1))
    scene.run(121)
    assert len(scene.processes.calls) == 1
    scene.run(500)
    assert scene.processes.calls[-1].HasField("find")
    assert scene.state == State.SUBMITTED
    scene.db.close()


@pytest.mark.parametrize("kind", [VENDOR_ERROR_KIND_REFUSED, VENDOR_ERROR_KIND_NOT_SENT])
def test_an_answer_that_arrives_while_the_database_is_away_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: VendorErrorKind
) -> None:
    scene = Scene(tmp_path, Idempotency.IDEMPOTENCY_NOTHING)
    scene.processes.answers = [VendorReply(error=VendorReply.Error(kind=kind, message="no"))]
    change = submissions.change
    away: list[Change] = []

    def change_or_fail(db: Database, changed: Change) -> bool:
        if changed.state != State.SUBMITTING and not away:
            away.append(changed)
            raise Unavailable("the database is away")
        return change(db, changed)

    monkeypatch.setattr(submissions, "change", change_or_fail)
    with pytest.raises(Unavailable):
        scene.submitter.submit(scene.part)
    scene.submitter.submit(scene.part)
    assert scene.state == (State.DONE if kind == VENDOR_ERROR_KIND_REFUSED else State.PLANNED)
    scene.db.close()


def test_an_intent_that_the_database_did_not_confirm_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, Idempotency.IDEMPOTENCY_NOTHING)
    scene.processes.answers = [SENT]
    change = submissions.change
    away: list[Change] = []

    def change_without_answer(db: Database, changed: Change) -> bool:
        answer = change(db, changed)
        if not away:
            away.append(changed)
            raise Unavailable("the answer is lost")
        return answer

    monkeypatch.setattr(submissions, "change", change_without_answer)
    with pytest.raises(Unavailable):
        scene.submitter.submit(scene.part)
    scene.submitter.submit(scene.part)
    assert scene.state == State.PLANNED
    scene.submitter.submit(scene.part)
    assert scene.state == State.SUBMITTED
    scene.db.close()
