# SPDX-License-Identifier: Apache-2.0
"""An executor as another package would write it: a thread of this process runs the tasks. It uses public APIs only."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Mapping, Sequence

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.executor import ExecutorOptions, Listener, Loss, LossKind
from qonduit_server.providers import registry
from qonduit_server.version_requirements import Environment
from qonduit_server.worker import loop
from qonduit_server.worker.assembly import describe_provider, make_runner


class InlineExecutor:
    """Run one task after another. A running task cannot be ended."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._options = options
        self._runs: dict[str, loop.Run] = {}
        self._waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._tasks: set[tuple[int, int]] = set()
        self._cancelled: set[tuple[int, int]] = set()
        self._thread = threading.Thread(target=self._serve, name="inline", daemon=True)
        self._listener: Listener

    def launch(self) -> None:
        pass

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        return [describe_provider(registry.get(name)) for name in self._options.providers]

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        return describe_provider(registry.get(provider))

    def preload(self, providers: Iterable[str] | None = None) -> None:
        pass

    def list_workers(self) -> list[Worker]:
        return [Worker(provider=name, server=self._options.server) for name in self._options.providers]

    def start(self, listener: Listener) -> None:
        self._listener = listener
        self._thread.start()

    def capacity(self) -> Mapping[str, int]:
        return dict.fromkeys(self._options.providers, 1)

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        return {each.provider.name: [Environment(each.versions)] for each in self.descriptions(0)}

    def submit(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._tasks.add((task.job_id, task.attempt))
            self._waiting.put(task)

    def tasks(self) -> set[tuple[int, int]]:
        return self._tasks.copy()

    def cancel(self, job_id: int, attempt: int) -> None:
        self._cancelled.add((job_id, attempt))

    def lag(self) -> None:
        pass

    def resize(self, workers: int) -> None:
        pass

    def use_broker(self, url: str) -> None:
        pass

    def interactive(self, listener: Listener) -> None:
        pass

    def stop(self, grace: float) -> None:
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(grace)

    def _serve(self) -> None:
        while (task := self._waiting.get()) is not None:
            if (task.job_id, task.attempt) in self._cancelled:
                self._listener.lost(task.job_id, task.attempt, Loss(LossKind.CANCELLED, "cancelled before it began"))
            else:
                if task.provider not in self._runs:
                    self._runs[task.provider] = make_runner(registry.get(task.provider))
                self._runs[task.provider]([task], lambda event: self._listener.events([event]))
            self._tasks.discard((task.job_id, task.attempt))
            self._listener.capacity_changed()
