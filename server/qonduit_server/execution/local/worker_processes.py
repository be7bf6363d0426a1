# SPDX-License-Identifier: Apache-2.0
"""The fork servers and workers of the pool: their processes, their sockets, and their tasks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit.execution.v1.task_pb2 import Task, TaskBatch, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription, WorkerRequest
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit_server.execution.executor import Key, Loss, LossKind
from qonduit_server.execution.frame_channel import Channel
from qonduit_server.execution.socket_program import start_program
from qonduit_server.execution.stderr_log import Output, Stderr
from qonduit_server.process import framing
from qonduit_server.process.memory import format_bytes
from qonduit_server.process.redaction import Redaction

#: The maximum number of tasks that one worker is assigned ahead, so that it does not wait for the next one.
MAX_AHEAD: Final = 16
#: The work that a worker is assigned ahead, in seconds, estimated from its recent tasks.
AHEAD_SECONDS: Final = 0.03
#: The running time after which the tasks behind a task are reassigned to other workers.
SLOW_SECONDS: Final = 0.05

_NOWHERE: Final = Output()


@dataclass(eq=False, slots=True)
class PendingTask:
    """A task in the pool. `order` is its number in the order of submission."""

    key: Key
    task: Task
    order: int
    ordinal: int = -1
    started_at: float | None = None
    #: The seconds that it ran before it was declined.
    spent: float = 0.0
    #: The required memory in bytes, if it is more than the default.
    need: int = 0
    #: The size of its message, if it is large.
    size: int = 0
    #: The worker that has prepared it.
    prepared_by: int = -1
    #: Whether its watchers are notified that it waits for memory.
    notified: bool = False
    #: The running time after which it is logged as slow; infinity means never.
    slow_after: float = float("inf")

    @property
    def alone(self) -> bool:
        """Whether it must be alone at a worker: its process died before, or it needs much memory or a credential."""
        return self.need > 0 or self.task.attempt > 1 or bool(self.task.credential)

    def declined(self, need: int, worker: int, now: float) -> None:
        """Record the memory that a worker estimated, and request it for the next run."""
        self.need = max(need, self.task.memory_granted_bytes + 1)
        self.prepared_by = worker
        if self.started_at is not None:
            self.spent += now - self.started_at
        self.task.memory_granted_bytes = self.need
        self.task.declined_before = True
        self.size = self.task.ByteSize()

    def loss(self, kind: LossKind, message: str, pid: int = 0) -> Loss:
        """Return the loss of the task now; `pid` is the process that has it."""
        ran = time.monotonic() - self.started_at if pid and self.started_at is not None else 0.0
        return Loss(kind, message, pid, self.spent + ran)

    def waits_for_memory(self) -> TaskEvent:
        """Return a log line: the task waits for memory."""
        message = f"the job needs {format_bytes(self.need)} of memory and waits until they are free"
        log = LogLine(level=LogLevel.LOG_LEVEL_INFO, message=message)
        return TaskEvent(job_id=self.task.job_id, attempt=self.task.attempt, log=log)


@dataclass(eq=False)
class Worker:
    """One worker process, which may still be starting."""

    id: int
    provider: ForkServer
    channel: Channel
    tokens_in: int
    tokens_out: int
    held: dict[Key, PendingTask] = field(default_factory=dict)
    pid: int = 0
    pidfd: int = -1
    exit_code: int | None = None
    #: The task for which it is killed, and the reason.
    kill_reason: tuple[Key, LossKind, str] | None = None
    killed: bool = False
    #: Whether it was killed because it must run no other task: after a credential, or for a new fork server.
    replaced: bool = False
    #: Whether it has run a task. Workers that die before count as failed starts, which limits the restarts.
    useful: bool = False
    #: The time at which the first task of `held` became the first, or the process started.
    head_since: float = 0.0
    #: The phase of its running task, for display.
    phase: str = ""
    #: The time at which it was killed.
    killed_at: float = 0.0
    #: The log entry of its standard error.
    stderr: Stderr | None = None
    #: The mean seconds of its recent tasks.
    pace: float | None = None
    #: The replaced fork server that forked it: it finishes its tasks and gets no others.
    retired: ForkServer | None = None
    _sent: int = 0

    @classmethod
    def make(
        cls, number: int, provider: ForkServer, output: Output = _NOWHERE, now: float = 0.0
    ) -> tuple[Worker, tuple[int, int, int]]:
        """Return a new worker and the three descriptors to send to the fork server that forks it."""
        ours, theirs = socket.socketpair()
        tokens_in, tokens_out = os.pipe()
        os.set_blocking(tokens_in, False)
        os.set_blocking(tokens_out, False)
        stderr, errors = output.open("worker", provider.name)
        made = cls(number, provider, Channel(ours), tokens_in, tokens_out, head_since=now, stderr=stderr)
        return made, (theirs.detach(), os.dup(tokens_in), errors)

    def depth(self, now: float) -> int:
        """Return the number of tasks that it may hold, including the running one."""
        if self.retired or self.pace is None or self.pace > AHEAD_SECONDS or self.slow(now):
            return 1
        return max(2, min(MAX_AHEAD, int(AHEAD_SECONDS / max(self.pace, 1e-4))))

    def slow(self, now: float) -> bool:
        """Return whether its running task is slow."""
        return bool(self.held) and self.pid != 0 and now - self.head_since > SLOW_SECONDS

    @property
    def alone(self) -> bool:
        """Whether it gets no other tasks: it holds one that must be alone, or its fork server is replaced."""
        return self.retired is not None or (len(self.held) == 1 and next(iter(self.held.values())).alone)

    @property
    def large(self) -> PendingTask | None:
        """Its task, if that needs much memory. The memory is in use until the process ends."""
        head = next(iter(self.held.values()), None)
        return head if head is not None and head.need else None

    @property
    def end_cause(self) -> str:
        """Why its process ended: the kind of the loss for which it was killed, "replaced", or "died" by itself."""
        if self.kill_reason is not None:
            return self.kill_reason[1].value
        return "replaced" if self.replaced else "died"

    def assign(self, tasks: Sequence[PendingTask], now: float) -> None:
        """Send it tasks, after those that it holds."""
        if not self.held:
            self.head_since = now
        for held in tasks:
            held.ordinal = self._sent
            held.started_at = None
            self._sent += 1
            self.held[held.key] = held
            if held.task.credential and self.stderr is not None:
                self.stderr.redaction = Redaction(held.task.credential)
        batch = TaskBatch(tasks=[held.task for held in tasks])
        self.channel.send(framing.pack(WorkerRequest(run=batch)))
        os.write(self.tokens_out, b"".join(framing.TOKEN.pack(held.ordinal) for held in tasks))

    def reclaim(self) -> list[PendingTask]:
        """Remove and return the tasks that it has not started."""
        try:
            taken = os.read(self.tokens_in, 1 << 16)
        except BlockingIOError:
            return []
        ordinals = {ordinal for (ordinal,) in framing.TOKEN.iter_unpack(taken)}
        back = [held for held in self.held.values() if held.ordinal in ordinals]
        for held in back:
            del self.held[held.key]
        return back

    def finished(self, count: int, now: float) -> None:
        """Record that a number of tasks ended since the last call."""
        pace = (now - self.head_since) / count
        self.pace = pace if self.pace is None else 0.6 * self.pace + 0.4 * pace
        self.head_since = now
        self.useful = True

    def limit(self) -> tuple[float, Key] | None:
        """Return the time at which the running task reaches its time limit, and its key."""
        if not self.held or not self.pid:
            return None
        head = next(iter(self.held.values()))
        if not head.task.time_limit_seconds:
            return None
        return (head.started_at or self.head_since) + head.task.time_limit_seconds - head.spent, head.key

    def slow_at(self) -> float:
        """Return the time at which the running task is logged as slow; infinity without a running task."""
        if not self.held or not self.pid:
            return float("inf")
        head = next(iter(self.held.values()))
        return (head.started_at or self.head_since) + head.slow_after

    def replace(self) -> None:
        """Kill the process, which holds no task, because it must run no other one."""
        self.replaced = True
        self.kill()

    def kill(self) -> None:
        """Kill the process, if it exists. A process descriptor is safe against reuse of the process id."""
        if not self.killed:
            self.killed_at = time.monotonic()
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            elif self.pid and self.exit_code is None:
                os.kill(self.pid, signal.SIGKILL)

    def forked(self, pid: int, now: float) -> None:
        """Record that the process was forked."""
        self.pid = pid
        self.head_since = now
        if self.stderr is not None:
            self.stderr.pid = pid
        with contextlib.suppress(OSError, AttributeError):
            self.pidfd = os.pidfd_open(pid)
        if self.killed:
            self.kill()

    def discard(self, how: str) -> tuple[list[tuple[PendingTask, LossKind, str]], list[PendingTask]]:
        """Close its descriptors after its death; return the task that is lost with it, and the others."""
        lost, others = [], []
        # The last started task was running; the others had ended, and their events are lost with the process.
        last = next(reversed(self.held.values()), None)
        for held in self.held.values():
            if self.kill_reason is not None and self.kill_reason[0] == held.key:
                lost.append((held, self.kill_reason[1], self.kill_reason[2]))
            elif self.kill_reason is None and held is last:
                lost.append((held, LossKind.DIED, f"the process that ran it {how}"))
            else:
                others.append(held)
        self.useful = self.useful or bool(self.held)
        self.held.clear()
        self.close()
        return lost, others

    def close(self) -> None:
        """Close its descriptors, which ends the process if it is alive."""
        self.channel.close()
        _close((self.tokens_in, self.tokens_out, *([self.pidfd] if self.pidfd >= 0 else [])))


@dataclass(eq=False)
class ForkServer:
    """A provider's fork server and workers. States: starting -> idle -> loading -> loaded; broken from any of them."""

    name: str
    command: Sequence[str]
    state: str = "starting"
    reason: str = ""
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    stderr: Stderr | None = None
    description: ProviderDescription | None = None
    workers: dict[int, Worker] = field(default_factory=dict)
    backlog: deque[PendingTask] = field(default_factory=deque)
    #: Consecutive deaths of fork servers before they were loaded, or of workers before their first task.
    failed_starts: int = 0
    #: The time of the next start of the fork server.
    start_at: float | None = None
    wanted: bool = False
    #: Whether it must be replaced: the provider's description has changed.
    outdated: bool = False
    #: The fork servers that it replaced, while their workers finish tasks. They share `workers` with it.
    retired: list[ForkServer] = field(default_factory=list)

    def launch(self, output: Output, environment: Mapping[str, str] | None) -> Channel:
        """Start the fork server. It ends with its socket, and the kernel kills it when this process or thread ends."""
        self.process, ours, self.stderr = start_program("fork server", self.name, self.command, output, environment)
        self.channel = Channel(ours)
        self.state = "starting"
        self.start_at = None
        return self.channel

    def retire(self) -> ForkServer:
        """Move the process to a retired fork server, which keeps it for the workers that it has forked."""
        retired = ForkServer(self.name, self.command, "retired", workers=self.workers)
        retired.process, self.process = self.process, None
        retired.channel, self.channel = self.channel, None
        retired.stderr, self.stderr = self.stderr, None
        for worker in self.workers.values():
            worker.retired = worker.retired or retired
        self.retired.append(retired)
        return retired

    def broke(self, reason: str, again_at: float | None) -> None:
        """Mark it as broken, and set the time of the next start."""
        self.state, self.reason, self.start_at = "broken", reason, again_at
        self.failed_starts = 0
        self.wanted = False

    def end(self, patience: float) -> int:
        """Wait up to `patience` seconds for the fork server to end, then kill it; return its exit code."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def described(self, waited: float) -> ProviderDescription:
        """Return its description, or an unavailable one with the reason after `waited` seconds."""
        if self.description is None:
            why = self.reason or f"its process did not answer within {waited:g} s"
            return ProviderDescription(provider=ProviderMessage(name=self.name), unavailable=why)
        copy = ProviderDescription()
        copy.CopyFrom(self.description)
        return copy

    @property
    def runs_tasks(self) -> bool:
        """Whether its workers accept new tasks."""
        return self.state == "loaded" and not self.outdated

    def pids(self) -> list[int]:
        """Return the process ids of the fork server and its workers; empty before the start."""
        servers = [each.process.pid for each in (self, *self.retired) if each.process is not None]
        return servers and [*servers, *(worker.pid for worker in self.ready if worker.pid)]

    @property
    def ready(self) -> list[Worker]:
        """The workers that accept tasks: all that are not being killed."""
        return [worker for worker in self.workers.values() if not worker.killed]


def how_it_died(code: int) -> str:
    """Describe an exit code for display; negative ones are signals."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (perhaps the machine ran out of memory)" if name == "SIGKILL" else "")


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
