# SPDX-License-Identifier: Apache-2.0
"""The event throttle, on a fixed clock."""

from __future__ import annotations

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramStarted,
    ProgramSucceeded,
    TaskEvent,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from qonduit_server.execution.dispatcher.event_throttle import EventThrottle


def event(job_id: int = 1, **what: object) -> TaskEvent:
    return TaskEvent(job_id=job_id, attempt=1, **what)  # type: ignore[arg-type]


def progress(share: float, job_id: int = 1) -> TaskEvent:
    return event(job_id, progress=TaskProgress(progress=share))


FINISHED = event(finished=TaskFinished())


def test_a_short_run_reports_its_outcome_its_last_progress_and_its_end() -> None:
    throttle = EventThrottle()
    emitted = [
        event(started=TaskStarted()),
        event(program_started=ProgramStarted(index=0)),
        event(program_succeeded=ProgramSucceeded(index=0)),
        event(program_started=ProgramStarted(index=1)),
        event(program_failed=ProgramFailed(index=1)),
        progress(0.5),
        progress(1.0),
        FINISHED,
    ]
    passed = throttle.accept(emitted, 0.0)
    assert passed == [emitted[2], emitted[4], emitted[6], FINISHED]
    assert throttle.due(100.0) == []
    assert throttle.next_due() == float("inf")


def test_a_long_run_reports_its_start() -> None:
    throttle = EventThrottle()
    started = event(program_started=ProgramStarted(index=0))
    assert throttle.accept([started], 10.0) == []
    assert throttle.due(10.0) == []
    assert throttle.due(throttle.next_due()) == [started]


def test_progress_is_reported_at_most_four_times_in_any_second() -> None:
    throttle = EventThrottle()
    times = []
    for step in range(2000):
        now = step / 500
        assert throttle.accept([progress(step / 2000)], now) == []
        times += [now for _ in throttle.due(now)]
    assert throttle.accept([FINISHED], 4.0)[-1] == FINISHED
    times.append(4.0)
    assert len(times) > 10
    assert all(sum(1 for other in times if at <= other < at + 1.0) <= 4 for at in times)


def test_jobs_do_not_wait_for_each_other() -> None:
    throttle = EventThrottle()
    throttle.accept([progress(0.1, 1), progress(0.2, 2)], 0.0)
    assert len(throttle.due(0.0)) == 2
    throttle.accept([progress(0.3, 1), progress(0.4, 3)], 0.1)
    assert throttle.due(0.1) == [progress(0.4, 3)]
    assert 0.1 < throttle.next_due() < 1.0


def test_lost_tasks_are_forgotten() -> None:
    throttle = EventThrottle()
    throttle.accept([progress(0.1)], 0.0)
    throttle.forget((1, 1))
    throttle.forget((2, 1))
    assert throttle.due(9.0) == []
