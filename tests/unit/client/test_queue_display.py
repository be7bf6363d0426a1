# SPDX-License-Identifier: Apache-2.0
"""The place of a waiting job and its estimated start, wherever a user waits for it."""

from __future__ import annotations

import io

import pytest

from qonduit.v1.event_pb2 import JobEvent, QueueChange, StateChange
from qonduit.v1.job_pb2 import Job, QueuePlace, QueueReason
from qonduit_client.batch import last_place
from qonduit_client.cli.views import LineBoard, LiveBoard
from qonduit_client.formatting import queue_text
from qonduit_client.notebook import Bar
from tests.unit.client.peer import JOB, QUEUED, RUNNING, Peer, job_at
from tests.unit.client.test_cli import call

SHARE, NEXT = QueueReason.QUEUE_REASON_SHARE, QueueReason.QUEUE_REASON_NO_WORKER


def place(position: int, reason: QueueReason = SHARE, p50: float = 0.0, p90: float = 0.0) -> QueuePlace:
    found = QueuePlace(position=position, reason=reason)
    if p50:
        found.estimated_start_seconds_p50, found.estimated_start_seconds_p90 = p50, p90
    return found


def change(found: QueuePlace) -> JobEvent:
    return JobEvent(job_id=JOB, queue_change=QueueChange(queue=found))


RUNS = JobEvent(job_id=JOB, state_change=StateChange(from_state=QUEUED, to_state=RUNNING, job=job_at(RUNNING)))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (place(3), "3 jobs before this one: it is the turn of other callers"),
        (
            place(1, SHARE, 12.0, 70.0),
            "1 job before this one: it is the turn of other callers; starts in about 12 s, rarely more than 70 s",
        ),
        (QueuePlace(reason=QueueReason.QUEUE_REASON_SCHEDULED), "it does not start before its time"),
        (QueuePlace(position=2, reason=QueueReason.QUEUE_REASON_EARLIER_JOBS), "2 jobs before this one"),
    ],
)
def test_the_text_of_a_place(found: QueuePlace, text: str) -> None:
    assert queue_text(found) == text


def test_a_bar_shows_the_place_while_its_job_waits() -> None:
    bar = Bar(JOB, job_at(QUEUED))
    bar.update(change(place(3, SHARE, 12.0, 70.0)))
    for shown in (bar.text(), bar.html()):
        assert "starts in about 12 s, rarely more than 70 s" in shown
    bar.update(RUNS)
    for shown in (bar.text(), bar.html()):
        assert "starts in" not in shown


def test_a_live_bar_shows_each_place() -> None:
    with LiveBoard(io.StringIO()) as board:
        assert board.queue_updates
        row = board.row("")
        row(JobEvent(job_id=JOB, created=job_at(QUEUED)))
        row(change(place(3, SHARE, 12.0, 70.0)))
        bar = board._progress.tasks[0]
        assert "starts in about 12 s, rarely more than 70 s" in str(bar.fields)
        row(RUNS)
        assert "starts in" not in str(bar.fields)


def test_lines_show_a_place_when_it_is_half_of_the_last_one() -> None:
    stream = io.StringIO()
    with LineBoard(stream) as board:
        assert board.queue_updates
        row = board.row("")
        row(JobEvent(job_id=JOB, created=job_at(QUEUED)))
        for position in range(16, 0, -1):
            row(change(place(position)))
        row(change(place(0, NEXT)))
    lines = [line.split("queue ")[1].split()[0] for line in stream.getvalue().splitlines() if "queue " in line]
    assert lines == ["16", "8", "4", "2", "1", "0"]


def test_lines_do_not_show_the_place_of_a_job_that_is_about_to_start() -> None:
    stream = io.StringIO()
    with LineBoard(stream) as board:
        row = board.row("")
        row(change(place(0, NEXT)))
        row(change(place(0, NEXT, 0.2, 0.5)))
        assert stream.getvalue() == ""
        row(change(place(0, NEXT, 20.0, 50.0)))
        assert "starts in about 20 s" in stream.getvalue()
    assert not LineBoard(stream, jobs=2).queue_updates


def test_a_command_requests_places(peer: Peer) -> None:
    peer.unstored = [change(place(3, SHARE, 12.0, 70.0))]
    done = call(peer, "watch", str(JOB))
    assert done.exit_code == 0, done.output
    assert "starts in about 12 s, rarely more than 70 s" in done.stdout
    assert "queue" not in call(peer, "watch", str(JOB), "--output", "json").stdout


def test_the_list_of_jobs_shows_why_they_wait(peer: Peer) -> None:
    assert "QUEUE" not in call(peer, "jobs").stdout
    waiting = job_at(QUEUED)
    peer.listed_jobs = [waiting]
    now = peer.events[-1].state_change.job
    now.queue.CopyFrom(place(3, SHARE, 12.0, 70.0))
    done = call(peer, "jobs")
    assert "3 jobs before this one: it is the turn of other callers; starts in about 12 s" in done.stdout
    waiting.id = 4711  # deleted meanwhile
    done = call(peer, "jobs")
    assert done.exit_code == 0, done.output
    assert "4711" in done.stdout


def test_the_last_place_of_several_jobs() -> None:
    scheduled = QueuePlace(reason=QueueReason.QUEUE_REASON_SCHEDULED)
    jobs = [Job(queue=place(3)), Job(), Job(queue=place(0)), Job(queue=scheduled)]
    assert last_place(jobs) == place(3)
    assert last_place([Job(), Job(queue=scheduled)]) == scheduled
    assert last_place([Job()]) is None
