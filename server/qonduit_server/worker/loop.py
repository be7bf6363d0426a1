# SPDX-License-Identifier: Apache-2.0
"""A worker: a forked process that takes tasks from the server, runs them one after another and tells their events.

Aer and its like hold Python's lock for a whole simulation, so a busy worker cannot answer anything. Which tasks have
begun is therefore settled by the kernel: with each task the server puts a token into a pipe. The worker takes the token
to begin the task; the server takes the token back (it holds that end of the pipe too) to hand the task to another.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskEventBatch, TaskFinished, TaskStarted
from qonduit.execution.v1.worker_pb2 import WorkerReply, WorkerRequest
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.process import framing

#: Events wait this long for others to travel with, in seconds.
_BATCH_SECONDS: Final = 0.005
#: After a silence longer than that, events travel alone for this long: what is called next may hold Python's lock.
_ALONE_SECONDS: Final = 0.02

Emit = Callable[[TaskEvent], None]
#: Runs these tasks, in order, and emits their events, `finished` of each included. False: this process must not run
#: any more, and is to be replaced.
Run = Callable[[Sequence[Task], Emit], bool | None]


def serve(server: socket.socket, tokens: int, run: Run, fold: int = 1) -> None:
    """Run tasks until the server closes its end.

    Args:
        server: carries `WorkerRequest` here and `WorkerReply` back.
        tokens: the pipe's end for reading; token n stands for the n-th task sent, from 0.
        run: runs tasks.
        fold: how many waiting tasks are given to `run` at once, at most.
    """
    outbox = Outbox(server)
    inbox = _Inbox(server)
    poll = select.poll()
    poll.register(tokens, select.POLLIN)
    try:
        while True:
            poll.poll()
            try:
                taken = os.read(tokens, framing.TOKEN.size * fold)
            except BlockingIOError:  # the server took it back
                continue
            if not taken:
                return
            tasks = [inbox.task(ordinal) for (ordinal,) in framing.TOKEN.iter_unpack(taken)]
            outbox.begin(tasks, lonely=not _waiting(tokens))
            goes_on = run(tasks, outbox) is not False
            outbox.end(tasks)
            if not goes_on:
                outbox.flush()
                return
            if not _waiting(tokens):
                outbox.flush()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return


def _waiting(tokens: int) -> bool:
    count = bytearray(4)
    fcntl.ioctl(tokens, termios.FIONREAD, count)
    return any(count)


class _Inbox:
    """The tasks that were sent, read when they are begun."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._buffer = framing.FrameBuffer()
        self._received = 0
        self._tasks: deque[tuple[int, Task]] = deque()

    def task(self, ordinal: int) -> Task:
        """Give the task with this number; those before it were taken back, and are forgotten."""
        while True:
            while self._tasks:
                number, task = self._tasks.popleft()
                if number == ordinal:
                    return task
            piece = self._server.recv(1 << 18)
            if not piece:
                raise EOFError
            for body in self._buffer.feed(piece):
                for task in WorkerRequest.FromString(body).run.tasks:
                    self._tasks.append((self._received, task))
                    self._received += 1


class Outbox:
    """Collects events and sends them in batches, none later than 5 ms unless Python's lock is held for longer."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._sending = threading.Lock()
        self._filled = threading.Condition(threading.Lock())
        self._events: list[TaskEvent] = []
        self._oldest = 0.0
        self._last = 0.0
        self._alone_until = 0.0
        self._lonely = False
        self._unfinished: set[tuple[int, int]] = set()
        threading.Thread(target=self._flush_late, name="outbox-flusher", daemon=True).start()

    def begin(self, tasks: Sequence[Task], *, lonely: bool) -> None:
        """Tell that these tasks were begun. `lonely`: none wait behind them."""
        self._lonely = lonely
        self._last = time.monotonic()
        self._unfinished = {(task.job_id, task.attempt) for task in tasks}
        for task in tasks:
            self._add(TaskEvent(job_id=task.job_id, attempt=task.attempt, started=TaskStarted()))

    def end(self, tasks: Sequence[Task]) -> None:
        """Make sure that these tasks are told to have finished, or they would seem to run for ever."""
        for task in tasks:
            if (task.job_id, task.attempt) in self._unfinished:
                failure = Failure(
                    category=FailureCategory.FAILURE_CATEGORY_INTERNAL,
                    reason="INTERNAL",
                    message="The task ended without saying how. This is a fault of the server; please report it.",
                )
                self(TaskEvent(job_id=task.job_id, attempt=task.attempt, finished=TaskFinished(failure=failure)))

    def __call__(self, event: TaskEvent) -> None:
        """Take an event of a running task."""
        kind = event.WhichOneof("event")
        if kind == "started":  # told by begin
            return
        if kind in ("finished", "declined"):
            self._unfinished.discard((event.job_id, event.attempt))
        if self._add(event) or (kind == "program_started" and self._lonely):
            self.flush()

    def _add(self, event: TaskEvent) -> bool:
        now = time.monotonic()
        with self._filled:
            if not self._events:
                self._oldest = now
                self._filled.notify()
            self._events.append(event)
            if now - self._last > _BATCH_SECONDS:
                self._alone_until = now + _ALONE_SECONDS
            self._last = now
            return now < self._alone_until or now - self._oldest > _BATCH_SECONDS

    def flush(self) -> None:
        """Send what there is."""
        with self._sending:
            with self._filled:
                events, self._events = self._events, []
            if events:
                self._server.sendall(framing.pack(WorkerReply(events=TaskEventBatch(events=events))))

    def _flush_late(self) -> None:
        try:
            while True:
                with self._filled:
                    while not self._events:
                        self._filled.wait()
                    age = time.monotonic() - self._oldest
                if age < _BATCH_SECONDS:
                    time.sleep(_BATCH_SECONDS - age)
                else:
                    self.flush()
        finally:  # without this thread events would be stuck; the server replaces a dead worker
            sys.stderr.flush()
            os._exit(os.EX_SOFTWARE)
