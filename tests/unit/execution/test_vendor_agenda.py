# SPDX-License-Identifier: Apache-2.0
"""When vendors are called: the agenda of steps, intervals between polls, and pauses."""

from __future__ import annotations

import math
import random
import threading

import pytest

from qonduit.execution.v1.vendor_pb2 import VendorTerms
from qonduit_server.execution.remote.poll_intervals import Pause, jittered, next_interval
from qonduit_server.execution.remote.remote_jobs import Agenda, Part, RemoteJob, RemoteJobs, Step, StepKind
from qonduit_server.execution.remote.terms import with_defaults
from qonduit_server.execution.remote.vendor_processes import Account
from qonduit_server.store.jobs.submission_entries import Holder

TERMS = with_defaults(VendorTerms(poll_seconds=2, max_poll_seconds=10))


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def step(kind: StepKind, provider: str = "V") -> Step:
    return Step(kind, provider, lambda: None)


def test_intervals_grow_while_a_job_does_not_change() -> None:
    intervals, last = [], 0.0
    for changed in (False, False, False, False, False, True, False):
        last = next_interval(last, changed, TERMS)
        intervals.append(last)
    assert intervals == [2, 3, 4.5, 6.75, 10, 2, 3]


def test_jitter_is_at_most_a_fifth() -> None:
    chance = random.Random(1)
    found = [jittered(10, chance) for _ in range(1000)]
    assert 8 <= min(found) < 8.5 < 11.5 < max(found) <= 12


def test_a_pause_is_as_long_as_the_vendor_asks_and_grows_otherwise() -> None:
    pause, chance = Pause(), random.Random(1)
    pause.failed(0.0, 30.0, chance)
    assert pause.until == 30.0
    pause.failed(1.0, 0.0, chance)
    assert pause.until == 30.0  # never earlier than the vendor asked
    lengths = []
    for _ in range(10):
        pause.until = 0.0
        pause.failed(100.0, 0.0, chance)
        lengths.append(pause.until - 100)
    assert lengths[0] < lengths[3] < lengths[-1] <= 60 * 1.2
    pause.succeeded()
    pause.until = 0.0
    pause.failed(100.0, 0.0, chance)
    assert pause.until <= 101.2


@pytest.mark.parametrize(("asked", "least", "most"), [(1.7e12, 86_400, 86_400), (-5.0, 0.8, 1.2), (math.nan, 0.8, 1.2)])
def test_a_pause_is_a_time_for_which_a_thread_can_wait(asked: float, least: float, most: float) -> None:
    pause = Pause()
    pause.failed(100.0, asked, random.Random(1))
    assert least <= pause.until - 100 <= most


def test_urgent_steps_are_first_and_later_ones_wait_for_their_time() -> None:
    clock = Time()
    agenda = Agenda(clock)
    agenda.limit("V", 9)
    for kind in ("poll", "submit", "cancel"):
        agenda.add(step(kind))  # type: ignore[arg-type]
    agenda.add(step("cancel"), at=101.0)
    assert [agenda.take().kind for _ in range(3)] == ["cancel", "submit", "poll"]  # type: ignore[union-attr]
    clock.now = 101.0
    taken = agenda.take()
    assert taken is not None
    assert taken.kind == "cancel"


def test_a_vendor_that_hangs_keeps_no_other_from_being_called() -> None:
    agenda = Agenda(Time())
    agenda.limit("SLOW", 2)
    agenda.limit("V", 2)
    for _ in range(5):
        agenda.add(step("submit", "SLOW"))
    agenda.add(step("poll", "V"))
    taken = [agenda.take() for _ in range(3)]
    assert sorted(each.provider for each in taken if each) == ["SLOW", "SLOW", "V"]
    waiting = threading.Thread(target=lambda: taken.append(agenda.take()), daemon=True)
    waiting.start()
    agenda.done(next(each for each in taken if each and each.provider == "SLOW"))
    waiting.join(60)
    assert taken[-1] is not None
    assert taken[-1].provider == "SLOW"
    agenda.close()
    assert agenda.take() is None


def test_polls_of_a_line_are_taken_together_and_wait_for_its_pause() -> None:
    jobs = RemoteJobs()
    account = Account("V", "token")
    made = [RemoteJob(Holder(number, 1, "me"), "machine", account) for number in range(5)]
    jobs.add(made, lambda _: TERMS)
    line = jobs.line(account, lambda _: TERMS)
    parts = [Part(job, 0, 0) for job in made]
    for number, part in enumerate(parts):
        jobs.push_poll(line, 10.0 + number, part)
    assert jobs.next_poll(line) == 10.0
    assert jobs.next_poll(line) is None  # it is scheduled
    parts[1].done = True
    assert jobs.take_polls(line, 12.0, 2) == [parts[0], parts[2]]
    line.pause.until = 50.0
    assert jobs.next_poll(line) == 50.0
    assert jobs.take_polls(line, 49.0, 9) == []
    jobs.push_poll(line, 49.0, parts[3])
    assert jobs.take_polls(line, 50.0, 9) == [parts[4], parts[3]]  # each once


def test_a_credential_is_forgotten_with_its_last_job() -> None:
    jobs = RemoteJobs()
    account = Account("V", "token")
    first, second = (RemoteJob(Holder(number, 1, "me"), "machine", account) for number in range(2))
    jobs.add([first, second], lambda _: TERMS)
    line = jobs.line(account, lambda _: TERMS)
    jobs.move(second, jobs.line(account._replace(credential="renewed"), lambda _: TERMS))
    assert jobs.line(account, lambda _: TERMS) is line
    jobs.forget(first.key)
    assert jobs.line(account, lambda _: TERMS) is not line
    assert jobs.line(second.account, lambda _: TERMS).jobs == {second.key}


def test_an_account_shows_no_credential() -> None:
    assert "secret" not in repr(Account("V", "a secret"))
