# SPDX-License-Identifier: Apache-2.0
"""The interface between the dispatcher and executors of tasks: local processes, or an engine on many machines.

Executors are registered here, one line each; other packages register theirs in the entry point group
`qonduit.executors`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_client.distribution import pip_install
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import StartError
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.version_requirements import Environment

#: Name -> "module:factory".
EXECUTORS: Final[Mapping[str, str]] = {
    "local": "qonduit_server.execution.local.local_executor:make_local_executor",
    "celery": "qonduit_server.execution.celery.celery_executor:make_celery_executor",
}
#: The entry point group of executors from other distributions; the name of an entry is the name of its executor.
GROUP: Final = "qonduit.executors"
#: The reason of the failure of an interactive task that no machine can take.
NO_WORKER: Final = "NO_WORKER"

#: A job and the number of its attempt.
Key = tuple[int, int]


class LossKind(Enum):
    """The reason why a task ended without a `finished` event."""

    DIED = "died"  #: the process that ran it died
    CANCELLED = "cancelled"  #: `cancel` was called
    TIME_LIMIT = "time limit"  #: it ran longer than its time limit
    STOPPED = "stopped"  #: the executor stopped: the task can run again, and the attempt does not count


@dataclass(frozen=True)
class Loss:
    """The loss of a task.

    Attributes:
        kind: the reason.
        message: details for display, for example the signal.
        pid: the process that had the task; 0 if no process had it.
        seconds: the time for which it occupied a worker; None if it is not known.
    """

    kind: LossKind
    message: str
    pid: int = 0
    seconds: float | None = None


class Listener(Protocol):
    """Receives the events of tasks. One thread of the executor makes all calls; they must return quickly."""

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Handle events of tasks, in order. No event of a task follows its `finished` event."""

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without a `finished` event. No more events of it follow."""

    def capacity_changed(self) -> None:
        """Handle a change of `capacity`: the executor may want more tasks."""


class InteractiveTasks(Protocol):
    """Runs interactive tasks: a caller waits for them, and they read programs without running them.

    Each ends as other tasks do. Their job ids are negative, and no two servers use the same. All methods are
    thread-safe.
    """

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run tasks, on places that tasks of jobs do not take."""

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a waiting or running task. Do nothing if it has ended."""


class Executor(Protocol):
    """Runs tasks. Each submitted task ends with exactly one `finished` event or loss.

    Use: `launch()`, `descriptions()`, `start(listener)`, `preload(names)`, ..., `stop(grace)`. After `launch()`, all
    methods are thread-safe.
    """

    def launch(self) -> None:
        """Start worker processes, or connect to them, in the background."""

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """Return the description of each provider; one without a response in `timeout` seconds is unavailable."""

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        """Return the description of a provider as a process reads it that starts now.

        If it differs from the previous one, tasks that start later run in processes that have read it, too.

        Raises:
            Unavailable: the provider did not describe itself within `timeout` seconds.
            FailedPrecondition: it cannot be described, or does not belong to this executor.
        """

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """Begin to load the SDKs of these providers before their first task; default: all. Do not wait."""

    def list_workers(self) -> list[Worker]:
        """Return the worker processes with their states."""

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""

    def capacity(self) -> Mapping[str, int]:
        """Return the number of further tasks that the workers want now, by provider name. Others wait."""

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        """Return the environments of its workers, by provider name, with the number of tasks that each takes now.

        Jobs that require versions are claimed for them alone. A change is reported as one of the capacity.
        """

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run tasks. An attempt of a job must not be submitted again before it has ended.

        A task may carry a credential. The executor keeps it in memory, passes it only to the process that runs the
        task, and ends that process after the task.
        """

    def tasks(self) -> Collection[tuple[int, int]]:
        """Return the job and attempt of each submitted task that has not ended. The dispatcher requeues missing ones.

        A task is contained until the listener's call for its `finished` event or its loss has returned.

        Raises:
            Unavailable: the executor does not know now.
        """

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a waiting or running task. Do nothing if it has ended."""

    def interactive(self, listener: Listener) -> InteractiveTasks | None:
        """Return what runs interactive tasks on other machines; None if all tasks run on this machine.

        Args:
            listener: receives their events and ends.
        """

    def lag(self) -> float | None:
        """Return by how many seconds messages of other machines are late; None if all tasks run on this machine."""

    def resize(self, workers: int) -> None:
        """Run another number of tasks at once; those that run continue. Do nothing if other machines run the tasks."""

    def use_broker(self, url: str) -> None:
        """Use another user or password at the broker from the next connection on. Do nothing without a broker."""

    def stop(self, grace: float) -> None:
        """End all tasks with a loss STOPPED, and all processes; those that run after `grace` seconds are killed."""


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """The options of an executor.

    Args:
        providers: the names of the providers.
        workers: the maximum number of concurrent tasks.
        worker_arguments: the arguments with which Python runs a fork server of one provider, which forks workers.
        provider_python: the Python executables of providers' processes, by provider name; default: this one.
        address_space_bytes: the limit of the address space that one worker may add; 0 means no limit.
        memory_bytes: the limit of the memory of all running tasks, as their workers estimate; 0 means no limit.
        task_memory_bytes: the limit of the memory of one task, which a worker machine reports; 0: `memory_bytes`.
        server: the id of the server in log lines and in the list of workers.
        stderr: logs the standard error of worker processes; default: it is dropped.
        environment: the environment of worker processes; default: the one of this process.
        broker: the URL of the message broker, for executors on other machines.
        broker_ca: the file of the CAs of the broker's certificate; default: those of the system.
        worker_keys: encrypt the credentials of tasks on their way to other machines; default: none.
        on_description: called with each description of a provider that changes after `descriptions`, which an executor
            on other machines does when machines come and go.
        observer: receives the ends of worker processes.
    """

    providers: Sequence[str]
    workers: int
    worker_arguments: Sequence[str] = ("-m", "qonduit_server.worker.forkserver")
    provider_python: Mapping[str, str] = field(default_factory=dict)
    address_space_bytes: int = 0
    memory_bytes: int = 0
    task_memory_bytes: int = 0
    server: str = ""
    stderr: StderrLog | None = None
    environment: Mapping[str, str] | None = None
    broker: str = ""
    broker_ca: str = ""
    worker_keys: KeyRing = field(default_factory=KeyRing)
    on_description: Callable[[ProviderDescription], None] = lambda description: None
    observer: Observer = UNOBSERVED


ExecutorFactory = Callable[[ExecutorOptions], Executor]


def is_interactive(task: Task) -> bool:
    """Return whether a task reads programs for a waiting caller and runs none."""
    return bool(task.translate_to) or task.compile_only or task.analyze_only or task.check_only


def names() -> tuple[str, ...]:
    """Return the names of all registered executors, the built-in ones first, without importing them."""
    return (*EXECUTORS, *(name for name in _entry_points() if name not in EXECUTORS))


def make_executor(name: str, options: ExecutorOptions) -> Executor:
    """Return a new executor, which is not started.

    Raises:
        StartError: the name is unknown, or the executor's module cannot be imported.
    """
    factory: ExecutorFactory
    if name in EXECUTORS:
        module, _, attribute = EXECUTORS[name].partition(":")
        try:
            factory = getattr(import_module(module), attribute)
        except ImportError as error:
            raise StartError(f"the executor {name!r} is not installed ({error}): {pip_install(name)}") from error
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
