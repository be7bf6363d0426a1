# SPDX-License-Identifier: Apache-2.0
"""Partial results: at most four events a second, points of several events in one, and what a cancelled job keeps."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.task_pb2 import FurtherResult, PointsDone, ProgramPartial, TaskEvent, TaskFinished
from qonduit.v1.event_pb2 import JobEvent, PartialResult
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.result_pb2 import CountsAndProbabilities, Result
from qonduit_server.execution.dispatcher.partial_results import PartialResults

KEY = {"job_id": 3, "attempt": 1}


class Watcher:
    """What a partial-result stream of this server gets."""

    def __init__(self) -> None:
        self.partial = PartialResults(self._take)
        self.events: list[PartialResult] = []

    def _take(self, job_id: int, payload: bytes) -> None:
        event = JobEvent.FromString(payload)
        assert (event.job_id, event.sequence) == (job_id, 0) == (3, 0)
        assert event.HasField("event_time")
        self.events.append(event.partial_result)

    def counts(self, shots: int, index: int = 0) -> None:
        result = Result(shots=shots, program_id=9)
        part = ProgramPartial(index=index, results=[FurtherResult(result=result)])
        self.partial.accept(TaskEvent(program_partial=part, **KEY))

    def points(self, *points: int, size: int = 0, index: int = 0) -> None:
        counts = CountsAndProbabilities(counts={"x" * size: 1})
        results = [FurtherResult(result=Result(point=k, counts_and_probabilities=counts)) for k in points]
        done = PointsDone(index=index, first_point=points[0], results=results)
        self.partial.accept_points(TaskEvent(points_done=done, **KEY))

    def finish(self, reason: str = "") -> TaskFinished:
        event = TaskEvent(finished=TaskFinished(failure=Failure(reason=reason) if reason else None), **KEY)
        self.partial.complete(event)
        return event.finished


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def test_at_most_four_events_a_second_the_newest_and_the_last(watcher: Watcher) -> None:
    for step in range(100):
        watcher.counts(step)
        watcher.partial.send_due(step / 100)
    watcher.counts(100)
    watcher.finish()
    assert [event.results[0].shots for event in watcher.events] == [0, 34, 68, 100]
    assert watcher.events[0].program_id == 9


def test_an_event_that_waits_is_due_later(watcher: Watcher) -> None:
    watcher.partial.send_due(10.0)
    assert watcher.partial.next_due() == float("inf")
    watcher.counts(1)
    watcher.partial.send_due(10.0)
    watcher.counts(2)
    watcher.partial.send_due(10.1)
    assert len(watcher.events) == 1
    due = watcher.partial.next_due()
    assert 10.25 <= due <= 10.5
    watcher.partial.send_due(due)
    assert [event.results[0].shots for event in watcher.events] == [1, 2]


def test_no_point_is_missing(watcher: Watcher) -> None:
    watcher.points(0, 1)
    watcher.partial.send_due(0.0)
    for point in range(2, 20):
        watcher.points(point)
        watcher.partial.send_due(0.1)
    watcher.finish()
    assert [result.point for event in watcher.events for result in event.results] == list(range(20))
    assert [event.first_point for event in watcher.events] == [0, 2]


def test_events_are_small_and_of_one_program(watcher: Watcher) -> None:
    watcher.points(0, size=200_000)
    watcher.points(1, size=200_000)
    watcher.points(2, size=300_000)
    watcher.finish()
    assert [event.first_point for event in watcher.events] == [1]
    watcher.points(0)
    watcher.points(1, index=1)
    watcher.finish()
    assert [(event.index, event.first_point) for event in watcher.events[1:]] == [(1, 1)]


def test_a_cancelled_job_keeps_the_latest_of_each_program(watcher: Watcher) -> None:
    watcher.counts(1)
    watcher.counts(2)
    watcher.counts(5, index=1)
    kept = watcher.finish("CANCELLED").partial
    assert [(each.index, each.results[0].result.shots) for each in kept] == [(0, 2), (1, 5)]
    watcher.counts(1)
    assert not watcher.finish().partial
    assert not watcher.finish("CANCELLED").partial


def test_a_task_that_is_requeued_leaves_nothing(watcher: Watcher) -> None:
    watcher.counts(1)
    watcher.partial.forget((3, 1))
    watcher.partial.send_due(0.0)
    assert not watcher.events
    assert not watcher.finish("CANCELLED").partial
