# SPDX-License-Identifier: Apache-2.0
"""A worker's loop, with a thread as its process and this test as the server."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramStarted, Task, TaskBatch, TaskEvent, TaskFinished
from qonduit.execution.v1.worker_pb2 import WorkerReply, WorkerRequest
from qonduit_server.process import framing
from qonduit_server.worker import loop

PATIENCE = 100.0


class Server:
    """The server's side of one worker."""

    def __init__(self, batch_size: int, joins: loop.Joins | None = None) -> None:
        self.link, self._worker_end = socket.socketpair()
        self.link.settimeout(PATIENCE)
        self.tokens_in, self.tokens_out = os.pipe()
        os.set_blocking(self.tokens_in, False)
        self.batches: list[list[int]] = []
        self.gate = threading.Semaphore(0)
        #: The return value of running tasks.
        self.goes_on = True
        self._buffer = framing.FrameBuffer()
        self._events: list[TaskEvent] = []
        self.reply_sizes: list[int] = []
        self._sent = 0
        self._thread = threading.Thread(target=self._serve, args=(batch_size, joins))
        self._thread.start()

    def _serve(self, batch_size: int, joins: loop.Joins | None) -> None:
        with self._worker_end:
            loop.serve(self._worker_end, self.tokens_in, self._run, batch_size, joins)

    def _run(self, tasks: Sequence[Task], emit: loop.Emit) -> bool:
        self.batches.append([task.job_id for task in tasks])
        for task in tasks:
            emit(TaskEvent(job_id=task.job_id, attempt=1, program_started=ProgramStarted()))
            if task.spec.shots:  # wait to be released
                assert self.gate.acquire(timeout=PATIENCE)
            emit(TaskEvent(job_id=task.job_id, attempt=1, finished=TaskFinished()))
        return self.goes_on

    def wait_ended(self) -> None:
        """Wait until the worker has ended by itself."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def send(self, *tasks: Task) -> list[int]:
        """Send tasks and their tokens; return the tokens' numbers."""
        numbers = list(range(self._sent, self._sent + len(tasks)))
        self._sent += len(tasks)
        self.link.sendall(framing.pack(WorkerRequest(run=TaskBatch(tasks=tasks))))
        os.write(self.tokens_out, b"".join(framing.TOKEN.pack(number) for number in numbers))
        return numbers

    def reclaim(self) -> list[int]:
        try:
            return [number for (number,) in framing.TOKEN.iter_unpack(os.read(self.tokens_in, 4096))]
        except BlockingIOError:
            return []

    def next_event(self) -> tuple[int, str | None]:
        while not self._events:
            for body in self._buffer.feed(self.link.recv(65536)):
                events = WorkerReply.FromString(body).events.events
                self.reply_sizes.append(len(events))
                self._events += events
        event = self._events.pop(0)
        return event.job_id, event.WhichOneof("event")

    def until_finished(self, job_id: int) -> list[tuple[int, str | None]]:
        seen: list[tuple[int, str | None]] = []
        while not seen or seen[-1] != (job_id, "finished"):
            seen.append(self.next_event())
        return seen

    def close(self) -> None:
        os.close(self.tokens_out)
        self.link.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        os.close(self.tokens_in)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(getattr(request, "param", 1))
    yield made
    made.close()


def slow(job_id: int) -> Task:
    return Task(job_id=job_id, attempt=1, spec=JobSpec(shots=1))


def quick(job_id: int) -> Task:
    return Task(job_id=job_id, attempt=1)


def test_tasks_run_in_order_and_each_reports_its_start(server: Server) -> None:
    server.send(quick(1), quick(2))
    assert server.until_finished(2) == [
        (job_id, kind) for job_id in (1, 2) for kind in ("started", "program_started", "finished")
    ]


def test_reclaimed_tasks_do_not_run(server: Server) -> None:
    server.send(slow(1), quick(2), quick(3))
    assert server.next_event() == (1, "started")
    assert server.reclaim() == [1, 2]
    server.send(quick(3), quick(2))
    server.gate.release()
    server.until_finished(2)
    assert server.batches == [[1], [3], [2]]


def test_a_running_task_is_reported_while_it_runs(server: Server) -> None:
    server.send(slow(1))
    assert [server.next_event(), server.next_event()] == [(1, "started"), (1, "program_started")]
    server.gate.release()
    assert server.next_event() == (1, "finished")


def test_a_program_that_was_short_is_reported_with_its_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_BATCH_SECONDS", PATIENCE)  # so that each run is short, and nothing else sends events
    server.send(quick(1))
    server.until_finished(1)
    assert server.reply_sizes == [2, 1]
    server.send(quick(2))
    assert [server.next_event() for _ in range(3)] == [(2, "started"), (2, "program_started"), (2, "finished")]
    assert server.reply_sizes[-1] == 3
    # Nothing is known of a task with other options.
    server.send(slow(3))
    assert [server.next_event(), server.next_event()] == [(3, "started"), (3, "program_started")]
    server.gate.release()
    assert server.next_event() == (3, "finished")


def test_each_task_is_reported_while_it_runs_and_others_wait(server: Server) -> None:
    server.send(*(slow(job_id) for job_id in range(1, 6)))
    for job_id in range(1, 6):
        assert [server.next_event(), server.next_event()] == [(job_id, "started"), (job_id, "program_started")]
        server.gate.release()
        assert server.next_event() == (job_id, "finished")


@pytest.mark.parametrize("server", [4], indirect=True)
def test_waiting_tasks_may_be_run_together(server: Server) -> None:
    server.send(slow(1))
    server.until_started = server.next_event()  # type: ignore[attr-defined]
    server.send(*(quick(job_id) for job_id in range(2, 8)))
    server.gate.release()
    server.until_finished(7)
    assert server.batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_it_ends_when_the_server_has_ended(server: Server) -> None:
    server.send(quick(1))
    server.until_finished(1)  # close() in the fixture does the rest


def test_a_worker_that_must_be_replaced_reports_its_task_and_leaves_the_next_one(server: Server) -> None:
    server.goes_on = False
    server.send(slow(1), quick(2))
    server.gate.release()
    server.wait_ended()
    assert server.until_finished(1)[-1] == (1, "finished")
    assert server.reclaim() == [1]
    assert server.batches == [[1]]


@pytest.fixture
def joining() -> Iterator[Server]:
    """A worker whose tasks share a call if they have the same device."""
    made = Server(3, joins=lambda first, other: first.device == other.device)
    yield made
    made.close()


def test_waiting_tasks_that_join_the_first_one_are_in_its_call(joining: Server) -> None:
    joining.send(slow(1))
    assert joining.next_event() == (1, "started")
    joining.send(quick(2), quick(3), quick(4), quick(5))
    joining.gate.release()
    joining.until_finished(5)
    assert joining.batches == [[1], [2, 3, 4], [5]]


def test_a_task_that_does_not_join_can_still_be_reclaimed(joining: Server) -> None:
    joining.send(slow(1))
    assert joining.next_event() == (1, "started")
    other = Task(job_id=4, attempt=1, device="other")
    first = Task(job_id=2, attempt=1, spec=JobSpec(shots=1))
    *_, number = joining.send(first, quick(3), other)
    joining.gate.release()
    while joining.next_event() != (2, "started"):
        pass
    assert joining.reclaim() == [number]
    joining.gate.release()
    joining.until_finished(3)
    assert joining.batches == [[1], [2, 3]]
