# SPDX-License-Identifier: Apache-2.0
"""Fork servers and workers as the pool holds them: their processes, their sockets, and what was handed to them."""

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

from qonduit.execution.v1.task_pb2 import Task, TaskBatch
from qonduit.execution.v1.worker_pb2 import ProviderDescription, WorkerRequest
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit_server.execution.executor import LossKind
from qonduit_server.execution.stderr_log import Output, Stderr
from qonduit_server.process import framing
from qonduit_server.process.parent_death import with_death_signal

#: Tasks that one worker is handed ahead, at most, so that it never waits for the next.
MAX_AHEAD: Final = 16
#: Work that a worker is handed ahead, in seconds, as judged by its recent tasks.
AHEAD_SECONDS: Final = 0.03
#: A task that runs for longer than this has the tasks behind it handed to others.
SLOW_SECONDS: Final = 0.05

Key = tuple[int, int]
_NOWHERE: Final = Output()


@dataclass(eq=False, slots=True)
class PendingTask:
    """A task in the pool. `order` is its place among all tasks ever submitted."""

    key: Key
    task: Task
    order: int
    ordinal: int = -1
    started_at: float | None = None
    #: Seconds for which it ran until it was declined.
    spent: float = 0.0
    #: The memory that it takes, in bytes, where that is more than a task may take unasked.
    need: int = 0
    #: The size of its message, where it is known to need much.
    size: int = 0
    #: The worker that has it prepared.
    prepared_by: int = -1
    #: Whether its watchers know that it waits for memory.
    told: bool = False
    #: After so many seconds of running it is logged as slow; infinity: never.
    slow_after: float = float("inf")

    @property
    def alone(self) -> bool:
        """Whether nothing else may share its worker: it was with a process that died, or takes much memory."""
        return self.need > 0 or self.task.attempt > 1

    def declined(self, need: int, worker: int, now: float) -> None:
        """Note what a worker found that the task takes, and ask for so much the next time."""
        self.need = max(need, self.task.memory_granted_bytes + 1)
        self.prepared_by = worker
        if self.started_at is not None:
            self.spent += now - self.started_at
        self.task.memory_granted_bytes = self.need
        self.task.declined_before = True
        self.size = self.task.ByteSize()


class Channel:
    """A socket that carries frames and never blocks the thread that serves it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.ended = False
        self._buffer = framing.FrameBuffer()
        self._out: deque[tuple[bytes | memoryview, tuple[int, ...]]] = deque()

    @property
    def full(self) -> bool:
        """Whether something waits until the socket takes more."""
        return bool(self._out)

    def send(self, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send data, later if the socket is full. Descriptors travel with it and are closed here when they did."""
        self._out.append((data, descriptors))
        self.flush()

    def flush(self) -> None:
        """Send as much of what waits as the socket takes. A closed socket is noticed when it is read."""
        while self._out:
            data, descriptors = self._out.popleft()
            try:
                sent = socket.send_fds(self.sock, [data], descriptors) if descriptors else self.sock.send(data)
            except BlockingIOError:
                self._out.appendleft((data, descriptors))
                return
            except OSError:
                _close(descriptors)
                continue
            _close(descriptors)
            if sent < len(data):
                self._out.appendleft((memoryview(data)[sent:], ()))

    def receive(self, *, everything: bool = False) -> list[bytes]:
        """Give frames that have arrived, or all of them; sets `ended` when the other end is closed."""
        bodies: list[bytes] = []
        while not self.ended:
            try:
                piece = self.sock.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            self.ended = not piece
            bodies.extend(self._buffer.feed(piece))
            if len(piece) < 1 << 16 and not everything:
                break
        return bodies

    def close(self) -> None:
        """Close the socket and forget what waits."""
        for _, descriptors in self._out:
            _close(descriptors)
        self._out.clear()
        self.sock.close()


