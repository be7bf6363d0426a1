# SPDX-License-Identifier: Apache-2.0
"""The seam between the dispatcher and whatever runs tasks: this machine's processes, or an engine on many machines.

Executors are registered here, one line each; other packages add theirs by the entry point group `qonduit.executors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.errors import StartError
from qonduit_server.execution.stderr_log import StderrLog

#: Name -> "module:factory".
EXECUTORS: Final[Mapping[str, str]] = {
    "local": "qonduit_server.execution.local.local_executor:make_local_executor",
}
#: The entry point group of executors from other distributions; an entry's name is the executor's.
GROUP: Final = "qonduit.executors"


class LossKind(Enum):
    """Why a task ended without a `finished` event."""

    DIED = "died"  #: the process that ran it died
    CANCELLED = "cancelled"  #: `cancel` was called
    TIME_LIMIT = "time limit"  #: it ran longer than its time limit
    STOPPED = "stopped"  #: not its fault: it can be run again without being counted against it


@dataclass(frozen=True)
class Loss:
    """How a task was lost.

    Attributes:
        kind: why.
        message: for people; names what is known, for example the signal.
        pid: the process that had the task; 0 when none had it.
    """

    kind: LossKind
    message: str
    pid: int = 0


class Listener(Protocol):
    """Who hears of tasks. Called in one thread of the executor, one call after another; must be quick."""

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Something happened to tasks, in order. After `finished`, nothing more is said about a task."""

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without a `finished` event. No more events of it follow."""

    def capacity_changed(self) -> None:
        """More tasks may be wanted than before."""


class Executor(Protocol):
    """Runs tasks. Each submitted task ends in exactly one of: a `finished` event, a loss.

    Use: `launch()`, `descriptions()`, `start(listener)`, `preload(names)`, ..., `stop(grace)`. After `launch()` all
    methods may be called from any thread.
    """

    def launch(self) -> None:
        """Start worker processes, or connect to them, in the background."""

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """Return what each provider offers; one that does not answer within `timeout` seconds is unavailable."""

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """Load the SDKs of these providers ahead of their first task; default: all. Does not wait for it."""

    def list_workers(self) -> list[Worker]:
        """Return what each worker process does now."""

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""

    def capacity(self) -> Mapping[str, int]:
        """How many more tasks are wanted now, by provider name. More may be submitted; they wait."""

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run these. No two of them at once may be the same attempt at the same job."""

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a task, running or not. Does nothing when it has ended."""

    def stop(self, grace: float) -> None:
        """End everything; what still runs is lost as STOPPED. Processes get `grace` seconds before they are killed."""


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """What an executor gets from the server.

    Args:
        providers: names of the providers to offer.
        workers: how many tasks run at once, at most.
        worker_arguments: arguments that make a Python a fork server of one provider, which forks workers.
        provider_python: another Python for a provider's processes, by provider name.
        address_space_bytes: what one worker may add to its address space; 0 means no limit.
        memory_bytes: what all running tasks may take together, as their workers estimate; 0 means no limit.
        server: names the server in log lines and in the list of workers.
        stderr: logs what worker processes write to their standard error; default: it is dropped.
        environment: variables for worker processes; default: those of this process.
    """

    providers: Sequence[str]
    workers: int
    worker_arguments: Sequence[str] = ("-m", "qonduit_server.worker.forkserver")
    provider_python: Mapping[str, str] = field(default_factory=dict)
    address_space_bytes: int = 0
    memory_bytes: int = 0
    server: str = ""
    stderr: StderrLog | None = None
    environment: Mapping[str, str] | None = None


ExecutorFactory = Callable[[ExecutorOptions], Executor]


def names() -> tuple[str, ...]:
    """Return the names of all registered executors, the built-in ones first. Imports none of them."""
    return (*EXECUTORS, *(name for name in _entry_points() if name not in EXECUTORS))


def make_executor(name: str, options: ExecutorOptions) -> Executor:
    """Make the executor of a name; nothing is started yet.

    Raises:
        StartError: no executor has that name, or its module cannot be imported.
    """
    factory: ExecutorFactory
    if name in EXECUTORS:
        module, _, attribute = EXECUTORS[name].partition(":")
        factory = getattr(import_module(module), attribute)
        return factory(options)
    entry = _entry_points().get(name)
    if entry is None:
        raise StartError(f"there is no executor {name!r}; known are {', '.join(names())} (executor)")
    try:
        factory = entry.load()
    except ImportError as error:
        raise StartError(f"the executor {name!r}, registered as {entry.value}, cannot be imported: {error}") from error
    return factory(options)


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
