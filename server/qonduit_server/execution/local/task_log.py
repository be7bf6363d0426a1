# SPDX-License-Identifier: Apache-2.0
"""Log the steps of tasks in worker processes and record the workers' phases, to explain jobs that stay RUNNING."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qonduit.execution.v1.task_pb2 import TaskEvent
    from qonduit_server.execution.executor import Key
    from qonduit_server.execution.local.worker_processes import PendingTask, Worker


class TaskLog:
    """Logs the steps of tasks for one pool; every line contains job, attempt and worker.

    Args:
        owner: the server, as the owner of its leases, which lines then contain; empty on a machine of several servers.
        slow_seconds: the running time after which a task is logged as slow.
    """

    def __init__(self, owner: str, slow_seconds: float) -> None:
        self._owner = owner
        self._slow_seconds = slow_seconds
        self._bound: Any = None

    def _logger(self) -> Any:
        if self._bound is None:  # bound late: at the creation of a pool, logging is neither imported nor configured
            import structlog

            self._bound = structlog.get_logger("qonduit.worker")
            if self._owner:
                self._bound = self._bound.bind(owner=self._owner)
        return self._bound

    def handed_over(self, worker: Worker, tasks: Sequence[PendingTask]) -> None:
        """Log the assignment of tasks to a worker. Its pid is 0 while it is being forked."""
        for held in tasks:
            held.slow_after = self._slow_seconds
            self.step("handed over", held.key, worker)

    def record(self, worker: Worker, held: PendingTask, event: TaskEvent) -> str | None:
        """Record the phase of a worker from an event, and log its step; return the event's kind."""
        kind: str | None = event.WhichOneof("event")
        if kind == "phase":
            worker.phase = event.phase.message
        elif kind in ("started", "declined", "finished"):
            worker.phase = ""
            if kind == "started":
                self.step("started", held.key, worker)
            elif kind == "declined":
                self.step("declined", held.key, worker, memory_bytes=event.declined.memory_bytes)
        return kind

    def step(self, step: str, key: Key, worker: Worker, **more: object) -> None:
        """Log a step of a task at a worker."""
        self._logger().debug(step, **_ids(key, worker), **more)

    def slow(self, worker: Worker) -> None:
        """Log the slow task of a worker; it is logged again when its running time has doubled."""
        held = next(iter(worker.held.values()))
        self._logger().info("slow", **_ids(held.key, worker), phase=worker.phase, seconds=round(held.slow_after, 3))
        held.slow_after *= 2


def _ids(key: Key, worker: Worker) -> dict[str, object]:
    return {"job_id": key[0], "attempt": key[1], "pid": worker.pid, "provider": worker.provider.name}
