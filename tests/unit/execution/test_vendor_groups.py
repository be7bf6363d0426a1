# SPDX-License-Identifier: Apache-2.0
"""A batch or a session of a job: opened before its parts, once, and closed before the end, with a real ledger."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_TOKEN,
    VENDOR_ERROR_KIND_BUSY,
    VENDOR_ERROR_KIND_REFUSED,
    VENDOR_JOB_STATE_ACTIVE,
    VENDOR_JOB_STATE_DONE,
    NativeCircuit,
    Submission,
    VendorJob,
    VendorReply,
    VendorTerms,
)
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import VENDOR_MODE_SESSION
from qonduit_server.execution.remote.remote_jobs import Agenda, RemoteJob, RemoteJobs
from qonduit_server.execution.remote.terms import with_defaults
from qonduit_server.execution.remote.vendor_processes import Account, CallLost
from qonduit_server.execution.remote.vendor_work import VendorWork
from qonduit_server.store.database import open_database
from qonduit_server.store.jobs import job_rows, submissions
from qonduit_server.store.jobs.submission_entries import GROUP_STAGE, Entry, State
from tests.sqlite_template import new_sqlite
from tests.store_fixture import Clock
from tests.unit.execution.scripted_vendor import Answer, ScriptedProcesses, plan

GROUP, FIRST, SECOND = (GROUP_STAGE, 0), (0, 0), (1, 0)
ENDED = VendorReply(jobs=[VendorJob(vendor_id="s-1", state=VENDOR_JOB_STATE_DONE, word="closed", cost=7.0)])
OPEN = VendorReply(jobs=[VendorJob(vendor_id="s-1", state=VENDOR_JOB_STATE_ACTIVE, word="active")])
REFUSED = VendorReply(error=VendorReply.Error(kind=VENDOR_ERROR_KIND_REFUSED, message="not today"))
AWAY = VendorReply(error=VendorReply.Error(message="away"))


def sent(number: int) -> VendorReply:
    return VendorReply(jobs=[VendorJob(vendor_id=f"v-{number}", word="queued")])


class Scene:
    """A job with a session and two parts, and the steps of its server, which run without a pause."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
        self.db = open_database(new_sqlite(folder / "q.sqlite3"), clock=self.clock)
        self.holder = plan(self.db, IDEMPOTENCY_CLIENT_TOKEN)
        more = [
            Submission(key="session", device="d", mode=VENDOR_MODE_SESSION, group_seconds=600),
            Submission(key="other", device="d", circuits=[NativeCircuit(text="x 0")], shots=10),
        ]
        assert submissions.plan(self.db, self.holder, more, IDEMPOTENCY_CLIENT_TOKEN)
        self.failures: list[Failure] = []
        self.start()

    def start(self, *, is_last_call: bool = False) -> None:
        """Start a server that has claimed the job."""
        self.processes = ScriptedProcesses(self.clock)
        self.jobs, self.agenda = RemoteJobs(), Agenda(lambda: 0.0)
        terms = with_defaults(VendorTerms())
        self.job = RemoteJob(self.holder, "d", Account("IBM", "token"), mode=VENDOR_MODE_SESSION)
        self.job.is_last_call = is_last_call
        self.jobs.add([self.job], lambda _: terms)
        self.work = VendorWork(
            self.db,
            self.processes,
            self.jobs,
            self.agenda,
            lambda _: terms,
            on_done=lambda _: None,
            on_failure=lambda _, failure: self.failures.append(failure),
        )

    def resume(self, *answers: Answer) -> list[str]:
        """Continue the job from the ledger; return the calls of the vendor but polls, until the answers are used."""
        self.processes.answers = list(answers)
        self.work.resume(self.job, list(self.entries().values()), submissions.now(self.db))
        return self.steps()

    def steps(self) -> list[str]:
        before = len(self.processes.calls)
        while self.processes.answers and self.agenda._later:
            _, _, step = heapq.heappop(self.agenda._later)
            self.jobs.line(self.job.account, lambda _: with_defaults(VendorTerms())).pause.until = 0.0
            if step.kind != "poll":
                step.run()
        return [str(call.WhichOneof("call")) for call in self.processes.calls[before:]]

    def close(self, *answers: Answer) -> tuple[list[str], bool]:
        """Close the session as at the end of the job; return the calls, and whether the end is reported."""
        ended: list[bool] = []
        self.processes.answers = list(answers)
        self.work.close_group(self.job, lambda: ended.append(True))
        return self.steps(), bool(ended)

    def entries(self) -> dict[tuple[int, int], Entry]:
        found = submissions.read(self.db, [self.holder.job_id])[self.holder.job_id]
        return {(entry.stage, entry.part): entry for entry in found}

    def states(self) -> list[State]:
        """Return the states of the session and of the parts."""
        return [self.entries()[each].state for each in (GROUP, FIRST, SECOND)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.db.close()


def test_parts_are_sent_once_the_session_is_open_and_belong_to_it(scene: Scene) -> None:
    assert scene.resume(OPEN, sent(1), sent(2)) == ["submit"] * 3
    opening, *parts = (call.submit for call in scene.processes.calls)
    assert (opening.submission.group_seconds, opening.group_id) == (600, "")
    assert [part.group_id for part in parts] == ["s-1", "s-1"]
    assert scene.states() == [State.SUBMITTED] * 3
    job = job_rows.get(scene.db, None, scene.holder.job_id)
    assert (job.provider_specific_id, job.provider_status.group.id) == ("v-1", "s-1")
    assert [part.vendor_id for part in job.provider_status.parts] == ["v-1", "v-2"]


def test_the_id_of_a_job_is_that_of_the_part_which_was_answered_first(scene: Scene) -> None:
    busy = VendorReply(error=VendorReply.Error(kind=VENDOR_ERROR_KIND_BUSY, message="one at a time"))
    assert scene.resume(OPEN, busy, sent(2)) == ["submit"] * 3
    assert [scene.entries()[each].vendor_id for each in (FIRST, SECOND)] == ["", "v-2"]
    assert job_rows.get(scene.db, None, scene.holder.job_id).provider_specific_id == "v-2"
    scene.processes.answers = [sent(1)]
    assert scene.steps() == ["submit"]
    job = job_rows.get(scene.db, None, scene.holder.job_id)
    assert [part.vendor_id for part in job.provider_status.parts] == ["v-1", "v-2"]
    assert job.provider_specific_id == "v-2"


def test_no_part_is_sent_while_it_is_not_known_whether_the_session_is_open(scene: Scene) -> None:
    assert scene.resume(CallLost("killed")) == ["submit"]
    assert scene.states() == [State.SUBMITTING, State.PLANNED, State.PLANNED]
    # The deadline of the call has passed, and a submission with a token would be repeated.
    scene.clock.now += timedelta(seconds=200)
    scene.start()
    assert scene.resume(OPEN) == []
    assert scene.states() == [State.UNKNOWN, State.PLANNED, State.PLANNED]
    assert [failure.reason for failure in scene.failures] == ["SUBMISSION_UNKNOWN"]


def test_a_refused_session_fails_the_job(scene: Scene) -> None:
    assert scene.resume(REFUSED, sent(1)) == ["submit"]
    assert scene.states() == [State.DONE, State.PLANNED, State.PLANNED]
    assert ["not today" in failure.message for failure in scene.failures] == [True]


def test_the_next_server_uses_the_session_of_the_one_before(scene: Scene) -> None:
    scene.resume(OPEN)
    scene.start()
    assert scene.resume(sent(1), sent(2)) == ["submit"] * 2
    assert [call.submit.group_id for call in scene.processes.calls] == ["s-1", "s-1"]


@pytest.mark.parametrize("is_last_call", [True, False])
def test_a_session_is_closed_early_only_if_no_further_call_follows(scene: Scene, is_last_call: bool) -> None:
    scene.job.is_last_call = is_last_call
    calls = scene.resume(OPEN, sent(1), sent(2), OPEN)
    assert calls == ["submit"] * 3 + ["close_group"] * is_last_call
    assert scene.entries()[GROUP].state == State.SUBMITTED


def test_the_end_is_reported_once_the_vendor_has_ended_the_session(scene: Scene) -> None:
    scene.resume(OPEN, sent(1), sent(2))
    assert scene.close(AWAY, OPEN, ENDED) == (["close_group"] * 3, True)
    entry = scene.entries()[GROUP]
    assert (entry.state, entry.status.cost) == (State.DONE, 7.0)


def test_the_end_does_not_wait_for_ever(scene: Scene) -> None:
    scene.resume(OPEN, sent(1), sent(2))
    calls, ended = scene.close(*[OPEN] * 20)
    assert (len(calls), ended) == (6, True)


def test_a_session_that_was_not_opened_needs_no_call(scene: Scene) -> None:
    scene.work.resume(scene.job, list(scene.entries().values()), submissions.now(scene.db))
    scene.agenda._later.clear()
    assert scene.close(OPEN) == ([], True)
    assert scene.entries()[GROUP].state == State.DONE


def test_the_parts_of_a_session_cost_nothing_of_their_own(scene: Scene) -> None:
    scene.resume(OPEN, sent(1), sent(2))
    part = scene.job.parts[FIRST]
    found = VendorJob(vendor_id="v-1", state=VENDOR_JOB_STATE_ACTIVE, word="running", cost=3.0, cost_unit="s")
    scene.work._observe(part, found)
    assert scene.entries()[FIRST].status.cost == 0.0
