# SPDX-License-Identifier: Apache-2.0
"""What explains a job that stays RUNNING: log lines about tasks in worker processes, and what each worker does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qonduit.execution.v1.task_pb2 import TaskEvent
    from qonduit_server.execution.local.worker_processes import Key, PendingTask, Worker


class TaskLog:
    """Logs the steps of tasks for one pool; every line names job, attempt, worker and owner.

    Args:
        owner: the server, as it names its leases.
        slow_seconds: after so long a running task is logged as slow.
    """

    def __init__(self, owner: str, slow_seconds: float) -> None:
        self._owner = owner
        self._slow_seconds = slow_seconds
        self._bound: Any = None

    def _logger(self) -> Any:
        if self._bound is None:  # made late: when a pool is made, logging is neither imported nor configured
            import structlog

            self._bound = structlog.get_logger("qonduit.worker").bind(owner=self._owner)
        return self._bound

    def handed_over(self, worker: Worker, tasks: Sequence[PendingTask]) -> None:
        """Tasks were handed to a worker. Its pid is 0 while it is being forked."""
        for held in tasks:
            held.slow_after = self._slow_seconds
            self.step("handed over", held.key, worker)

    def heard(self, worker: Worker, held: PendingTask, event: TaskEvent) -> str | None:
        """Note what an event says about a worker; return the event's kind."""
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
        """Something happened to a task at a worker."""
        self._logger().debug(step, **_ids(key, worker), **more)

    def slow(self, worker: Worker) -> None:
        """Log the task of a worker that has run for long; it is logged again when that has doubled."""
        held = next(iter(worker.held.values()))
        self._logger().info("slow", **_ids(held.key, worker), phase=worker.phase, seconds=round(held.slow_after, 3))
        held.slow_after *= 2


def _ids(key: Key, worker: Worker) -> dict[str, object]:
    return {"job_id": key[0], "attempt": key[1], "pid": worker.pid, "provider": worker.provider.name}