@dataclass(eq=False)
class Worker:
    """One worker process, perhaps still being forked."""

    id: int
    provider: ForkServer
    channel: Channel
    tokens_in: int
    tokens_out: int
    held: dict[Key, PendingTask] = field(default_factory=dict)
    pid: int = 0
    pidfd: int = -1
    exit_code: int | None = None
    #: The task that it is killed for, and why.
    kill_reason: tuple[Key, LossKind, str] | None = None
    killed: bool = False
    #: Whether it ever did anything: those that die before are counted, so that nothing is forked for ever.
    useful: bool = False
    #: Since when the task at the head of `held` is there, or since the process is.
    head_since: float = 0.0
    #: What it does for its running task, for people.
    phase: str = ""
    #: Since when it was to be killed.
    killed_at: float = 0.0
    #: Where what it writes to its standard error is logged.
    stderr: Stderr | None = None
    #: Seconds a task takes, of late.
    pace: float | None = None
    _sent: int = 0

    @classmethod
    def make(
        cls, number: int, provider: ForkServer, output: Output = _NOWHERE, now: float = 0.0
    ) -> tuple[Worker, tuple[int, int, int]]:
        """Make what leads to a worker, and the three descriptors to be sent to the fork server that forks it."""
        ours, theirs = socket.socketpair()
        tokens_in, tokens_out = os.pipe()
        os.set_blocking(tokens_in, False)
        os.set_blocking(tokens_out, False)
        stderr, errors = output.open("worker", provider.name)
        made = cls(number, provider, Channel(ours), tokens_in, tokens_out, head_since=now, stderr=stderr)
        return made, (theirs.detach(), os.dup(tokens_in), errors)

    def depth(self, now: float) -> int:
        """How many tasks it may hold, the running one included."""
        if self.pace is None or self.pace > AHEAD_SECONDS or self.slow(now):
            return 1
        return max(2, min(MAX_AHEAD, int(AHEAD_SECONDS / max(self.pace, 1e-4))))

    def slow(self, now: float) -> bool:
        """Whether its running task takes long."""
        return bool(self.held) and self.pid != 0 and now - self.head_since > SLOW_SECONDS

    @property
    def alone(self) -> bool:
        """Whether it holds a task that must have it for itself."""
        return len(self.held) == 1 and next(iter(self.held.values())).alone

    @property
    def large(self) -> PendingTask | None:
        """The task that it holds, if that takes much memory. While the process lives, its memory is taken."""
        head = next(iter(self.held.values()), None)
        return head if head is not None and head.need else None

    def give(self, tasks: Sequence[PendingTask], now: float) -> None:
        """Hand it tasks, after those it holds."""
        if not self.held:
            self.head_since = now
        for held in tasks:
            held.ordinal = self._sent
            held.started_at = None
            self._sent += 1
            self.held[held.key] = held
        batch = TaskBatch(tasks=[held.task for held in tasks])
        self.channel.send(framing.pack(WorkerRequest(run=batch)))
        os.write(self.tokens_out, b"".join(framing.TOKEN.pack(held.ordinal) for held in tasks))

    def reclaim(self) -> list[PendingTask]:
        """Take back the tasks that it has not begun."""
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
        """Note that so many tasks ended since the last note."""
        pace = (now - self.head_since) / count
        self.pace = pace if self.pace is None else 0.6 * self.pace + 0.4 * pace
        self.head_since = now
        self.useful = True

    def limit(self) -> tuple[float, Key] | None:
        """When the running task will have run for too long, and which it is."""
        if not self.held or not self.pid:
            return None
        head = next(iter(self.held.values()))
        if not head.task.time_limit_seconds:
            return None
        return (head.started_at or self.head_since) + head.task.time_limit_seconds - head.spent, head.key

    def slow_at(self) -> float:
        """When the running task is to be logged as slow; infinity while none runs."""
        if not self.held or not self.pid:
            return float("inf")
        head = next(iter(self.held.values()))
        return (head.started_at or self.head_since) + head.slow_after

    def kill(self) -> None:
        """Kill the process, if it is there. A process descriptor cannot hit another process that has got its number."""
        if not self.killed:
            self.killed_at = time.monotonic()
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            elif self.pid and self.exit_code is None:
                os.kill(self.pid, signal.SIGKILL)

    def forked(self, pid: int, now: float) -> None:
        """Note that the process is there."""
        self.pid = pid
        self.head_since = now
        if self.stderr is not None:
            self.stderr.pid = pid
        with contextlib.suppress(OSError, AttributeError):
            self.pidfd = os.pidfd_open(pid)
        if self.killed:
            self.kill()

    def discard(self, how: str) -> tuple[list[tuple[PendingTask, LossKind, str]], list[PendingTask]]:
        """Close what leads to it after its death; return the task that is lost with it, and those that are not."""
        lost, others = [], []
        # Of those begun, the last one ran; the others had ended, and what they told died with the process.
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
        """Close what leads to it; if it still lives, it ends."""
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
    #: Fork servers that died before they had loaded, or workers before they did anything, one after another.
    failed_starts: int = 0
    #: When the fork server is started anew.
    start_at: float | None = None
    wanted: bool = False

    def launch(self, output: Output, environment: Mapping[str, str] | None) -> Channel:
        """Start the fork server. It ends with its socket, and the kernel kills it when this process or thread ends."""
        ours, theirs = socket.socketpair()
        self.stderr, errors = output.open("fork server", self.name)
        try:
            with theirs:
                self.process = subprocess.Popen(
                    with_death_signal([*self.command, "--provider", self.name, "--socket", str(theirs.fileno())]),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                )
        finally:
            os.close(errors)
        if self.stderr is not None:
            self.stderr.pid = self.process.pid
        self.channel = Channel(ours)
        self.state = "starting"
        self.start_at = None
        return self.channel

    def broke(self, reason: str, again_at: float | None) -> None:
        """Note that it cannot run anything, and when it is to be tried again."""
        self.state, self.reason, self.start_at = "broken", reason, again_at
        self.failed_starts = 0
        self.wanted = False

    def end(self, patience: float) -> int:
        """Wait for the fork server's end for so many seconds, then kill it; gives its exit code."""
        if self.process is None:
            return 0
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def described(self, waited: float) -> ProviderDescription:
        """Return its description, or why that is not known after so many seconds."""
        return self.description or ProviderDescription(
            provider=ProviderMessage(name=self.name),
            unavailable=self.reason or f"its process did not answer within {waited:g} s",
        )

    def pids(self) -> list[int]:
        """Ids of the fork server's process and its workers'; none before it is started."""
        return [] if self.process is None else [self.process.pid, *(worker.pid for worker in self.ready if worker.pid)]

    @property
    def ready(self) -> list[Worker]:
        """Workers that take tasks: all that were not told to die."""
        return [worker for worker in self.workers.values() if not worker.killed]


def how_it_died(code: int) -> str:
    """Say for people what an exit code means; negative ones are signals."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (perhaps the machine ran out of memory)" if name == "SIGKILL" else "")


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
