# SPDX-License-Identifier: Apache-2.0
"""A worker: a forked process that receives tasks from the server, runs them one after another and sends their events.

SDKs such as Aer hold Python's GIL for a whole simulation, so a busy worker cannot answer requests. The kernel therefore
decides which tasks have begun: the server writes a token to a pipe with each task. The worker reads the token to begin
the task; the server reads the token itself (it holds that end too) to reassign the task to another worker.
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
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskEventBatch, TaskFinished, TaskStarted
from qonduit.execution.v1.worker_pb2 import WorkerReply, WorkerRequest
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.process import framing

#: Events wait this long to be sent in a batch, in seconds.
_BATCH_SECONDS: Final = 0.005
#: The number of tasks whose times are remembered.
_REMEMBERED: Final = 1024
#: After a longer pause, events are sent immediately for this long, in seconds: the next call may hold the GIL.
_IMMEDIATE_SECONDS: Final = 0.02

Emit = Callable[[TaskEvent], None]
#: Runs tasks in order and emits their events, `finished` of each included. Returns False when this process must be
#: replaced before it runs more tasks.
Run = Callable[[Sequence[Task], Emit], bool | None]
#: Returns whether a waiting task may be in one call with the first task of the call.
Joins = Callable[[Task, Task], bool]


def serve(server: socket.socket, tokens: int, run: Run, batch_size: int = 1, joins: Joins | None = None) -> None:
    """Run tasks until the server closes its end.

    Args:
        server: socket for incoming `WorkerRequest` and outgoing `WorkerReply`.
        tokens: the pipe's read end; token n stands for the n-th task sent, from 0.
        run: runs tasks.
        batch_size: maximum number of waiting tasks in one call of `run`.
        joins: decides which waiting tasks may be in one call; by default any.
    """
    outbox = Outbox(server)
    inbox = _Inbox(server)
    poll = select.poll()
    poll.register(tokens, select.POLLIN)
    try:
        while True:
            poll.poll()
            try:
                data = os.read(tokens, framing.TOKEN.size * (batch_size if joins is None else 1))
            except BlockingIOError:  # the server reclaimed the task
                continue
            if not data:
                return
            tasks = [inbox.task(ordinal) for (ordinal,) in framing.TOKEN.iter_unpack(data)]
            if joins is not None and batch_size > 1 and _waiting(tokens):
                _add_joining(tasks, inbox, tokens, batch_size, joins)
            outbox.begin(tasks, queue_empty=not _waiting(tokens))
            reusable = run(tasks, outbox) is not False
            outbox.end(tasks)
            if not reusable:
                outbox.flush()
                return
            if not _waiting(tokens):
                outbox.flush()
    except (BrokenPipeError, ConnectionResetError, EOFError):
        return


def _add_joining(tasks: list[Task], inbox: _Inbox, tokens: int, batch_size: int, joins: Joins) -> None:
    """Add the waiting tasks that may be in one call with a first one, up to the first that may not.

    A task's token is read only once the task may join: a task that has begun cannot go to another worker. If the server
    reclaimed it in between, the token is that of a later task, which `run` then runs after the others.
    """
    while len(tasks) < batch_size:
        following = inbox.following()
        if following is None or not joins(tasks[0], following):
            return
        try:
            data = os.read(tokens, framing.TOKEN.size)
        except BlockingIOError:  # the server reclaimed the tasks
            return
        if not data:
            return
        ((ordinal,),) = framing.TOKEN.iter_unpack(data)
        tasks.append(inbox.task(ordinal))


def _waiting(tokens: int) -> bool:
    count = bytearray(4)
    fcntl.ioctl(tokens, termios.FIONREAD, count)
    return any(count)


def _kind_of(task: Task) -> tuple[object, ...]:
    """Return what the time of a task depends on; equal inline programs of a caller have one id."""
    spec = task.spec
    ids = tuple(program.program_id for program in task.programs)
    return (task.device, ids, spec.type, spec.shots, len(spec.parameter_sets.values), spec.ByteSize())


class _Inbox:
    """The sent tasks, read when they begin."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._buffer = framing.FrameBuffer()
        self._received = 0
        self._tasks: deque[tuple[int, Task]] = deque()

    def task(self, ordinal: int) -> Task:
        """Return the task with this number; discard those before it, which the server reclaimed."""
        while True:
            while self._tasks:
                number, task = self._tasks.popleft()
                if number == ordinal:
                    return task
            self._receive(self._server.recv(1 << 18))

    def following(self) -> Task | None:
        """Return the next task that has arrived, and keep it; None without one."""
        if not self._tasks:
            try:
                piece = self._server.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            self._receive(piece)
        return self._tasks[0][1] if self._tasks else None

    def _receive(self, piece: bytes) -> None:
        if not piece:
            raise EOFError
        for body in self._buffer.feed(piece):
            for task in WorkerRequest.FromString(body).run.tasks:
                self._tasks.append((self._received, task))
                self._received += 1


