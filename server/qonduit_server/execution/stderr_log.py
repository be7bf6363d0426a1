# SPDX-License-Identifier: Apache-2.0
"""Log the standard error of fork servers and workers, with limits in bytes and in time."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.process.redaction import Redaction

#: The maximum of bytes of one record.
_RECORD_BYTES: Final = 8 * 1024
#: Output within this time is one record, because a traceback is written line by line.
_GATHER_SECONDS: Final = 0.2
#: The log budget of one process, and the time in which it refills; other output is read, counted and dropped.
_BURST_BYTES: Final = 64 * 1024
_BURST_SECONDS: Final = 60.0
#: How long the pipe of a dead process is read, if a child process keeps it open.
_AFTER_SECONDS: Final = 1.0
_READ_BYTES: Final = 64 * 1024
_JOIN_SECONDS: Final = 2.0

_NO_SECRET: Final = Redaction("")

#: Writes one record: the kind of process, the provider, the process id, the output, and the bytes dropped before it.
Record = Callable[[str, str, int, str, int], None]


@dataclass(eq=False)
class Stderr:
    """The standard error of one process. `pid` is set when it is known."""

    descriptor: int
    process: str
    provider: str
    pid: int = 0
    data: bytearray = field(default_factory=bytearray)
    first_at: float = 0.0
    ends_at: float = float("inf")
    budget: float = float(_BURST_BYTES)
    budget_at: float = 0.0
    dropped: int = 0
    #: Removes the credential of the task that the process runs.
    redaction: Redaction = _NO_SECRET

    def add(self, data: bytes, now: float) -> None:
        """Keep the part of the data that the budget allows; count the rest as dropped."""
        data = self.redaction.data(data)
        refilled = (now - self.budget_at) * _BURST_BYTES / _BURST_SECONDS
        self.budget = min(float(_BURST_BYTES), self.budget + refilled)
        self.budget_at = now
        kept = data[: int(self.budget)]
        self.budget -= len(kept)
        self.dropped += len(data) - len(kept)
        if kept and not self.data:
            self.first_at = now
        self.data += kept
        if self.redaction:
            # Again: the secret may have been in two pieces.
            self.data[:] = self.redaction.data(bytes(self.data))

    def due(self) -> float:
        """Return the time of the next flush or close."""
        return min(self.first_at + _GATHER_SECONDS if self.data else float("inf"), self.ends_at)


class StderrLog:
    """Reads the standard error of processes in one thread, so that no process waits for the log.

    Use: `open()` for each process, also before `start()`; `stop()` after the processes have ended.
    """

    def __init__(self, record: Record | None = None) -> None:
        self._record = record or _write
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._new: deque[Stderr] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="stderr-log", daemon=True)
        # The thread owns the attributes below.
        self._open: set[Stderr] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)

    def start(self) -> None:
        """Begin to read and log."""
        self._thread.start()

    def open(self, process: str, provider: str) -> tuple[Stderr, int]:
        """Create the standard error of a process; the caller passes the descriptor to the process and closes it."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        one = Stderr(reading, process, provider, budget_at=time.monotonic())
        self._new.append(one)
        self._wake()
        return one, writing

    def ended(self, one: Stderr) -> None:
        """Record the death of a process: its remaining output is logged, and its pipe is closed."""
        one.ends_at = time.monotonic() + _AFTER_SECONDS
        self._wake()

    def stop(self) -> None:
        """Log the remaining output and end; a second call does nothing."""
        if self._stopping:
            return
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)
        else:
            self._close_all()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_out, b"!")

    def _serve(self) -> None:
        try:
            while not self._stopping:
                due = min((one.due() for one in self._open), default=float("inf"))
                self._read(None if due == float("inf") else max(0.0, due - time.monotonic()))
            self._read(0.0)  # registers new pipes
            for one in list(self._open):
                self._read_one(one, time.monotonic())
                self._flush(one, everything=True)
        finally:
            self._close_all()

    def _close_all(self) -> None:
        """Close every pipe: later writes of processes fail and do not block."""
        for one in (*self._open, *self._new):
            os.close(one.descriptor)
        self._open.clear()
        self._new.clear()
        self._selector.close()

    def _read(self, pause: float | None) -> None:
        """Wait for output, at most `pause` seconds; log the output that is due."""
        ready = self._selector.select(pause)
        now = time.monotonic()
        for key, _ in ready:
            if key.data is not None:
                self._read_one(key.data, now)
                continue
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_in, 4096)
        while self._new:
            one = self._new.popleft()
            self._open.add(one)
            self._selector.register(one.descriptor, selectors.EVENT_READ, one)
        for one in [one for one in self._open if one.due() <= now]:
            self._flush(one)
            if one.ends_at <= now:
                self._close(one)

    def _read_one(self, one: Stderr, now: float) -> None:
        try:
            data = os.read(one.descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        one.add(data, now)
        while len(one.data) > _RECORD_BYTES:
            self._flush(one)
        if not data:
            self._close(one)

    def _flush(self, one: Stderr, *, everything: bool = False) -> None:
        """Log one record of the gathered output, or all of it; a record ends at the end of a line if possible."""
        while one.data or (everything and one.dropped):
            size = len(one.data)
            if size > _RECORD_BYTES:
                size = one.data.rfind(b"\n", 0, _RECORD_BYTES) + 1 or _RECORD_BYTES
            text = one.data[:size].decode(errors="replace").rstrip("\n")
            del one.data[:size]
            dropped, one.dropped = one.dropped, 0
            self._record(one.process, one.provider, one.pid, text, dropped)
            if not everything:
                return

    def _close(self, one: Stderr) -> None:
        self._flush(one, everything=True)
        self._open.remove(one)
        self._selector.unregister(one.descriptor)
        os.close(one.descriptor)


@dataclass(frozen=True)
class Output:
    """The destination of processes' standard error: a log, the standard error of this process, or /dev/null."""

    log: StderrLog | None = None
    shown: bool = False

    def open(self, process: str, provider: str) -> tuple[Stderr | None, int]:
        """Create the standard error of a process; return its log entry and the descriptor for the process."""
        if self.log is not None:
            return self.log.open(process, provider)
        return None, os.dup(2) if self.shown else os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def ended(self, stderr: Stderr | None) -> None:
        """Record the death of a process."""
        if self.log is not None and stderr is not None:
            self.log.ended(stderr)


def _write(process: str, provider: str, pid: int, text: str, dropped: int) -> None:
    import structlog  # imported late: a server starts its processes before it imports other modules

    more = {"dropped_bytes": dropped} if dropped else {}
    log = structlog.get_logger("qonduit.worker")
    log.warning(f"{process} wrote to stderr", provider=provider, pid=pid, output=text, **more)
