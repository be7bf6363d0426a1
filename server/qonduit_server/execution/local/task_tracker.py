# SPDX-License-Identifier: Apache-2.0
"""Track the tasks of a pool's workers: receive their events, and end tasks that do not finish."""

from __future__ import annotations

from collections.abc import Callable

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit.execution.v1.worker_pb2 import WorkerReply
from qonduit_server.execution.executor import Key, LossKind
from qonduit_server.execution.local.scheduler import Scheduler
from qonduit_server.execution.local.task_log import TaskLog
from qonduit_server.execution.local.worker_processes import ForkServer, PendingTask, Worker
from qonduit_server.execution.pending_notifications import PendingNotifications
from qonduit_server.execution.socket_selector import SocketSelector


class TaskTracker:
    """Tracks tasks from their assignment to a worker. The pool locks it.

    Args:
        scheduler: requeues tasks.
        notifications: collects events and losses for the listener.
        selector: watches the sockets of workers.
        log: logs the steps of tasks.
        fork: requests one more worker of a provider.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        notifications: PendingNotifications,
        selector: SocketSelector[ForkServer | Worker],
        log: TaskLog,
        fork: Callable[[ForkServer], Worker | None],
    ) -> None:
        self._scheduler = scheduler
        self._notifications = notifications
        self._selector = selector
        self._log = log
        self._fork = fork

    def receive(self, worker: Worker, now: float, *, everything: bool = False) -> None:
        """Receive events from a worker; `everything` reads until the end of a dead worker's socket."""
        finished = 0
        for body in worker.channel.receive(everything=everything):
            for event in WorkerReply.FromString(body).events.events:
                held = worker.held.get((event.job_id, event.attempt))
                if held is not None and self._is_over(worker, held, event, now):
                    finished += 1
        if finished:
            worker.finished(finished, now)
            worker.provider.failed_starts = 0
            self._notifications.capacity_changed = True
            if worker.retired and not worker.held:
                worker.replace()
        if worker.channel.ended:
            self._selector.drop(worker.channel)
            if worker.exit_code is None:  # a worker without a socket cannot report events
                worker.kill()

    def _is_over(self, worker: Worker, held: PendingTask, event: TaskEvent, now: float) -> bool:
        """Process an event of a task; return whether the worker is done with the task."""
        kind = self._log.record(worker, held, event)
        if kind == "phase":
            return False
        if held.task.credential and kind in ("finished", "declined"):
            # No other task runs in a process that knows a credential.
            worker.replace()
        if kind == "declined":
            if worker.kill_reason is not None and worker.kill_reason[0] == held.key:
                return False
            self._scheduler.declined(worker, held, event.declined.memory_bytes, now)
            self._notifications.event(event)
            return True
        if kind == "started":
            held.started_at = now
            if held.need:  # reported at its first assignment
                return False
        elif kind == "finished":
            del worker.held[held.key]
        self._notifications.event(event)
        return kind == "finished"

    def end(self, worker: Worker, key: Key, kind: LossKind, message: str) -> None:
        """End a task of a worker: reclaim it if it has not started, otherwise kill the worker and fork another."""
        back = worker.reclaim()
        for held in back:
            if held.key == key:
                back.remove(held)
                self._notifications.lose(held.key, held.loss(kind, message, worker.pid))
                break
        else:
            worker.kill_reason = (key, kind, message)
            self._log.step("killed", key, worker, why=message)
            worker.kill()
            self._fork(worker.provider)
        self._scheduler.requeue(worker.provider, back)

    def check_limits(self, worker: Worker, now: float) -> None:
        """End the running task of a worker at its time limit; log it if it is slow."""
        limit = worker.limit()
        if limit is not None and limit[0] <= now:
            self.end(worker, limit[1], LossKind.TIME_LIMIT, "it ran longer than its time limit")
        elif worker.slow_at() <= now:
            self._log.slow(worker)

    def worker_exited(self, worker: Worker, how: str, now: float) -> None:
        """Lose the running task of a dead worker, and requeue its other tasks."""
        self.receive(worker, now, everything=True)
        self._selector.drop(worker.channel)
        back = worker.reclaim()
        lost, others = worker.discard(how)
        for held, kind, message in lost:
            self._notifications.lose(held.key, held.loss(kind, message, worker.pid))
        self._scheduler.requeue(worker.provider, back + others)
        self._notifications.capacity_changed = True

    def stop(self, provider: ForkServer) -> None:
        """Lose all tasks of a provider, because the pool stops."""
        for held in self._scheduler.clear(provider):
            self._notifications.lose(held.key, held.loss(LossKind.STOPPED, "the server stopped"))
        for worker in provider.workers.values():
            for held in worker.held.values():
                loss = held.loss(LossKind.STOPPED, "the server stopped", worker.pid)
                self._notifications.lose(held.key, loss)
