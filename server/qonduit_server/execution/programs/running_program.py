# SPDX-License-Identifier: Apache-2.0
"""One server program of the pool: its process, what it sends as events of its task, and its end."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from qonduit.execution.v1.program_pb2 import ProgramCall, ProgramError, ProgramMessage, ProgramReply
from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramStarted,
    ProgramSucceeded,
    Task,
    TaskEvent,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.result_pb2 import BufferColumn, BufferReference, ColumnKind, ProgramOutput, Result, ResultType
from qonduit.v1.system_service_pb2 import Worker, WorkerState
from qonduit_server.execution.executor import Key, Loss, LossKind
from qonduit_server.execution.frame_channel import Channel
from qonduit_server.execution.programs.fork_server import ForkServer
from qonduit_server.execution.programs.program_limits import (
    OutputMeter,
    ProgramLimits,
    is_json_text,
    parsed_output,
)
from qonduit_server.process.memory import format_bytes

#: The largest frame of a program: its output, or the request of a job.
MAX_FRAME_BYTES: Final = 40 * 1024**2
#: A larger output stands in the buffer of its result.
_MESSAGE_BYTES: Final = 192 * 1024
_TEXT_BYTES: Final = 4096
#: The most calls that are not answered, or whose replies are not read.
_MOST_CALLS: Final = 16
#: The reasons of failures that a program may report, with their categories.
_PROGRAM: Final = FailureCategory.FAILURE_CATEGORY_PROGRAM
_LIMIT: Final = FailureCategory.FAILURE_CATEGORY_LIMIT
_REASONS: Final = {
    "PYTHON_ERROR": _PROGRAM,
    "SYNTAX_ERROR": _PROGRAM,
    "NO_ENTRY_POINT": _PROGRAM,
    "INVALID_INPUTS": _PROGRAM,
    "INVALID_OUTPUT": _PROGRAM,
    "RESULT_TOO_LARGE": _LIMIT,
    "SANDBOX_MEMORY": _LIMIT,
}


class Session(Protocol):
    """Answers the calls of one program; see `rpc.program_calls`."""

    def call(self, call: ProgramCall, reply: Callable[[ProgramReply], None]) -> None:
        """Answer a call, now or later, in any thread."""

    def close(self) -> None:
        """End the session."""


#: Opens the session of a program: its job, the attempt, the credential, and the maximum number of its jobs.
OpenSession = Callable[[int, int, str, int], Session]


class RunningProgram:
    """A program from its submission to its end. The thread of the pool owns it.

    Args:
        task: the task.
        number: its number in the pool.
        environment: the name of its environment.
        limits: its limits.
    """

    def __init__(self, task: Task, number: int, environment: str, limits: ProgramLimits) -> None:
        self.task = task
        self.number = number
        self.environment = environment
        self.limits = limits
        self.key: Key = (task.job_id, task.attempt)
        self.forked_by: ForkServer | None = None
        self.channel: Channel | None = None
        self.pid = 0
        self.began = time.monotonic()
        self.started = False
        #: The time at which messages are read again.
        self.paused_until = 0.0
        #: The time at which it is killed, because its socket is closed.
        self.ends_at = float("inf")
        self.session: Session | None = None
        #: Guards the sending of replies, which any thread does.
        self._sending = threading.Lock()
        self._defers = False
        #: The calls that are not answered, of which one thread at a time answers the first; guarded by their lock.
        self._calls: deque[ProgramCall] = deque()
        self._calling = threading.Lock()
        self._meter = OutputMeter(self.began)
        #: The outcome that the program has sent.
        self._output: bytes | None = None
        self._error: ProgramError | None = None
        #: Why the pool ends it.
        self.kill_reason: tuple[LossKind, str] | None = None
        self._forged = ""

    @property
    def deadline(self) -> float:
        """The time at which it is killed."""
        return self.began + self.limits.seconds if self.limits.seconds else float("inf")

    @property
    def has_outcome(self) -> bool:
        """Whether the program has sent its output or its error, or broken the rules of its socket."""
        return self._output is not None or self._error is not None or bool(self._forged)

    def misuse(self, how: str) -> None:
        """Fail the program, because it broke the rules of its socket."""
        self._forged = self._forged or how

    def begin(self, forked_by: ForkServer, channel: Channel) -> None:
        """Begin with a process."""
        self.forked_by, self.channel = forked_by, channel
        self.began = time.monotonic()

    def event(self, **event: object) -> TaskEvent:
        """Return an event of its task; `event` is the member of TaskEvent to set."""
        return TaskEvent(job_id=self.task.job_id, attempt=self.task.attempt, **event)  # type: ignore[arg-type]

    def worker(self) -> Worker:
        """Return its process as a list of workers contains it."""
        stopping = self.kill_reason is not None or self.has_outcome
        state = WorkerState.WORKER_STATE_STOPPING if stopping else WorkerState.WORKER_STATE_BUSY
        message = Worker(pid=self.pid, state=state, job_id=self.task.job_id, phase=f"environment {self.environment}")
        message.since.FromMilliseconds(int((time.time() - (time.monotonic() - self.began)) * 1000))
        return message

    def send(self, frame: bytes) -> bytes | memoryview:
        """Send a reply, in any thread; return the rest that the thread of the pool must send."""
        with self._sending:
            if self.channel is None or self.channel.ended:
                return b""
            rest = frame if self._defers else self.channel.try_send(frame)
            # From then on, one thread sends, so that no frame overtakes another.
            self._defers = self._defers or bool(rest)
            return rest

    def add_call(self, call: ProgramCall) -> bool:
        """Add a call; return whether a thread must begin to answer, with `next_call` until there is none.

        A program waits for the reply to a call, or for its timeout, and reads replies before it calls again. One that
        does not would fill the memory of the server.
        """
        unread = self.channel.unsent if self.channel is not None else 0
        with self._calling:
            if len(self._calls) + unread >= _MOST_CALLS:
                self.misuse("it made calls without reading the replies")
                return False
            self._calls.append(call)
            return len(self._calls) == 1

    def next_call(self, answered: ProgramCall | None = None) -> ProgramCall | None:
        """Return the next call to answer, after another one; None without a further call."""
        with self._calling:
            if answered is not None:
                self._calls.popleft()
            return self._calls[0] if self._calls else None

    def close(self) -> None:
        """Close the socket and end the session."""
        with self._sending:
            if self.channel is not None:
                self.channel.close()
                self.channel = None
        if self.session is not None:
            self.session.close()

    def accept(self, body: bytes, now: float) -> list[TaskEvent | ProgramCall]:
        """Return what a message of the program means: events, or a call to answer."""
        if self.has_outcome:
            return []
        try:
            message = ProgramMessage.FromString(body)
        except DecodeError:
            self._forged = "it sent bytes that are no message"
            return []
        if message.HasField("call"):
            return [message.call]
        self.paused_until = now + self._meter.take(now)
        if message.HasField("output"):
            self._output = message.output
        elif message.HasField("failed"):
            self._error = message.failed
        else:
            return list(self._events(message))
        return []

    def _events(self, message: ProgramMessage) -> Iterator[TaskEvent]:
        match message.WhichOneof("message"):
            case "started":
                if not self.started:
                    self.started = True
                    yield self.event(started=TaskStarted())
                    yield self.event(program_started=ProgramStarted(index=0))
            case "log":
                if (line := self._meter.line(message.log)) is not None:
                    yield self.event(log=line)
            case "progress":
                share, text = message.progress.progress, message.progress.message[:_TEXT_BYTES]
                # The end of the job is its last progress.
                if 0.0 < share <= 1.0:
                    yield self.event(progress=TaskProgress(progress=share, message=text))
            case "interim":
                if self._meter.publishes(message.interim.value):
                    yield self.event(interim_result=message.interim)
                else:
                    self._forged = "it published too many values, or one that is too large or no JSON"
            case _:
                self._forged = "it sent an empty message"

    def end_events(self, exit_code: int, cpu_seconds: float) -> list[TaskEvent] | Loss:
        """Return the last events of the task, or its loss, once the process has ended."""
        if self.kill_reason is not None and not self.has_outcome:
            kind, message = self.kill_reason
            if kind is not LossKind.TIME_LIMIT:
                return Loss(kind, message, self.pid, cpu_seconds)
            return self._failed(self._time_limit(), cpu_seconds)
        if self._output is not None:
            return self._succeeded(self._output, cpu_seconds)
        if self._error is not None:
            return self._failed(self._reported(self._error), cpu_seconds)
        if self._forged:
            return self._failed(
                _failure(_PROGRAM, "CHANNEL_MISUSED", f"the program misused its socket: {self._forged}"), cpu_seconds
            )
        if exit_code == -signal.SIGXCPU:
            return self._failed(self._time_limit(), cpu_seconds)
        if exit_code == -signal.SIGKILL or not self.started:
            how = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with {exit_code}"
            return Loss(LossKind.DIED, f"the process of the program {how}", self.pid, cpu_seconds)
        if exit_code < 0:
            name = signal.Signals(-exit_code).name
            hint = " (it may have run out of memory)" if name == "SIGABRT" else ""
            text = f"the process of the program died of {name}{hint}"
        else:
            text = f"the program ended its process with {exit_code}: let it run to its last line instead"
        return self._failed(_failure(_PROGRAM, "SANDBOX_DIED", text), cpu_seconds)

    def _succeeded(self, content: bytes, seconds: float) -> list[TaskEvent]:
        most = self.task.max_result_bytes
        if most and len(content) > most:
            text = (
                f"the result has {format_bytes(len(content))} as JSON, and a result may have at most "
                f"{format_bytes(most)} (max_result_bytes): return less"
            )
            return self._failed(_failure(_LIMIT, "RESULT_TOO_LARGE", text), seconds)
        result = Result(result_type=ResultType.RESULT_TYPE_PROGRAM_OUTPUT, program_output=ProgramOutput())
        if len(content) <= _MESSAGE_BYTES:
            value, buffer = parsed_output(content), b""
            if value is not None:
                result.program_output.value.CopyFrom(value)
            valid = value is not None
        else:
            valid, buffer = is_json_text(content), content
            result.buffer.CopyFrom(
                BufferReference(
                    size_bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                    rows=len(content),
                    columns=[BufferColumn(name="json", kind=ColumnKind.COLUMN_KIND_UINT, width=1)],
                )
            )
        if not valid:
            return self._failed(_failure(_PROGRAM, "INVALID_OUTPUT", "the result of the program is no JSON"), seconds)
        return [
            self.event(program_succeeded=ProgramSucceeded(index=0, result=result, buffer=buffer)),
            self.event(finished=TaskFinished(seconds=seconds)),
        ]

    def _failed(self, failure: Failure, seconds: float) -> list[TaskEvent]:
        return [
            self.event(program_failed=ProgramFailed(index=0, failure=failure)),
            self.event(finished=TaskFinished(seconds=seconds)),
        ]

    def _reported(self, error: ProgramError) -> Failure:
        reason = error.reason if error.reason in _REASONS else "PYTHON_ERROR"
        message = error.message[:_TEXT_BYTES] or "the program failed without an error message"
        if reason == "SANDBOX_MEMORY":
            message = (
                f"the program needed more than {format_bytes(self.limits.memory_bytes)} of memory "
                "(limits.max_memory_bytes of its options, at most max_task_memory_bytes)"
            )
        failure = _failure(_REASONS[reason], reason, message)
        if error.line > 0:
            failure.line, failure.column = error.line, max(0, error.column)
        return failure

    def _time_limit(self) -> Failure:
        text = (
            f"the program ran longer than {self.limits.seconds:g} s (max_execution_time of its metadata or its "
            "options, at most max_program_seconds)"
        )
        return _failure(_LIMIT, "TIME_LIMIT", text)


def failed_at_once(task: Task, reason: str, message: str) -> list[TaskEvent]:
    """Return the events of a task that cannot begin."""
    failure = _failure(FailureCategory.FAILURE_CATEGORY_PROVIDER, reason, message)
    event = TaskEvent(job_id=task.job_id, attempt=task.attempt, finished=TaskFinished(failure=failure, seconds=0.0))
    return [event]


def _failure(category: FailureCategory, reason: str, message: str) -> Failure:
    return Failure(category=category, reason=reason, message=message)
