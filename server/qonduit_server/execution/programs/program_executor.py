# SPDX-License-Identifier: Apache-2.0
"""The executor of a server with server programs: another executor runs the circuits, and a pool the programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.executor import Executor, Key, Listener
from qonduit_server.execution.local.worker_listing import with_memory
from qonduit_server.execution.programs.program_pool import ProgramPool
from qonduit_server.execution.programs.running_program import OpenSession
from qonduit_server.execution.wrapping_executor import WrappingExecutor
from qonduit_server.store.program_queue import PROGRAMS


class ProgramExecutor(WrappingExecutor):
    """Runs the tasks of another executor, and server programs. Thread-safe. See `Executor`.

    Args:
        base: the other executor.
        pool: runs the programs.
        server: the id of this server, of the listed processes.
    """

    def __init__(self, base: Executor, pool: ProgramPool, server: str = "") -> None:
        super().__init__(base)
        self._pool = pool
        self._server = server
        self._open_session: OpenSession

    def answer_calls(self, open_session: OpenSession) -> None:
        """Set what opens the sessions of programs; call it before `start`."""
        self._open_session = open_session

    def start(self, listener: Listener) -> None:
        """See `Executor`."""
        self._pool.start(listener, self._open_session)
        self._base.start(listener)

    def list_workers(self) -> list[Worker]:
        """See `Executor`. Processes of programs have the name of their queue in place of that of a provider."""
        programs = self._pool.running()
        for each in programs:
            each.server, each.provider = self._server, PROGRAMS
        return sorted([*super().list_workers(), *with_memory(programs)], key=lambda each: (each.provider, each.pid))

    def capacity(self) -> Mapping[str, int]:
        """See `Executor`."""
        programs = self._pool.capacity()
        return {**super().capacity(), **({PROGRAMS: programs} if programs else {})}

    def submit(self, tasks: Sequence[Task]) -> None:
        """See `Executor`."""
        self._pool.submit([task for task in tasks if task.provider == PROGRAMS])
        if others := [task for task in tasks if task.provider != PROGRAMS]:
            self._base.submit(others)

    def tasks(self) -> Collection[Key]:
        """See `Executor`."""
        return {*self._base.tasks(), *self._pool.keys()}

    def cancel(self, job_id: int, attempt: int) -> None:
        """See `Executor`."""
        self._pool.cancel((job_id, attempt))
        self._base.cancel(job_id, attempt)

    def stop(self, grace: float) -> None:
        """See `Executor`."""
        self._pool.stop()
        self._base.stop(grace)
