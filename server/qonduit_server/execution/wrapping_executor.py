# SPDX-License-Identifier: Apache-2.0
"""The base of executors that run some tasks themselves and leave the others to another executor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.executor import Executor, InteractiveTasks, Listener
from qonduit_server.version_requirements import Environment


class WrappingExecutor:
    """Calls another executor; a subclass has what concerns tasks. See `Executor`.

    Args:
        base: the other executor.
    """

    def __init__(self, base: Executor) -> None:
        self._base = base

    def launch(self) -> None:
        """See `Executor`."""
        self._base.launch()

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """See `Executor`."""
        return self._base.descriptions(timeout)

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        """See `Executor`."""
        return self._base.describe(provider, timeout)

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """See `Executor`."""
        self._base.preload(providers)

    def list_workers(self) -> list[Worker]:
        """See `Executor`."""
        return self._base.list_workers()

    def capacity(self) -> Mapping[str, int]:
        """See `Executor`."""
        return self._base.capacity()

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        """See `Executor`."""
        return self._base.environments()

    def lag(self) -> float | None:
        """See `Executor`."""
        return self._base.lag()

    def resize(self, workers: int) -> None:
        """See `Executor`."""
        self._base.resize(workers)

    def use_broker(self, url: str) -> None:
        """See `Executor`."""
        self._base.use_broker(url)

    def interactive(self, listener: Listener) -> InteractiveTasks | None:
        """See `Executor`."""
        return self._base.interactive(listener)
