# SPDX-License-Identifier: Apache-2.0
"""The executor of one machine: warm worker processes, forked by one fork server per provider, served by one thread.

The pool has the lock and the thread; its components are the supervisor of processes, the scheduler of waiting tasks,
and the tracker of workers' tasks. They are only called under the lock. The listener is called without it.

A task waits in its provider's backlog until one of the `workers` slots is free; the oldest task of all providers is
first. A worker with short tasks is assigned several ahead; the scheduler reclaims them when one of them is slow and
another worker is idle. See qonduit_server.worker for how the two sides agree on which tasks have started.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker as WorkerMessage
from qonduit_server.errors import FailedPrecondition
from qonduit_server.execution.executor import Key, Listener, Loss, LossKind
from qonduit_server.execution.local.fresh_description import describe_in_new_process
from qonduit_server.execution.local.scheduler import Scheduler
from qonduit_server.execution.local.supervisor import Supervisor
from qonduit_server.execution.local.task_log import TaskLog
from qonduit_server.execution.local.task_tracker import TaskTracker
from qonduit_server.execution.local.worker_listing import messages_of, with_memory
from qonduit_server.execution.local.worker_processes import ForkServer, Worker
from qonduit_server.execution.pending_notifications import PendingNotifications
from qonduit_server.execution.socket_selector import SocketSelector
from qonduit_server.execution.stderr_log import Output, StderrLog
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.version_requirements import Environment


class ProcessPool:
    """Runs tasks in worker processes. Thread-safe.

    Use: `launch()`, `descriptions()`, `start(listener)`, `preload(names)`, ..., `stop(grace)`.

    Args:
        providers: the names of the providers.
        workers: the maximum number of concurrent tasks.
        pythons: the Python executables of providers' processes, by provider name; default: this one.
        memory_limit_bytes: the limit of the address space that one worker may add; 0 means no limit.
        memory_bytes: the limit of the memory of all running tasks, as their workers estimate; 0 means no limit.
        program: the arguments with which Python runs a fork server.
        show_errors: whether fork servers and workers write to the stderr of this process.
        stderr: logs the stderr of fork servers and workers.
        server: the id of the server in log lines and in the list of workers.
        slow_seconds: the running time after which a task is logged as slow; again each time that doubles.
        environment: the environment of fork servers and workers; default: the one of this process.
        thread_name: the name of the pool's thread.
        observer: receives the ends of workers.
    """

    def __init__(
        self,
        providers: Sequence[str],
        workers: int,
        *,
        pythons: Mapping[str, str] | None = None,
        memory_limit_bytes: int = 0,
        memory_bytes: int = 0,
        program: Sequence[str] = ("-m", "qonduit_server.worker.forkserver"),
        show_errors: bool = False,
        stderr: StderrLog | None = None,
        server: str = "",
        slow_seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
        thread_name: str = "process-pool",
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._server = server
        self._observer = observer
        self._pythons, self._program = pythons or {}, program
        self._providers = {name: self._fork_server(name) for name in dict.fromkeys(providers)}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._selector: SocketSelector[ForkServer | Worker] = SocketSelector()
        self._output = Output(stderr, shown=show_errors)
        self._environment = environment
        self._notifications = PendingNotifications()
        self._supervisor = Supervisor(
            self._providers,
            self._selector,
            self._output,
            workers=workers,
            memory_limit_bytes=memory_limit_bytes,
            environment=environment,
            on_exit=self._worker_exited,
            on_change=self._provider_changed,
        )
        log = TaskLog(server, slow_seconds)
        fork = self._supervisor.fork
        self._scheduler = Scheduler(self._providers, workers, fork, memory_bytes, log.handed_over)
        self._tasks = TaskTracker(self._scheduler, self._notifications, self._selector, log, fork)
        self._listener: Listener | None = None
        self._sleeps_until = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name=thread_name, daemon=True)

    # The server's interface.

    def launch(self) -> None:
        """Start all fork servers in the background; they then send their descriptions."""
        self._thread.start()

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """Return the description of each provider; one that does not respond in `timeout` seconds is unavailable."""
        with self._changed:
            self._changed.wait_for(
                lambda: all(p.description or p.state == "broken" for p in self._providers.values()), timeout=timeout
            )
            return [p.described(timeout) for p in self._providers.values()]

    def add_provider(self, name: str) -> None:
        """Offer one more provider, and start its fork server in the background. Do nothing if it is offered."""
        with self._lock:
            if name not in self._providers and not self._stopping:
                added = self._providers[name] = self._fork_server(name)
                added.start_at = time.monotonic()
                self._selector.wake()

    def reported(self, provider: str, timeout: float) -> ProviderDescription | None:
        """Return the description that a process of a provider has reported; None if none has in `timeout` seconds."""
        with self._changed:
            known = self._providers.get(provider)
            if known is None:
                return None
            self._changed.wait_for(lambda: known.description or known.state == "broken", timeout=timeout)
            return known.description and known.described(timeout)

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        """Return the description of a provider as a new process reads it, and adopt it."""
        known = self._providers.get(provider)
        if known is None:
            raise FailedPrecondition(
                f"this server does not offer provider {provider} (providers)", subject=provider, kind="PROVIDER"
            )
        fresh = ForkServer(known.name, known.command)
        description = describe_in_new_process(fresh, self._output, self._environment, timeout)
        self.adopt(description)
        return description

    def adopt(self, description: ProviderDescription) -> None:
        """Replace the processes of a provider that have read another description; their tasks run to their ends."""
        with self._lock:
            provider = self._providers.get(description.provider.name)
            if provider is not None and provider.description != description:
                provider.description = ProviderDescription()
                provider.description.CopyFrom(description)
                provider.outdated = True
                self._scheduler.reclaim(provider)
                self._selector.wake()

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """Load the SDKs in the background, one after another; default: all."""
        with self._lock:
            self._supervisor.preload(providers)
            self._selector.wake()

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""
        with self._lock:
            self._listener = listener
            self._notifications.capacity_changed = True
            self._selector.wake()

    def capacity(self) -> Mapping[str, int]:
        """Return the number of further tasks that the pool wants now, by provider name."""
        with self._lock:
            return {} if self._stopping else self._scheduler.wanted(time.monotonic())

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        """Return the environment of each provider that has described itself."""
        with self._lock:
            return {
                name: [Environment(provider.description.versions)]
                for name, provider in self._providers.items()
                if provider.description is not None and provider.state != "broken"
            }

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run these tasks."""
        with self._lock:
            for task in tasks:
                provider = self._providers.get(task.provider)
                if self._stopping:
                    self._notifications.lose(
                        (task.job_id, task.attempt), Loss(LossKind.STOPPED, "the server stopped", seconds=0.0)
                    )
                elif provider is None:
                    self._fail(task, "this server does not offer the provider")
                else:
                    self._scheduler.add(provider, task)
            now = time.monotonic()
            self._place(now)
            if (
                self._notifications
                or self._selector.unsettled
                or self._scheduler.next_deadline(now) < self._sleeps_until
            ):
                self._selector.wake()
        if self._stopping:
            self._deliver()

    def tasks(self) -> set[Key]:
        """Return the tasks that wait, that workers hold, or whose ends are not delivered."""
        with self._lock:
            held = {key for p in self._providers.values() for worker in p.workers.values() for key in worker.held}
            return held.union(self._scheduler.keys(), self._notifications.ended())

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a waiting or running task: it is lost as CANCELLED, unless it finishes at the same time."""
        key = (job_id, attempt)
        with self._lock:
            held = self._scheduler.remove(key)
            if held is not None:
                self._notifications.lose(key, held.loss(LossKind.CANCELLED, "cancelled before it began"))
            else:
                workers = [w for p in self._providers.values() for w in p.ready if key in w.held]
                for worker in workers:
                    self._tasks.end(worker, key, LossKind.CANCELLED, "cancelled while it ran")
            self._place(time.monotonic())
            self._selector.wake()

    def interactive(self, listener: Listener) -> None:
        """Return None: a pool runs tasks on this machine alone."""

    def resize(self, workers: int) -> None:
        """Run another number of tasks at once: more of them now, or fewer as tasks end."""
        with self._lock:
            self._supervisor.resize(workers)
            self._scheduler.resize(workers)
            if not self._stopping:
                self._place(time.monotonic())
            self._notifications.capacity_changed = True
            self._selector.wake()

    def lag(self) -> None:
        """Return None: nothing is between this server and the workers."""

    def use_broker(self, url: str) -> None:
        """Do nothing: a pool has no broker."""

    def stop(self, grace: float) -> None:
        """End all processes; the remaining tasks are lost as STOPPED."""
        with self._lock:
            self._stopping = True
            self._selector.wake()
        if self._thread.ident is None:
            return
        self._thread.join(timeout=grace + 5.0)
        deadline = time.monotonic() + grace
        for provider in self._providers.values():
            for each in (provider, *provider.retired):
                each.end(max(0.0, deadline - time.monotonic()))
        self._selector.close()

    def processes(self) -> dict[str, list[int]]:
        """Return process ids by provider name: the fork server's, then its workers'."""
        with self._lock:
            return {p.name: pids for p in self._providers.values() if (pids := p.pids())}

    def list_workers(self) -> list[WorkerMessage]:
        """Return the worker processes with their states, ordered by provider and process id."""
        with self._lock:
            workers = messages_of(self._providers.values(), self._server)
        return with_memory(workers)

    def _fork_server(self, name: str) -> ForkServer:
        return ForkServer(name, [self._pythons.get(name, sys.executable), *self._program])

    # The thread that serves the sockets. It has the lock except while it sleeps or calls the listener.

    def _serve(self) -> None:
        """Serve until stopped. At the end, also after a fault, every task has ended and every process is stopped."""
        try:
            with self._lock:
                self._supervisor.launch_all(time.monotonic())
            while not self._stopping:
                self._serve_once()
        finally:
            with self._lock:
                self._stopping = True
                self._stop_all()
            self._deliver()

    def _serve_once(self) -> None:
        with self._lock:
            self._selector.settle()
            now = time.monotonic()
            self._sleeps_until = self._scheduler.next_deadline(now)
        pause = None if self._sleeps_until == float("inf") else max(0.0, self._sleeps_until - now)
        readable = self._selector.wait(pause)
        with self._lock:
            now = time.monotonic()
            self._selector.flush()
            for channel in readable:
                owner = self._selector.owner(channel)
                if isinstance(owner, Worker):
                    self._tasks.receive(owner, now)
                elif owner is not None:
                    self._supervisor.receive(owner, now)
            if not self._stopping:
                self._check_deadlines(now)
                self._place(now)
        self._deliver()

    def _deliver(self) -> None:
        """Deliver notifications without the lock, because the listener may call the pool or wait."""
        with self._lock:
            taken, listener = self._notifications.take(), self._listener
        try:
            if listener is not None:
                taken.deliver(listener)
        finally:
            with self._lock:
                self._notifications.delivered(taken)

    def _worker_exited(self, worker: Worker, how: str, now: float) -> None:
        self._observer.worker_ended(worker.provider.name, worker.end_cause)
        self._tasks.worker_exited(worker, how, now)

    def _provider_changed(self) -> None:
        self._notifications.capacity_changed = True
        self._changed.notify_all()

    def _check_deadlines(self, now: float) -> None:
        """Start fork servers and load SDKs, end tasks at their time limits, reclaim tasks behind slow ones."""
        self._supervisor.start_due(now)
        for provider in self._providers.values():
            for worker in provider.ready:
                self._tasks.check_limits(worker, now)
        self._scheduler.reclaim_from_slow(now)

    def _place(self, now: float) -> None:
        """Assign tasks to workers, load SDKs that tasks wait for, and fail tasks of broken providers."""
        for provider in self._providers.values():
            if provider.state == "broken" and not provider.outdated:
                for held in self._scheduler.clear(provider):
                    self._fail(held.task, provider.reason)
            elif provider.state == "idle" and (provider.wanted or self._scheduler.waits_for(provider)):
                self._supervisor.load(provider)
        for worker in self._scheduler.place(now):
            self._selector.sent(worker.channel)
        for held in self._scheduler.short_of_memory():
            self._notifications.event(held.waits_for_memory())
        self._supervisor.end_surplus()

    def _fail(self, task: Task, why: str) -> None:
        """Fail a task whose provider is unavailable."""
        subject = f"The provider {task.provider} is" if task.provider else "Translation is"
        self._notifications.fail(task, "SDK_UNAVAILABLE", f"{subject} not available on this server: {why}")

    def _stop_all(self) -> None:
        """Lose all tasks and close all sockets, which ends the processes."""
        for provider in self._providers.values():
            self._tasks.stop(provider)
            self._supervisor.stop(provider)
