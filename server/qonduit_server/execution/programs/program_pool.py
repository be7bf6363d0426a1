# SPDX-License-Identifier: Apache-2.0
"""The pool of server programs: a process each, forked by one process for each environment, served by one thread.

A program takes no place of a worker. It waits for its jobs, which need places of workers, so programs and workers have
separate numbers of places: as many programs as there are workers, and one more, all end.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog

from qonduit.execution.v1.program_pb2 import ProgramCall, ProgramForkReply, ProgramReply, ProgramStart
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.executor import Key, Listener, Loss, LossKind
from qonduit_server.execution.frame_channel import Channel
from qonduit_server.execution.programs.fork_server import ForkServer
from qonduit_server.execution.programs.program_limits import ProgramLimits, entry_of, inputs_of
from qonduit_server.execution.programs.running_program import (
    MAX_FRAME_BYTES,
    OpenSession,
    RunningProgram,
    failed_at_once,
)
from qonduit_server.execution.socket_selector import SocketSelector
from qonduit_server.execution.stderr_log import Output, StderrLog
from qonduit_server.process import framing
from qonduit_server.program_metadata import MetadataError

_log = structlog.get_logger("qonduit.programs")

#: The threads that answer calls of programs. A call that waits for a job holds none.
CALL_THREADS: Final = 4
#: The memory that a program may add if neither the server nor the program has a limit.
MEMORY_BYTES: Final = 2 * 1024**3
#: After a failed start, an environment is tried again after this time.
_RETRY_SECONDS: Final = 10.0
#: A process whose socket is closed has this time to end.
_END_SECONDS: Final = 2.0
_UNAVAILABLE: Final = "PYTHON_SOURCE_UNAVAILABLE"


class ProgramPool:
    """Runs server programs. Thread-safe.

    Args:
        slots: the maximum number of programs that run at once.
        environments: the Python interpreter of each environment, by its name.
        limits: of each program.
        stderr: logs the standard error of the processes that fork programs.
        on_fault: called when the thread has ended by a fault: the server should end.
    """

    def __init__(
        self,
        slots: int,
        environments: Mapping[str, str],
        limits: ProgramLimits,
        *,
        stderr: StderrLog | None = None,
        on_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self._slots = slots
        self._environments = dict(environments)
        self._limits = limits
        self._output = Output(stderr, shown=False)
        self._on_fault = on_fault
        self._lock = threading.RLock()
        self._selector: SocketSelector[ForkServer | RunningProgram] = SocketSelector()
        self._numbers = itertools.count(1)
        self._programs: dict[Key, RunningProgram] = {}
        self._waiting: deque[RunningProgram] = deque()
        self._servers: dict[str, ForkServer] = {}
        self._retry_at: dict[str, float] = {}
        #: What other threads want from the thread of the pool.
        self._actions: deque[Callable[[], None]] = deque()
        #: The keys whose ends the listener is taking.
        self._ending: set[Key] = set()
        self._events: list[TaskEvent] = []
        self._losses: list[tuple[Key, Loss]] = []
        self._freed = False
        self._stopping = False
        self._calls = ThreadPoolExecutor(CALL_THREADS, thread_name_prefix="program-calls")
        self._thread = threading.Thread(target=self._serve, name="programs", daemon=True)

    # Any thread.

    def start(self, listener: Listener, open_session: OpenSession) -> None:
        """Begin to run programs.

        Args:
            listener: receives the events and ends of tasks.
            open_session: opens the session that answers the calls of a program.
        """
        self._listener = listener
        self._open_session = open_session
        self._thread.start()

    def preload(self, name: str) -> None:
        """Start the process of an environment before its first program."""
        self._do(lambda: self._preload(name))

    def capacity(self) -> int:
        """Return the number of further programs that the pool wants now."""
        with self._lock:
            return 0 if self._stopping else max(0, self._slots - len(self._programs))

    def submit(self, tasks: Iterable[Task]) -> None:
        """Run tasks."""
        for task in tasks:
            self._do(partial(self._accept, task), key=(task.job_id, task.attempt))

    def keys(self) -> set[Key]:
        """Return the tasks that have not ended, or whose ends are not delivered."""
        with self._lock:
            return {*self._programs, *self._ending}

    def cancel(self, key: Key) -> None:
        """End a task with a loss CANCELLED, unless it ends at the same time."""
        self._do(lambda: self._end(key, LossKind.CANCELLED, "cancelled while it ran"))

    def processes(self) -> dict[str, list[int]]:
        """Return process ids by environment: of the process that forks, then of its programs."""
        with self._lock:
            found = {name: [server.pid] for name, server in self._servers.items()}
            for program in self._programs.values():
                if program.pid and program.environment in found:
                    found[program.environment].append(program.pid)
            return found

    def running(self) -> list[Worker]:
        """Return the processes of programs, without server, provider and memory."""
        with self._lock:
            return [program.worker() for program in self._programs.values() if program.pid]

    def stop(self) -> None:
        """End all programs with a loss STOPPED, and all processes."""
        with self._lock:
            self._stopping = True
            self._selector.wake()
        if self._thread.ident is not None:
            self._thread.join()
        self._calls.shutdown(cancel_futures=True)

    def _do(self, action: Callable[[], None], key: Key | None = None) -> None:
        with self._lock:
            if key is not None:
                self._ending.add(key)
            self._actions.append(action)
            self._selector.wake()

    # The thread of the pool.

    def _serve(self) -> None:
        try:
            while not self._stopping:
                self._serve_once()
        finally:
            if not self._stopping:
                _log.error("the thread of server programs has ended")
                self._on_fault()
            self._end_all()
            self._deliver()

    def _serve_once(self) -> None:
        self._selector.settle()
        now = time.monotonic()
        due = self._next_due()
        readable = self._selector.wait(None if due == float("inf") else max(0.0, due - now))
        now = time.monotonic()
        self._selector.flush()
        while True:
            with self._lock:
                if not self._actions:
                    break
                action = self._actions.popleft()
            action()
        for channel in readable:
            owner = self._selector.owner(channel)
            if isinstance(owner, ForkServer):
                self._receive_from_server(owner, now)
            elif owner is not None:
                self._receive(owner, now)
        self._check_times(now)
        self._place(now)
        self._deliver()

    def _next_due(self) -> float:
        times = [program.deadline for program in self._programs.values()]
        times += [program.ends_at for program in self._programs.values()]
        times += [program.paused_until for program in self._programs.values() if program.paused_until]
        if self._waiting:
            times += self._retry_at.values()
        return min(times, default=float("inf"))

    def _preload(self, name: str) -> None:
        self._server(name, time.monotonic())

    def _accept(self, task: Task) -> None:
        key = (task.job_id, task.attempt)
        try:
            environment, _, _ = entry_of(task.programs[0])
        except MetadataError as error:
            self._fail(key, task, "INVALID_OPTIONS", f"python_file_options: {error.message}")
            return
        if environment not in self._environments:
            text = f"this server has no Python environment {environment!r} (python_environments)"
            self._fail(key, task, _UNAVAILABLE, text)
            return
        program = RunningProgram(task, next(self._numbers), environment, self._limits.of(task.programs[0]))
        with self._lock:
            self._ending.discard(key)
            self._programs[key] = program
        self._waiting.append(program)

    def _place(self, now: float) -> None:
        """Fork the waiting programs whose environment is ready."""
        for _ in range(len(self._waiting)):
            program = self._waiting.popleft()
            server = self._server(program.environment, now)
            if server is None or not server.loaded:
                self._waiting.append(program)
            else:
                self._fork(program, server)

    def _server(self, name: str, now: float) -> ForkServer | None:
        """Return the process of an environment; start it if it is time. Fail its waiting programs if it cannot."""
        server = self._servers.get(name)
        if server is not None or self._retry_at.get(name, 0.0) > now:
            return server
        try:
            server = ForkServer(name, self._environments[name], self._output)
        except OSError as error:
            self._broken(name, f"{self._environments[name]} cannot be started: {error}", now)
            return None
        with self._lock:
            self._servers[name] = server
        self._selector.add(server.channel, server)
        return server

    def _broken(self, name: str, why: str, now: float) -> None:
        _log.error("Python environment unavailable", environment=name, why=why)
        self._retry_at[name] = now + _RETRY_SECONDS
        for program in [each for each in self._waiting if each.environment == name]:
            self._waiting.remove(program)
            text = f"the Python environment {name!r} cannot run programs now: {why}"
            self._fail(program.key, program.task, _UNAVAILABLE, text)

    def _fork(self, program: RunningProgram, server: ForkServer) -> None:
        task, source = program.task, program.task.programs[0]
        channel = Channel(server.fork(program.number), MAX_FRAME_BYTES)
        self._selector.sent(server.channel)
        program.begin(server, channel)
        _, entry_point, log_level = entry_of(source)
        memory = min(filter(None, (program.limits.memory_bytes, task.memory_limit_bytes)), default=MEMORY_BYTES)
        program.limits = ProgramLimits(program.limits.seconds, memory, program.limits.children)
        start = ProgramStart(
            job_id=task.job_id,
            source=source.text,
            entry_point=entry_point,
            inputs=inputs_of(source, task.spec.inputs),
            device=task.device,
            log_level=log_level,
            memory_bytes=memory,
            cpu_seconds=int(program.limits.seconds + 1) if program.limits.seconds else 0,
            file=source.file,
            metadata=source.metadata,
        )
        self._selector.add(channel, program)
        channel.send(framing.pack(start))
        self._selector.sent(channel)

    def _receive_from_server(self, server: ForkServer, now: float) -> None:
        for body in server.channel.receive():
            reply = ProgramForkReply.FromString(body)
            match reply.WhichOneof("reply"):
                case "loaded":
                    server.loaded, server.fault = not reply.loaded, reply.loaded
                case "forked":
                    if (program := self._by_number(reply.forked.id)) is not None:
                        program.pid = reply.forked.pid
                case "exited":
                    if (program := self._by_number(reply.exited.id)) is not None:
                        self._exited(program, reply.exited.exit_code, reply.exited.cpu_seconds)
        if server.channel.ended:
            self._server_ended(server, now)

    def _server_ended(self, server: ForkServer, now: float) -> None:
        """Handle the end of the process of an environment, with which its programs end."""
        self._selector.drop(server.channel)
        code = server.end()
        self._output.ended(server.stderr)
        with self._lock:
            self._servers.pop(server.name, None)
        for program in [each for each in self._programs.values() if each.forked_by is server]:
            self._exited(program, -9, 0.0)
        if not server.loaded:
            self._broken(server.name, server.fault or f"its process ended with {code} before it was ready", now)

    def _by_number(self, number: int) -> RunningProgram | None:
        return next((each for each in self._programs.values() if each.number == number), None)

    def _receive(self, program: RunningProgram, now: float) -> None:
        channel = program.channel
        assert channel is not None
        if program.paused_until > now:
            return
        for body in channel.receive():
            self._take(program, body, now)
        if program.paused_until > now:
            self._selector.drop(channel)
        else:
            program.paused_until = 0.0
        if channel.too_large:
            program.misuse("it sent a message that is too large")
        if program.has_outcome:
            # Its exit code follows.
            self._selector.drop(channel)
            self._kill(program)
        elif channel.ended:
            self._selector.drop(channel)
            program.ends_at = now + _END_SECONDS

    def _take(self, program: RunningProgram, body: bytes, now: float) -> None:
        for each in program.accept(body, now):
            if isinstance(each, ProgramCall):
                if program.add_call(each):
                    self._calls.submit(self._answer, program)
            else:
                self._events.append(each)

    def _check_times(self, now: float) -> None:
        for program in list(self._programs.values()):
            if program.paused_until and program.paused_until <= now and program.channel is not None:
                program.paused_until = 0.0
                if not program.channel.ended and not program.has_outcome:
                    self._selector.add(program.channel, program)
            if program.ends_at <= now:
                program.ends_at = float("inf")
                program.misuse("it closed its socket")
                self._kill(program)
            if program.deadline <= now and program.kill_reason is None:
                self._end(program.key, LossKind.TIME_LIMIT, "it ran longer than its time limit")

    def _end(self, key: Key, kind: LossKind, message: str) -> None:
        """End a program: at once if it waits, else by killing its process."""
        program = self._programs.get(key)
        if program is None:
            return
        program.kill_reason = program.kill_reason or (kind, message)
        if program.forked_by is None:
            self._waiting.remove(program)
            self._exited(program, 0, 0.0)
        else:
            self._kill(program)

    def _kill(self, program: RunningProgram) -> None:
        if program.forked_by is not None:
            program.forked_by.kill(program.number)
            self._selector.sent(program.forked_by.channel)

    def _exited(self, program: RunningProgram, exit_code: int, cpu_seconds: float) -> None:
        """Record the end of a program, with what it sent before it."""
        channel, now = program.channel, time.monotonic()
        if channel is not None:
            self._selector.drop(channel)
            for body in channel.receive(everything=True):
                self._take(program, body, now)
        program.close()
        ended = program.end_events(exit_code, cpu_seconds)
        if isinstance(ended, Loss):
            self._losses.append((program.key, ended))
        else:
            self._events.extend(ended)
        self._remove(program.key)

    def _fail(self, key: Key, task: Task, reason: str, message: str) -> None:
        self._events.extend(failed_at_once(task, reason, message))
        self._remove(key)

    def _remove(self, key: Key) -> None:
        with self._lock:
            self._programs.pop(key, None)
            self._ending.add(key)
        self._freed = True

    def _deliver(self) -> None:
        """Deliver events and losses without a lock, because the listener may wait."""
        events, self._events = self._events, []
        losses, self._losses = self._losses, []
        freed, self._freed = self._freed, False
        if events:
            self._listener.events(events)
        for key, loss in losses:
            self._listener.lost(*key, loss)
        if freed:
            ended = {(each.job_id, each.attempt) for each in events if each.HasField("finished")}
            with self._lock:
                self._ending -= ended | {key for key, _ in losses}
            self._listener.capacity_changed()

    def _end_all(self) -> None:
        for key in list(self._programs):
            program = self._programs[key]
            program.kill_reason = program.kill_reason or (LossKind.STOPPED, "the server stopped")
        for server in list(self._servers.values()):
            server.loaded = True  # no retry
            self._server_ended(server, time.monotonic())
        for program in list(self._programs.values()):
            self._exited(program, 0, 0.0)
        for action in self._actions:
            action()
        for program in list(self._programs.values()):
            program.kill_reason = (LossKind.STOPPED, "the server stopped")
            self._exited(program, 0, 0.0)

    # The threads of calls.

    def _answer(self, program: RunningProgram) -> None:
        """Answer the calls of a program, one thread at a time."""
        if program.session is None:
            job_id, attempt = program.key
            credential, most = program.task.credential, program.limits.children
            program.session = self._open_session(job_id, attempt, credential, most)
        call = program.next_call()
        while call is not None:
            program.session.call(call, partial(self._reply, program))
            call = program.next_call(call)

    # Any thread.

    def _reply(self, program: RunningProgram, reply: ProgramReply) -> None:
        """Send the reply to a call, without a detour by the thread of the pool unless the socket is full."""
        if rest := program.send(framing.pack(reply)):
            self._do(partial(self._send_rest, program, rest))

    def _send_rest(self, program: RunningProgram, rest: bytes | memoryview) -> None:
        if program.channel is not None:
            program.channel.send(rest)
            self._selector.sent(program.channel)