class Outbox:
    """Collects events and sends them in batches, none later than 5 ms unless the GIL is held for longer.

    The start of a program is sent at once, because a call of an SDK may hold the GIL for long. If the last run of the
    same programs took less than 5 ms, it is sent with the end.
    """

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._sending = threading.Lock()
        self._filled = threading.Condition(threading.Lock())
        self._events: list[TaskEvent] = []
        self._oldest = 0.0
        self._last = 0.0
        self._immediate_until = 0.0
        #: Whether the start of a program is sent at once: nothing waits, and its last run took long or is not known.
        self._send_start = False
        #: The seconds of the latest tasks, by what they run.
        self._seconds: OrderedDict[tuple[object, ...], float] = OrderedDict()
        self._kinds: dict[tuple[int, int], tuple[object, ...]] = {}
        self._unfinished: set[tuple[int, int]] = set()
        #: When the worker began the current task.
        self._began = 0.0
        threading.Thread(target=self._flush_late, name="outbox-flusher", daemon=True).start()

    def begin(self, tasks: Sequence[Task], *, queue_empty: bool) -> None:
        """Report that these tasks began. `queue_empty`: no tasks wait behind them."""
        self._kinds = {(task.job_id, task.attempt): _kind_of(task) for task in tasks}
        expected = sum(self._seconds.get(kind, _BATCH_SECONDS) for kind in self._kinds.values())
        self._send_start = queue_empty and expected >= _BATCH_SECONDS
        self._last = self._began = time.monotonic()
        self._unfinished = {(task.job_id, task.attempt) for task in tasks}
        for task in tasks:
            self._add(TaskEvent(job_id=task.job_id, attempt=task.attempt, started=TaskStarted()))

    def end(self, tasks: Sequence[Task]) -> None:
        """Report tasks that sent no last event as finished; otherwise the server waits for them forever."""
        for task in tasks:
            if (task.job_id, task.attempt) in self._unfinished:
                failure = Failure(
                    category=FailureCategory.FAILURE_CATEGORY_INTERNAL,
                    reason="INTERNAL",
                    message="The task ended without an outcome. This is a server error; please report it.",
                )
                self(TaskEvent(job_id=task.job_id, attempt=task.attempt, finished=TaskFinished(failure=failure)))

    def __call__(self, event: TaskEvent) -> None:
        """Queue an event of a running task."""
        kind = event.WhichOneof("event")
        if kind == "started":  # reported by begin
            return
        if kind in ("finished", "declined"):
            self._unfinished.discard((event.job_id, event.attempt))
        if kind == "finished":
            now = time.monotonic()
            event.finished.seconds, self._began = now - self._began, now
            self._remember(self._kinds.get((event.job_id, event.attempt)), event.finished.seconds)
        if self._add(event) or (kind == "program_started" and self._send_start):
            self.flush()

    def _remember(self, kind: tuple[object, ...] | None, seconds: float) -> None:
        if kind is not None:
            self._seconds[kind] = seconds
            self._seconds.move_to_end(kind)
            if len(self._seconds) > _REMEMBERED:
                self._seconds.popitem(last=False)

    def _add(self, event: TaskEvent) -> bool:
        now = time.monotonic()
        with self._filled:
            if not self._events:
                self._oldest = now
                self._filled.notify()
            self._events.append(event)
            if now - self._last > _BATCH_SECONDS:
                self._immediate_until = now + _IMMEDIATE_SECONDS
            self._last = now
            return now < self._immediate_until or now - self._oldest > _BATCH_SECONDS

    def flush(self) -> None:
        """Send the queued events."""
        with self._sending:
            with self._filled:
                events, self._events = self._events, []
            if events:
                self._server.sendall(framing.pack(WorkerReply(events=TaskEventBatch(events=events))))

    def _flush_late(self) -> None:
        """Flush events that the main thread has not sent. During a sequence of tasks, no event wakes this thread."""
        last = 0.0
        try:
            while True:
                with self._filled:
                    while not self._events and self._last == last:
                        self._filled.wait()
                    last = self._last
                    age = time.monotonic() - self._oldest if self._events else 0.0
                if age < _BATCH_SECONDS:
                    time.sleep(_BATCH_SECONDS - age)
                else:
                    self.flush()
        finally:  # without this thread events are not sent; the server replaces a dead worker
            sys.stderr.flush()
            os._exit(os.EX_SOFTWARE)
