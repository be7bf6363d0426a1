# SPDX-License-Identifier: Apache-2.0
"""A worker machine: runs the tasks of servers in its own process pool, and reports to each server.

It holds no connection: a `BrokerLink` carries its messages, and Celery calls `run_tasks`. Each server has a session
with numbered messages, which the machine keeps until the server has them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.machine_pb2 import (
    DescribeProvider,
    MachineHello,
    MachineMessage,
    MachineRequest,
    MachineState,
    MachineStopping,
    ProviderDescribed,
    TaskMessage,
    TasksAccepted,
    WorkerEndCount,
)
from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.errors import CallError, Unavailable
from qonduit_server.execution.celery.machine_session import MachineSession, in_batches, is_replaceable
from qonduit_server.execution.celery.messages import (
    VERSION,
    Outgoing,
    interactive_lane,
    is_interactive_lane,
    key_of,
    keys_of,
    lane_of,
    understood,
)
from qonduit_server.execution.celery.task_credentials import TaskCredentials
from qonduit_server.execution.executor import Executor, Key, Loss, LossKind
from qonduit_server.execution.local.interactive_pools import InteractivePools
from qonduit_server.execution.pending_notifications import provider_failure
from qonduit_server.process.release import installed_release

_log = structlog.get_logger("qonduit.machine")

#: The number of interactive tasks in a lane that it accepts from all servers at once.
_INTERACTIVE_PLACES: Final = 16
#: The interval of hellos.
_HELLO_SECONDS: Final = 1.0
#: The number of ids in a line of the log.
_MOST_LISTED: Final = 32
#: The longest time between two calls of the link while it is connected, and some room.
_LINK_SECONDS: Final = 2.0


class WorkerMachine:
    """The listener of a pool, and the endpoint of a link.

    Use: create it, `start(wake)`, `ready()`, ..., `stop(grace)`, `close()`.

    Args:
        id: a new id for this start.
        host: the name of the machine, for display.
        pool: runs the tasks; not started yet.
        interactive: runs the interactive tasks; default: the machine takes none.
        lanes: the providers whose interactive tasks it takes; "" for those that need none.
        request_queue: the queue of requests.
        task_queue: the queue of tasks.
        task_memory_bytes: the limit of the memory of one task; 0 means no limit.
        memory_bytes: the limit of the memory of all running tasks; 0 means no limit.
        credentials: decrypts the credentials of tasks.
        worker_ends: returns the counts of ended worker processes.
        repeat_seconds: the least interval at which unacknowledged messages are repeated to a server.
        in_background: runs a function without delaying the caller; default: in two threads.
    """

    def __init__(
        self,
        id: str,
        host: str,
        pool: Executor,
        interactive: InteractivePools | None = None,
        *,
        lanes: Iterable[str] = (),
        request_queue: str,
        task_queue: str,
        task_memory_bytes: int = 0,
        memory_bytes: int = 0,
        credentials: TaskCredentials,
        worker_ends: Callable[[], Sequence[WorkerEndCount]] = tuple,
        repeat_seconds: float = 1.0,
        in_background: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._id = id
        self._credentials = credentials
        self._task_memory_bytes, self._memory_bytes = task_memory_bytes, memory_bytes
        self._pool = pool
        self._interactive = interactive
        self._lanes = [interactive_lane(name) for name in lanes]
        hello = MachineHello(request_queue=request_queue, task_queue=task_queue, host=host, release=installed_release())
        self._host = host
        self._hello = Outgoing("", MachineMessage(version=VERSION, machine=id, hello=hello).SerializeToString())
        self._changed = threading.Condition()
        self._sessions: dict[str, MachineSession] = {}
        self._hello_at = 0.0
        self._workers: list[Worker] = []
        #: Whether the list of workers was requested.
        self._list_due = False
        self._ready = self._stopping = self._ending = False
        self._repeat_seconds = repeat_seconds
        #: When the link asked for messages. It does not while the broker is away.
        self._asked_at = -math.inf
        #: Since when the machine has had no task.
        self._idle_since = time.monotonic()
        self._wake: Callable[[], None] = lambda: None
        # Describing takes seconds, and cancelling may wait for the pool: neither delays the receipt of messages.
        self._actions = ThreadPoolExecutor(2, thread_name_prefix="machine-action")
        self._worker_ends = worker_ends
        self._in_background = in_background or self._actions.submit

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to run tasks. `wake` makes the link ask for messages."""
        self._wake = wake
        self._pool.start(self)
        if self._interactive is not None:
            self._interactive.start(self)

    def ready(self) -> None:
        """Announce the machine from now on: its queue of tasks exists."""
        self._ready = True
        self._idle_since = time.monotonic()
        self._wake()

    def wait_idle(self, seconds: float, deadline: float) -> bool:
        """Wait until the machine has had no task for a time; return whether it has, or else the deadline has passed.

        Args:
            seconds: the time without a task; infinity waits for the deadline alone.
            deadline: a time of `time.monotonic`.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                busy = any(each.tasks for each in self._sessions.values())
                idle_at = math.inf if busy else self._idle_since + seconds
                if now >= min(idle_at, deadline):
                    return now >= idle_at
                self._changed.wait(min(idle_at - now, deadline - now, threading.TIMEOUT_MAX))

    def stop(self, grace: float, force: threading.Event) -> None:
        """Accept no more tasks, wait up to `grace` seconds for running ones, and hand back the rest.

        Args:
            grace: seconds.
            force: when set, the machine does not wait longer.
        """
        with self._changed:
            self._stopping = True
            for session in self._sessions.values():
                session.add(session.message(stopping=MachineStopping()))
        self._wake()
        deadline = time.monotonic() + grace
        with self._changed:
            while any(each.tasks for each in self._sessions.values()) and time.monotonic() < deadline:
                if force.is_set():
                    break
                self._changed.wait(min(0.1, max(0.0, deadline - time.monotonic())))
            self._ending = True
            self._changed.notify_all()
        self._pool.stop(1)
        if self._interactive is not None:
            self._interactive.stop(1)
        self._wake()

    def close(self) -> None:
        """End the threads of the machine, after `stop` and the end of its link."""
        self._actions.shutdown(wait=False, cancel_futures=True)

    # Called by Celery.

    def run_tasks(self, data: bytes) -> None:
        """Run the tasks of a message; ignore those that arrived before, and those of an old session."""
        message = TaskMessage.FromString(data)
        if not understood(message.version):
            return
        with self._changed:
            session = self._sessions.get(message.server)
            if session is None or session.number != message.session or self._stopping:
                return
            # A server that stops hands its jobs to others with the same attempts: until they have ended here, they are
            # not accepted from others, which send them again.
            busy = {key for each in self._sessions.values() if each is not session for key in each.tasks}
            arrived = {key: task for task in message.tasks if (key := (task.job_id, task.attempt)) not in busy}
            fresh = [
                task
                for key, task in arrived.items()
                if key not in session.tasks and (key, len(task.vendor_outcomes)) not in session.ended
            ]
            for task in fresh:
                if task.vendor_outcomes:
                    session.outcomes[task.job_id, task.attempt] = len(task.vendor_outcomes)
                lane = session.tasks[task.job_id, task.attempt] = lane_of(task)
                session.received[lane] = session.received.get(lane, 0) + 1
            accepted = TasksAccepted(message_id=message.message_id, tasks=keys_of(arrived))
            session.add(session.message(accepted=accepted))
        unreadable = self._credentials.open(message) if fresh else {}
        readable = [task for task in fresh if (task.job_id, task.attempt) not in unreadable]
        if jobs := [task for task in readable if not is_interactive_lane(lane_of(task))]:
            self._pool.submit(jobs)
        if self._interactive is not None:
            self._interactive.submit([task for task in readable if is_interactive_lane(lane_of(task))])
        for task in fresh:
            if why := unreadable.get((task.job_id, task.attempt)):
                described = f"the credential of the job, sent to {self._host}, {why}"
                self.events([provider_failure(task, "CREDENTIAL_MISSING", described, retryable=True)])
        with self._changed:
            dropped = not self._is_current(session)
        if dropped:
            # Their cancellation may have come before the pool had them.
            for task in readable:
                self._stop_task((task.job_id, task.attempt), lane_of(task))
        self._wake()

    # The endpoint of the link.

    def outgoing(self) -> Sequence[Outgoing]:
        """Return hellos, numbered messages that were not sent, and states."""
        now = time.monotonic()
        out: list[Outgoing] = []
        with self._changed:
            due = now - self._hello_at >= _HELLO_SECONDS
            due = due and self._ready
            # A server is not silent while nothing of it could arrive.
            passed, self._asked_at = min(now - self._asked_at, _LINK_SECONDS), now
            if due and not self._stopping:
                self._hello_at = now
                out.append(self._hello)
            sessions = list(self._sessions.values())
            states = due or any(session.state_due for session in sessions)
            listed, self._list_due = self._list_due or due, False
        # Outside the lock: the pool's lock comes first.
        capacity = self._pool.capacity() if states else {}
        if listed and sessions:
            self._workers = self._listed()
        lost: list[MachineSession] = []
        with self._changed:
            for session in sessions:
                session.silent_seconds += passed
                if session.silent_seconds > session.patience:
                    lost.append(session)
                    continue
                unsent = list(session.unacknowledged)[session.sent :]
                session.sent = len(session.unacknowledged)
                out.extend(Outgoing(session.server, data) for _, data in unsent)
                if states and (due or session.state_due):
                    message = session.message()
                    message.state.CopyFrom(self._state(session, capacity, self._workers))
                    out.append(Outgoing(session.server, message.SerializeToString()))
                    session.state_due = False
        for session in lost:
            self._drop(session, "its server is silent")
        return out

    def receive(self, body: bytes) -> None:
        """Handle a request of a server."""
        request = MachineRequest.FromString(body)
        if not understood(request.version):
            return
        with self._changed:
            session = self._sessions.get(request.server)
            if session is not None and session.number != request.session:
                previous, session = session, None
            else:
                previous = None
        if previous is not None:
            self._drop(previous, "its server had given up this machine")
        with self._changed:
            if session is None:
                session = self._sessions[request.server] = MachineSession(request.server, request.session, self._id)
                self._idle_since = time.monotonic()
            session.silent_seconds = 0.0
            session.patience = request.patience.ToNanoseconds() / 1e9 or session.patience
            session.acknowledge(request.acknowledged, repeat=request.repeat, repeat_seconds=self._repeat_seconds)
            session.state_due = self._list_due = True
            self._changed.notify_all()
        for key in map(key_of, request.cancels):
            self._in_background(partial(self._cancel, session, key))
        if request.preload:
            self._pool.preload(list(request.preload))
        if request.describe_all:
            self._in_background(partial(self._describe_all, session))
        if request.HasField("describe"):
            self._in_background(partial(self._describe, session, request.describe))
        self._wake()

    def away(self, peer: str) -> None:
        """Ignore it: the session of a server that is away ends after its patience."""

    def connected(self) -> None:
        """Ignore it: hellos and states are sent every second."""

    # The listener of the pool.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Queue events for their servers. Wait while a server has not received many bytes: workers wait, too."""
        for session, all_of_server in self._by_session((event.job_id, event.attempt, event) for event in events):
            with self._changed:
                kept = [each for each in all_of_server if not (session.slow and is_replaceable(each))]
                for batch, size in in_batches(kept):
                    self._wake()
                    while not (session.has_room(size) or self._ending or not self._is_current(session)):
                        self._changed.wait()
                    self._queue(session, batch, size)
                self._changed.notify_all()
        self._wake()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Report a task that ended without a `finished` event."""
        key = (job_id, attempt)
        with self._changed:
            session = next((each for each in self._sessions.values() if key in each.tasks), None)
            if session is None:
                return
            self._add_lost(session, key, loss)
            self._changed.notify_all()
        self._wake()

    def capacity_changed(self) -> None:
        """Send new limits to all servers."""
        with self._changed:
            for session in self._sessions.values():
                session.state_due = True
        self._wake()

    # Parts.

    def _queue(self, session: MachineSession, batch: Sequence[TaskEvent], size: int) -> None:
        """Queue events for a server, unless its session has ended. When the machine ends, tasks without room return."""
        if not self._is_current(session):
            return
        if session.has_room(size):
            session.add_events(batch)
            self._idle_since = time.monotonic()
            return
        for key in {(event.job_id, event.attempt) for event in batch} & session.tasks.keys():
            self._add_lost(session, key, Loss(LossKind.STOPPED, ""))

    def _add_lost(self, session: MachineSession, key: Key, loss: Loss) -> None:
        if loss.kind is LossKind.STOPPED:
            loss = replace(loss, message=f"the worker machine {self._host} stopped")
        session.add_lost(key, loss)
        self._idle_since = time.monotonic()

    def _state(self, session: MachineSession, capacity: Mapping[str, int], workers: Sequence[Worker]) -> MachineState:
        """Return the state for one server: servers share the free places."""
        state = MachineState(
            tasks=keys_of(session.tasks),
            workers=workers,
            last_sequence=session.sequence,
            task_memory_bytes=self._task_memory_bytes,
            memory_bytes=self._memory_bytes,
            worker_ends=self._worker_ends(),
        )
        if not self._stopping:
            places = {**capacity, **self._interactive_places()}
            for lane in {*places, *session.received}:
                free = 0 if session.slow else math.ceil(places.get(lane, 0) / len(self._sessions))
                state.limits[lane] = session.received.get(lane, 0) + free
        return state

    def _interactive_places(self) -> dict[str, int]:
        """Return the number of further interactive tasks that it accepts, by lane."""
        taken = Counter(lane for session in self._sessions.values() for lane in session.tasks.values())
        return {lane: max(0, _INTERACTIVE_PLACES - taken[lane]) for lane in self._lanes}

    def _listed(self) -> list[Worker]:
        workers = self._pool.list_workers()
        for worker in workers:
            worker.host = self._host
        return workers

    def _is_current(self, session: MachineSession) -> bool:
        return self._sessions.get(session.server) is session

    def _by_session(self, events: Iterable[tuple[int, int, TaskEvent]]) -> list[tuple[MachineSession, list[TaskEvent]]]:
        with self._changed:
            batches: dict[str, list[TaskEvent]] = {}
            for job_id, attempt, event in events:
                for session in self._sessions.values():
                    if (job_id, attempt) in session.tasks:
                        batches.setdefault(session.server, []).append(event)
                        break
            return [(self._sessions[server], batch) for server, batch in batches.items()]

    def _drop(self, session: MachineSession, why: str) -> None:
        """End a session: cancel its tasks and forget its messages."""
        with self._changed:
            if self._is_current(session):
                del self._sessions[session.server]
            tasks = dict(session.tasks)
            if tasks:
                self._idle_since = time.monotonic()
            self._changed.notify_all()
        if tasks:
            jobs = sorted({job_id for job_id, _ in tasks if job_id > 0})
            _log.warning("tasks cancelled", why=why, tasks=len(tasks), job_ids=jobs[:_MOST_LISTED])
        for key, lane in tasks.items():
            self._stop_task(key, lane)

    def _cancel(self, session: MachineSession, key: Key) -> None:
        if (lane := session.tasks.get(key)) is not None:
            self._stop_task(key, lane)

    def _stop_task(self, key: Key, lane: str) -> None:
        """Cancel a task."""
        if is_interactive_lane(lane) and self._interactive is not None:
            self._interactive.cancel(*key)
        else:
            self._pool.cancel(*key)

    def _describe_all(self, session: MachineSession) -> None:
        if session.slow:
            return  # the server requests it again
        for description in self._pool.descriptions(20.0):
            self._answer(session, ProviderDescribed(description=description))

    def _describe(self, session: MachineSession, request: DescribeProvider) -> None:
        answer = ProviderDescribed(request=request.request)
        try:
            answer.description.CopyFrom(self._pool.describe(request.provider, request.timeout.ToNanoseconds() / 1e9))
            if self._interactive is not None:
                self._interactive.adopt(answer.description)
        except CallError as error:
            answer.error, answer.temporary = str(error), isinstance(error, Unavailable)
        self._answer(session, answer)

    def _answer(self, session: MachineSession, answer: ProviderDescribed) -> None:
        with self._changed:
            session.add(session.message(described=answer))
        self._wake()
