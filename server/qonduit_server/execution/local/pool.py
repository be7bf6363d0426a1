# SPDX-License-Identifier: Apache-2.0
"""The executor of one machine: warm worker processes, forked by one fork server a provider, served by one thread.

A task waits in its provider's backlog until one of the `workers` slots is free, over all providers the oldest first. A
worker whose tasks are short is handed several ahead; they are taken back as soon as one of them turns out to be slow
and another worker is idle. See qonduit_server.worker for how the two sides agree on what has begun.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import (
    Fork,
    ForkServerReply,
    ForkServerRequest,
    Preload,
    ProviderDescription,
    WorkerReply,
)
from qonduit.v1.system_service_pb2 import Worker as WorkerMessage
from qonduit_server.execution.executor import Listener, LossKind
from qonduit_server.execution.local.pending_notifications import PendingNotifications
from qonduit_server.execution.local.scheduler import Scheduler
from qonduit_server.execution.local.socket_selector import SocketSelector
from qonduit_server.execution.local.stderr_log import Output, StderrLog
from qonduit_server.execution.local.task_log import TaskLog
from qonduit_server.execution.local.worker_listing import messages_of, with_memory
from qonduit_server.execution.local.worker_processes import ForkServer, Key, PendingTask, Worker, how_it_died
from qonduit_server.process import framing

#: So often a fork server may die while loading, or workers before doing anything, until the provider counts as broken.
_MAX_STILLBORN: Final = 3
#: A worker that dies within this many seconds, before doing anything, died of itself.
_YOUNG_SECONDS: Final = 2.0
#: After this many seconds a broken provider is given another chance.
_RETRY_SECONDS: Final = 30.0
#: Workers forked as soon as an SDK is loaded; the others when they are needed.
_FORK_AHEAD: Final = 2


class ProcessPool:
    """Runs tasks in worker processes. Safe to use from several threads.

    Use: `launch()`, `descriptions()`, `start(listener)`, `preload(names)`, ..., `stop(grace)`.

    Args:
        providers: names of the providers to offer.
        workers: how many tasks run at once, at most.
        pythons: another Python for a provider's processes, by provider name.
        memory_limit_bytes: what one worker may add to its address space; 0 means no limit.
        memory_bytes: what all running tasks may take together, as their workers estimate; 0 means no limit.
        program: arguments that make a Python a fork server.
        show_errors: let fork servers and workers write to this process's stderr.
        stderr: logs what fork servers and workers write to theirs.
        server: names the server in log lines and in the list of workers.
        slow_seconds: after so long a running task is logged as slow; again each time that doubles.
        environment: variables for fork servers and workers; default: those of this process.
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
    ) -> None:
        self._slots = workers
        self._memory_limit_bytes = memory_limit_bytes
        self._output = Output(stderr, shown=show_errors)
        self._server = server
        self._log = TaskLog(server, slow_seconds)
        self._environment = environment
        self._providers = {
            name: ForkServer(name, [(pythons or {}).get(name, sys.executable), *program])
            for name in dict.fromkeys(providers)
        }
        self._lock = threading.RLock()
        self._said = threading.Condition(self._lock)
        self._scheduler = Scheduler(self._providers, workers, self._fork, memory_bytes, self._log.handed_over)
        self._listener: Listener | None = None
        self._pending = PendingNotifications()
        self._ids = itertools.count(1)
        self._preloads: list[str] = []
        self._selector: SocketSelector[ForkServer | Worker] = SocketSelector()
        self._sleeps_until = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="pool", daemon=True)

    # What the server calls.

    def launch(self) -> None:
        """Start all fork servers; they tell what they offer while the caller does something else."""
        self._thread.start()

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """What each provider offers; one that does not tell within `timeout` seconds is described as unavailable."""
        with self._said:
            self._said.wait_for(
                lambda: all(p.description or p.state == "broken" for p in self._providers.values()), timeout=timeout
            )
            return [p.described(timeout) for p in self._providers.values()]

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """Load the SDKs in the background, one after another; default: all."""
        with self._lock:
            self._preloads = [name for name in (providers or self._providers) if name in self._providers]
            self._selector.wake()

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""
        with self._lock:
            self._listener = listener
            self._pending.more_wanted = True
            self._selector.wake()

    def capacity(self) -> Mapping[str, int]:
        """How many more tasks are wanted now, by provider name."""
        with self._lock:
            return {} if self._stopping else self._scheduler.wanted(time.monotonic())

    def submit(self, tasks: Sequence[Task]) -> None:
        """Run these tasks."""
        with self._lock:
            for task in tasks:
                provider = self._providers.get(task.provider)
                if self._stopping:
                    unsent = PendingTask((task.job_id, task.attempt), task, 0)
                    self._pending.lose(unsent, LossKind.STOPPED, "the server stopped")
                elif provider is None:
                    self._pending.fail(task, "this server does not offer it")
                else:
                    self._scheduler.add(provider, task)
            now = time.monotonic()
            self._place(now)
            if self._pending or self._selector.unsettled or self._scheduler.next_deadline(now) < self._sleeps_until:
                self._selector.wake()
        if self._stopping:
            self._tell()

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a task, running or not: it is lost as CANCELLED, unless it ends by itself in the same moment."""
        key = (job_id, attempt)
        with self._lock:
            held = self._scheduler.remove(key)
            if held is not None:
                self._pending.lose(held, LossKind.CANCELLED, "cancelled before it began")
            else:
                workers = [w for p in self._providers.values() for w in p.ready if key in w.held]
                for worker in workers:
                    self._end(worker, key, LossKind.CANCELLED, "cancelled while it ran")
            self._place(time.monotonic())
            self._selector.wake()

    def stop(self, grace: float) -> None:
        """End everything; what still runs is lost as STOPPED."""
        with self._lock:
            self._stopping = True
            self._selector.wake()
        if self._thread.ident is None:
            return
        self._thread.join(timeout=grace + 5.0)
        deadline = time.monotonic() + grace
        for provider in self._providers.values():
            provider.end(max(0.0, deadline - time.monotonic()))
        self._selector.close()

    def processes(self) -> dict[str, list[int]]:
        """Process ids by provider name: the fork server's, then its workers'."""
        with self._lock:
            return {p.name: pids for p in self._providers.values() if (pids := p.pids())}

    def list_workers(self) -> list[WorkerMessage]:
        """Return what each worker process does, by provider and process id."""
        with self._lock:
            workers = messages_of(self._providers.values(), self._server)
        return with_memory(workers)

    # The thread that serves the sockets. All below runs under the lock, except that it sleeps and calls the listener.

    def _serve(self) -> None:
        """Serve until stopped; also after a fault, no task is left without an ending and no process alive."""
        try:
            with self._lock:
                for provider in self._providers.values():
                    self._launch(provider, time.monotonic())
            while not self._stopping:
                self._serve_once()
        finally:
            with self._lock:
                self._stopping = True
                self._stop_all()
            self._tell()

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
                    self._hear_worker(owner, now)
                elif owner is not None:
                    self._hear_fork_server(owner, now)
            if not self._stopping:
                self._attend_clock(now)
                self._place(now)
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            news, self._pending = self._pending, PendingNotifications()
        if self._listener is not None:
            news.tell(self._listener)

    def _hear_worker(self, worker: Worker, now: float, *, everything: bool = False) -> None:
        finished = 0
        for body in worker.channel.receive(everything=everything):
            for event in WorkerReply.FromString(body).events.events:
                finished += self._hear_event(worker, event, now)
        if finished:
            worker.finished(finished, now)
            worker.provider.failed_starts = 0
            self._pending.more_wanted = True
        if worker.channel.ended:
            self._selector.drop(worker.channel)
            if worker.exit_code is None:  # a worker that is cut off is of no use, whatever it still does
                worker.kill()

    def _hear_event(self, worker: Worker, event: TaskEvent, now: float) -> bool:
        """Pass on what a worker reports; return whether the worker has ended or declined the task."""
        key = (event.job_id, event.attempt)
        held = worker.held.get(key)
        if held is None:
            return False
        kind = self._log.heard(worker, held, event)
        if kind == "declined":
            if worker.doom is not None and worker.doom[0] == key:
                return False
            self._scheduler.declined(worker, held, event.declined.memory_bytes, now)
            return True
        if kind == "started":
            held.started_at = now
        elif kind == "finished":
            del worker.held[key]
        # A task that had been declined has reported its start already.
        if kind != "phase" and not (kind == "started" and held.need):
            self._pending.event(event)
        return kind == "finished"

    def _hear_fork_server(self, provider: ForkServer, now: float) -> None:
        assert provider.channel is not None
        for body in provider.channel.receive():
            reply = ForkServerReply.FromString(body)
            kind = reply.WhichOneof("reply")
            if kind == "description":
                provider.description = reply.description
                provider.state = "idle"
                if reply.description.unavailable:
                    self._break(provider, reply.description.unavailable, now, for_good=True)
                    self._cut(provider)
                    return
                self._said.notify_all()
            elif kind == "loaded":
                self._pending.more_wanted = True
                if reply.loaded.error:
                    self._break(provider, reply.loaded.error, now)
                else:
                    provider.state = "loaded"
                    for _ in range(min(_FORK_AHEAD, self._slots)):
                        self._fork(provider)
            elif kind == "forked":
                if (worker := provider.workers.get(reply.forked.worker_id)) is not None:
                    worker.forked(reply.forked.pid, now)
            elif kind == "exited" and (worker := provider.workers.get(reply.exited.worker_id)) is not None:
                worker.exit_code = reply.exited.exit_code
                self._bury(worker, how_it_died(worker.exit_code), now)
        if provider.channel is not None and provider.channel.ended:
            self._bury_fork_server(provider, now)

    def _bury(self, worker: Worker, how: str, now: float) -> None:
        """A worker is dead. The task that it ran is lost; the others that it had go to other workers."""
        self._hear_worker(worker, now, everything=True)
        self._selector.drop(worker.channel)
        provider = worker.provider
        del provider.workers[worker.id]
        back = worker.reclaim()
        lost, others = worker.discard(how)
        for held, kind, message in lost:
            self._pending.lose(held, kind, message, worker.pid)
        back += others
        self._output.ended(worker.stderr)
        self._scheduler.put_back(provider, back)
        self._pending.more_wanted = True
        young = now - worker.head_since < _YOUNG_SECONDS
        if young and not worker.useful and worker.doom is None and provider.state == "loaded":
            provider.failed_starts += 1
            if provider.failed_starts > _MAX_STILLBORN:
                self._break(provider, f"its worker processes die as soon as they are started: the last one {how}", now)
                return
        if worker.doom is None and provider.state == "loaded":
            self._fork(provider)

    def _bury_fork_server(self, provider: ForkServer, now: float) -> None:
        """A fork server is dead, and the kernel kills its workers. Start it anew, soon."""
        self._cut(provider)
        how = how_it_died(provider.end(0.5))
        self._output.ended(provider.stderr)
        was, provider.state = provider.state, provider.state if provider.state == "broken" else "starting"
        for worker in list(provider.workers.values()):
            worker.kill()
            self._bury(worker, f"ended, because the process that it was forked from {how}", now)
        if provider.state == "broken":
            return
        provider.reason = f"its process {how}"
        provider.wanted = provider.wanted or was == "loaded"
        if was != "loaded":
            provider.failed_starts += 1
        if provider.failed_starts > _MAX_STILLBORN:
            self._break(provider, f"its process dies before it is ready: the last one {how}", now)
        else:
            provider.start_at = now + (0.05 * 2**provider.failed_starts if provider.failed_starts else 0.0)

    def _launch(self, provider: ForkServer, now: float) -> None:
        """Start a fork server, in place of one that is dead or was of no use."""
        self._cut(provider)
        for worker in list(provider.workers.values()):
            worker.kill()
            self._bury(worker, "was ended", now)
        provider.end(0.0)
        self._output.ended(provider.stderr)
        try:
            channel = provider.launch(self._output, self._environment)
        except OSError as error:
            self._break(provider, f"its process cannot be started: {error}", now)
        else:
            self._selector.add(channel, provider)

    def _cut(self, provider: ForkServer) -> None:
        """Close a fork server's socket: it ends, with its workers."""
        if provider.channel is not None:
            self._selector.drop(provider.channel)
            provider.channel.close()
            provider.channel = None

    def _break(self, provider: ForkServer, reason: str, now: float, *, for_good: bool = False) -> None:
        """Fail the tasks of a provider that cannot run; unless that is final, start a fork server again later."""
        provider.broke(reason, None if for_good else now + _RETRY_SECONDS)
        self._said.notify_all()

    def _fork(self, provider: ForkServer) -> Worker | None:
        """Ask for a worker, if there may be one more."""
        if provider.channel is None or len(provider.ready) >= self._slots:
            return None
        worker, ends = Worker.make(next(self._ids), provider, self._output, time.monotonic())
        provider.workers[worker.id] = worker
        self._selector.add(worker.channel, worker)
        request = Fork(worker_id=worker.id, memory_limit_bytes=self._memory_limit_bytes)
        provider.channel.send(framing.pack(ForkServerRequest(fork=request)), ends)
        self._selector.sent(provider.channel)
        return worker

    def _end(self, worker: Worker, key: Key, kind: LossKind, message: str) -> None:
        """Take a task from a worker: quietly if it has not begun, else by killing the worker and forking another."""
        back = worker.reclaim()
        for held in back:
            if held.key == key:
                back.remove(held)
                self._pending.lose(held, kind, message, worker.pid)
                break
        else:
            worker.doom = (key, kind, message)
            self._log.step("killed", key, worker, why=message)
            worker.kill()
            self._fork(worker.provider)
        self._scheduler.put_back(worker.provider, back)

    def _attend_clock(self, now: float) -> None:
        """Time limits, tasks stuck behind slow ones, fork servers to start, SDKs to load."""
        for provider in self._providers.values():
            if provider.start_at is not None and provider.start_at <= now:
                self._launch(provider, now)
            for worker in provider.ready:
                limit = worker.limit()
                if limit is not None and limit[0] <= now:
                    self._end(worker, limit[1], LossKind.TIME_LIMIT, "it ran longer than its time limit")
                elif worker.slow_at() <= now:
                    self._log.slow(worker)
        self._scheduler.take_from_slow(now)
        if not any(p.state == "loading" for p in self._providers.values()):
            for name in self._preloads:
                if (provider := self._providers[name]).state == "idle":
                    self._load(provider)
                    break

    def _place(self, now: float) -> None:
        """Hand tasks to workers, have SDKs loaded that tasks wait for, and fail what cannot be run."""
        for provider in self._providers.values():
            if provider.state == "broken":
                for held in self._scheduler.clear(provider):
                    self._pending.fail(held.task, provider.reason)
            elif provider.state == "idle" and (provider.wanted or self._scheduler.waits_for(provider)):
                self._load(provider)
        for worker in self._scheduler.place(now):
            self._selector.sent(worker.channel)
        for held in self._scheduler.short_of_memory():
            self._pending.waits(held)

    def _load(self, provider: ForkServer) -> None:
        assert provider.channel is not None
        provider.state, provider.wanted = "loading", False
        provider.channel.send(framing.pack(ForkServerRequest(preload=Preload())))
        self._selector.sent(provider.channel)

    def _stop_all(self) -> None:
        """Lose all tasks and close all sockets; the processes end by that."""
        for provider in self._providers.values():
            for held in self._scheduler.clear(provider):
                self._pending.lose(held, LossKind.STOPPED, "the server stopped")
            for worker in provider.workers.values():
                for held in worker.held.values():
                    self._pending.lose(held, LossKind.STOPPED, "the server stopped", worker.pid)
                if worker.held:
                    worker.kill()
                self._selector.drop(worker.channel)
                worker.close()
            provider.workers.clear()
            self._cut(provider)
            if provider.process is not None and provider.state != "loaded":  # it may not look at its socket for long
                provider.process.kill()
