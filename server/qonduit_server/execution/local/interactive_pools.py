# SPDX-License-Identifier: Apache-2.0
"""Process pools for interactive tasks: translations, compilations and analyses for which a caller waits."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.execution.executor import ExecutorOptions, Listener, Loss, LossKind
from qonduit_server.execution.local.memory_shares import memory_shares
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.execution.stderr_log import StderrLog

#: The provider name of processes that only translate and analyze.
NO_PROVIDER: Final = ""
#: How long the first task of a provider waits for the description of its processes.
_DESCRIBE_SECONDS: Final = 20.0


class InteractivePools:
    """Runs interactive tasks in processes that run no jobs. Thread-safe. No process starts before the first task.

    Programs are translated and analyzed in processes that load no provider's SDK. They are compiled in processes of the
    device's provider, which start and load its SDK for the first program. There are two pools, one for each kind, so
    that no translation waits for compilations.

    Args:
        workers: the maximum of concurrent translations and analyses, and of concurrent compilations for all providers.
        pythons: the Python executables of the processes, by provider name; default: this one.
        languages: whether processes without a provider can read programs.
        memory_limit_bytes: the limit of the address space that one process may add, and of the memory of all Python
            source that runs for the processes of one pool; 0 means no limit.
        program: the arguments with which Python runs a fork server.
        show_errors: whether the processes write to the stderr of this process.
        stderr: logs the stderr of the processes.
        environment: the environment of the processes; default: the one of this process.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        pythons: Mapping[str, str] | None = None,
        languages: bool = True,
        memory_limit_bytes: int = 0,
        program: Sequence[str] = ("-m", "qonduit_server.worker.forkserver"),
        show_errors: bool = False,
        stderr: StderrLog | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.memory_limit_bytes = memory_limit_bytes

        def make_pool(thread_name: str) -> ProcessPool:
            return ProcessPool(
                [],
                workers,
                pythons=pythons,
                memory_limit_bytes=memory_limit_bytes,
                memory_bytes=memory_limit_bytes,
                program=program,
                show_errors=show_errors,
                stderr=stderr,
                environment=environment,
                thread_name=thread_name,
            )

        self._make_pool = make_pool
        self._lock = threading.Lock()
        #: By the name of their thread.
        self._pools: dict[str, ProcessPool] = {}
        #: The providers whose SDKs the processes lack.
        self._missing = set() if languages else {NO_PROVIDER}
        self._listener: Listener
        self._stopped = False

    def start(self, listener: Listener) -> None:
        """Set what receives events and ends; call it before the first task."""
        self._listener = listener

    def has_sdk(self, provider: str) -> bool:
        """Return whether the processes of a provider have its SDK; wait until the first of them has reported it."""
        if provider in self._missing:
            return False
        if provider == NO_PROVIDER or (pool := self._started(provider)) is None:
            return True
        description = pool.reported(provider, _DESCRIBE_SECONDS)
        if description is None:
            return False  # this time: the process may be slow
        if description.unavailable:
            self._missing.add(provider)
        return not description.unavailable

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run tasks."""
        for task in tasks:
            pool = self._started(task.provider)
            if pool is None:
                self._listener.lost(task.job_id, task.attempt, Loss(LossKind.STOPPED, "the server stopped"))
            else:
                pool.submit([task])

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a waiting or running task. Do nothing if it has ended."""
        for pool in self._all():
            pool.cancel(job_id, attempt)

    def adopt(self, description: ProviderDescription) -> None:
        """Replace the processes that compile for a provider, if its description has changed."""
        for pool in self._all():
            pool.adopt(description)

    def processes(self) -> list[int]:
        """Return process ids: of each fork server, then of its workers; empty before the first task."""
        return [pid for pool in self._all() for pids in pool.processes().values() for pid in pids]

    def stop(self, grace: float) -> None:
        """End all processes; the remaining tasks are lost as STOPPED."""
        with self._lock:
            self._stopped = True
        pools = self._all()
        with self._lock:
            self._pools = {}
        for pool in pools:
            pool.stop(grace)

    def _all(self) -> list[ProcessPool]:
        with self._lock:
            return list(self._pools.values())

    def _started(self, provider: str) -> ProcessPool | None:
        """Return the pool of a provider, started, with its fork server; None after `stop`."""
        kind = "compiler" if provider else "translator"
        with self._lock:
            if self._stopped:
                return None
            pool = self._pools.get(kind)
            if pool is None:
                pool = self._pools[kind] = self._make_pool(kind)
                pool.launch()
                pool.start(self._listener)
        pool.add_provider(provider)
        return pool


def make_interactive_pools(options: ExecutorOptions) -> InteractivePools:
    """Return new pools with the options of an executor, for a server or a worker machine."""
    # If all providers have separate environments, programs are read in the first of them.
    here = find_spec("qiskit") is not None
    elsewhere = None if here else next(iter(options.provider_python.values()), None)
    shares = memory_shares(options)
    return InteractivePools(
        shares.workers,
        pythons={**options.provider_python, **({NO_PROVIDER: elsewhere} if elsewhere else {})},
        languages=here or elsewhere is not None,
        memory_limit_bytes=shares.process_bytes,
        program=options.worker_arguments,
        stderr=options.stderr,
        environment=options.environment,
    )
