# SPDX-License-Identifier: Apache-2.0
"""The processes of a pool: start fork servers, load SDKs, fork workers, and replace dead processes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from qonduit.execution.v1.worker_pb2 import Fork, ForkServerReply, ForkServerRequest, Preload
from qonduit_server.execution.local.worker_processes import ForkServer, Worker, how_it_died
from qonduit_server.execution.socket_selector import SocketSelector
from qonduit_server.execution.stderr_log import Output
from qonduit_server.process import framing

#: The maximum number of consecutive deaths of a fork server before it is loaded, or of workers before their first task.
_MAX_FAILED_STARTS: Final = 3
#: A worker that dies within this time, before its first task, counts as a failed start.
_YOUNG_SECONDS: Final = 2.0
#: The seconds after which a broken provider is started again.
_RETRY_SECONDS: Final = 30.0
#: The number of workers forked when an SDK is loaded; others are forked on demand.
_FORK_AHEAD: Final = 2


class Supervisor:
    """Fork servers and their workers. The pool locks it.

    Args:
        providers: by name.
        selector: watches the sockets of all processes.
        output: the destination of processes' standard error.
        workers: the maximum number of a provider's workers, without those being killed.
        memory_limit_bytes: the limit of the address space that one worker may add; 0 means no limit.
        environment: the environment of the processes; default: the one of this process.
        on_exit: called with a dead worker, its exit reason, and the time; ends its tasks and closes its sockets.
        on_change: called when a provider sent its description, loaded its SDK, or became broken.
    """

    def __init__(
        self,
        providers: Mapping[str, ForkServer],
        selector: SocketSelector[ForkServer | Worker],
        output: Output,
        *,
        workers: int,
        memory_limit_bytes: int,
        environment: Mapping[str, str] | None,
        on_exit: Callable[[Worker, str, float], None],
        on_change: Callable[[], None],
    ) -> None:
        self._providers = providers
        self._selector = selector
        self._output = output
        self._most_workers = workers
        self._memory_limit_bytes = memory_limit_bytes
        self._environment = environment
        self._on_exit = on_exit
        self._on_change = on_change
        self._worker_ids = itertools.count(1)
        self._preloads: list[str] = []

    def launch_all(self, now: float) -> None:
        """Start all fork servers. They end with the thread that calls this."""
        for provider in self._providers.values():
            self._launch(provider, now)

    def preload(self, providers: Iterable[str] | None) -> None:
        """Load SDKs in the background, one after another and after those of earlier calls; default: all."""
        wanted = [name for name in (providers or self._providers) if name in self._providers]
        self._preloads = list(dict.fromkeys([*self._preloads, *wanted]))

    def load(self, provider: ForkServer) -> None:
        """Request an idle fork server to load its SDK."""
        assert provider.channel is not None
        provider.state, provider.wanted = "loading", False
        provider.channel.send(framing.pack(ForkServerRequest(preload=Preload())))
        self._selector.sent(provider.channel)

    def fork(self, provider: ForkServer) -> Worker | None:
        """Request a worker, unless the provider has the maximum number."""
        if provider.channel is None or len(provider.ready) >= self._most_workers:
            return None
        worker, ends = Worker.make(next(self._worker_ids), provider, self._output, time.monotonic())
        provider.workers[worker.id] = worker
        self._selector.add(worker.channel, worker)
        request = Fork(worker_id=worker.id, memory_limit_bytes=self._memory_limit_bytes)
        provider.channel.send(framing.pack(ForkServerRequest(fork=request)), ends)
        self._selector.sent(provider.channel)
        return worker

    def resize(self, workers: int) -> None:
        """Set another maximum number of a provider's workers."""
        self._most_workers = workers

    def end_surplus(self) -> None:
        """End idle workers of a provider that has more than the maximum number."""
        for provider in self._providers.values():
            surplus = len(provider.ready) - self._most_workers
            for worker in [each for each in provider.ready if not each.held][: max(0, surplus)]:
                worker.replace()

    def start_due(self, now: float) -> None:
        """Start the fork servers that are due, replace outdated ones, and load the next SDK to preload."""
        for provider in self._providers.values():
            if provider.outdated:
                self._replace(provider, now)
            for retired in list(provider.retired):
                if not any(worker.retired is retired for worker in provider.workers.values()):
                    self._end_retired(provider, retired)
            if provider.start_at is not None and provider.start_at <= now:
                self._launch(provider, now)
        if not any(p.state == "loading" for p in self._providers.values()):
            for name in self._preloads:
                if (provider := self._providers[name]).state == "idle":
                    self.load(provider)
                    break

    def receive(self, provider: ForkServer, now: float) -> None:
        """Receive the replies of a fork server; a retired one only reports on its workers."""
        assert provider.channel is not None
        for body in provider.channel.receive():
            reply = ForkServerReply.FromString(body)
            kind = reply.WhichOneof("reply")
            if provider.state == "retired" and kind in ("description", "loaded"):
                continue
            if kind == "description":
                provider.description = reply.description
                provider.state = "idle"
                if reply.description.unavailable:
                    self._break(provider, reply.description.unavailable, now, for_good=True)
                    self._cut(provider)
                    provider.end(0.5)
                    provider.process = None
                    return
                self._on_change()
            elif kind == "loaded":
                self._loaded(provider, reply.loaded.error, now)
            elif kind == "forked":
                if (worker := provider.workers.get(reply.forked.worker_id)) is not None:
                    worker.forked(reply.forked.pid, now)
            elif kind == "exited" and (worker := provider.workers.get(reply.exited.worker_id)) is not None:
                worker.exit_code = reply.exited.exit_code
                self._worker_exited(worker, how_it_died(worker.exit_code), now)
        if provider.channel is not None and provider.channel.ended:
            self._fork_server_exited(provider, now)

    def stop(self, provider: ForkServer) -> None:
        """Close the sockets of a provider's processes, which ends them. Kill those that may not read their sockets."""
        for worker in provider.workers.values():
            if worker.held:
                worker.kill()
            self._selector.drop(worker.channel)
            worker.close()
        provider.workers.clear()
        for each in (provider, *provider.retired):
            self._cut(each)
            if each.process is not None and each.state != "loaded":  # it may not read its socket for a long time
                each.process.kill()

    def _loaded(self, provider: ForkServer, error: str, now: float) -> None:
        if error:
            self._break(provider, error, now)
            return
        provider.state = "loaded"
        for _ in range(min(_FORK_AHEAD, self._most_workers)):
            self.fork(provider)
        self._on_change()

    def _worker_exited(self, worker: Worker, how: str, now: float) -> None:
        """Clean up after a dead worker; fork another one, unless workers of this provider die at their start."""
        provider = worker.provider
        self._on_exit(worker, how, now)
        del provider.workers[worker.id]
        self._output.ended(worker.stderr)
        if worker.retired or worker.kill_reason is not None or provider.state != "loaded":
            return
        if now - worker.head_since < _YOUNG_SECONDS and not worker.useful:
            provider.failed_starts += 1
            if provider.failed_starts > _MAX_FAILED_STARTS:
                self._break(provider, f"its worker processes die at their start: the last one {how}", now)
                return
        self.fork(provider)

    def _fork_server_exited(self, provider: ForkServer, now: float) -> None:
        """Clean up after a dead fork server, whose workers the kernel kills; schedule its restart."""
        self._cut(provider)
        how = how_it_died(provider.end(0.5))
        self._output.ended(provider.stderr)
        if provider.state == "retired":
            self._kill_workers(provider, f"ended, because the process that it was forked from {how}", now)
            return
        was, provider.state = provider.state, provider.state if provider.state == "broken" else "starting"
        self._kill_workers(provider, f"ended, because the process that it was forked from {how}", now)
        if provider.state == "broken":
            return
        provider.reason = f"its process {how}"
        provider.wanted = provider.wanted or was == "loaded"
        if was != "loaded":
            provider.failed_starts += 1
        if provider.failed_starts > _MAX_FAILED_STARTS:
            self._break(provider, f"its process dies before it is ready: the last one {how}", now)
        else:
            provider.start_at = now + (0.05 * 2**provider.failed_starts if provider.failed_starts else 0.0)

    def _launch(self, provider: ForkServer, now: float) -> None:
        """Start a fork server in place of a dead or broken one."""
        self._cut(provider)
        self._kill_workers(provider, "was ended", now)
        provider.end(0.0)
        self._output.ended(provider.stderr)
        try:
            channel = provider.launch(self._output, self._environment)
        except OSError as error:
            self._break(provider, f"its process cannot be started: {error}", now)
        else:
            self._selector.add(channel, provider)

    def _replace(self, provider: ForkServer, now: float) -> None:
        """Start a new fork server in place of an outdated one, whose workers finish their tasks; load the SDK again."""
        provider.outdated = False
        provider.wanted = provider.wanted or provider.state in ("loading", "loaded")
        provider.state, provider.failed_starts = "starting", 0
        if any(worker.held for worker in provider.workers.values()) and provider.channel is not None:
            channel, retired = provider.channel, provider.retire()
            self._selector.add(channel, retired)
            for worker in provider.ready:
                if not worker.held:
                    worker.replace()
        self._launch(provider, now)

    def _end_retired(self, provider: ForkServer, retired: ForkServer) -> None:
        """End a retired fork server without workers."""
        self._cut(retired)
        retired.end(0.0)
        self._output.ended(retired.stderr)
        provider.retired.remove(retired)

    def _kill_workers(self, forked_by: ForkServer, how: str, now: float) -> None:
        """Kill the workers that a fork server has forked."""
        for worker in list(forked_by.workers.values()):
            if (worker.retired or worker.provider) is forked_by:
                worker.kill()
                self._worker_exited(worker, how, now)

    def _cut(self, provider: ForkServer) -> None:
        """Close a fork server's socket, which ends it and its workers."""
        if provider.channel is not None:
            self._selector.drop(provider.channel)
            provider.channel.close()
            provider.channel = None

    def _break(self, provider: ForkServer, reason: str, now: float, *, for_good: bool = False) -> None:
        """Mark a provider as broken; unless `for_good`, schedule a restart of its fork server."""
        provider.broke(reason, None if for_good else now + _RETRY_SECONDS)
        self._on_change()
