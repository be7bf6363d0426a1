# SPDX-License-Identifier: Apache-2.0
"""Write lines to a file descriptor from a separate thread, so that a stalled reader blocks no other thread."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

#: Maximum number of queued bytes; further lines are dropped.
MAX_BYTES: Final = 4 * 1024**2
#: Maximum number of bytes per write: the usual capacity of a pipe.
_WRITE_BYTES: Final = 64 * 1024
#: The pause before the wait for more lines, so that the lines of a busy server wake the thread once for many.
_PAUSE_SECONDS: Final = 0.01


class LineWriter:
    """A bounded queue of lines and the thread that writes them. Safe to use from any thread; `write` never blocks.

    Args:
        descriptor: the file descriptor; it stays open.
        name: the name of the thread.
        report: returns the line that reports a number of dropped lines; None: drops are not reported.
        max_bytes: the maximum number of queued bytes.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        report: Callable[[int], str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self.report = report
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        #: Lines that the thread has removed from the queue and not yet written.
        self._writing = 0
        self._waiting = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def dropped(self) -> int:
        """Return how many lines were dropped since the last report."""
        return self._dropped

    def write(self, line: str) -> None:
        """Queue a line, or drop it if the queue is full."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._bytes + len(data) > self._max_bytes:
                self._dropped += 1
                return
            if self._dropped:
                # The report goes where the dropped lines would be: after the last kept line, before this one.
                self._queue(self._drop_report())
            self._queue(data)
            if self._waiting:
                self._waiting = False
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, or until the timeout; return whether they are written."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _queue(self, data: bytes) -> None:
        if data:
            self._lines.append(data)
            self._bytes += len(data)

    def _drop_report(self) -> bytes:
        """Return the report of dropped lines, and reset the count."""
        count, self._dropped = self._dropped, 0
        return b"" if self.report is None else self.report(count).encode(errors="backslashreplace") + b"\n"

    def _work(self) -> None:
        written = True
        while True:
            with self._changed:
                self._writing = 0
                if not self._lines and self._dropped and written:
                    self._queue(self._drop_report())
                idle = not self._lines
                if idle:
                    self._changed.notify_all()
            if idle:
                time.sleep(_PAUSE_SECONDS)
            with self._changed:
                while not self._lines:
                    self._waiting = True
                    self._changed.wait()
                batch = [self._lines.popleft()]
                size = len(batch[0])
                while self._lines and size + len(self._lines[0]) <= _WRITE_BYTES:
                    batch.append(self._lines.popleft())
                    size += len(batch[-1])
                self._writing = len(batch)
            written = self._write(b"".join(batch))
            with self._changed:
                self._bytes -= size
                if not written:
                    self._dropped += len(batch)

    def _write(self, data: bytes) -> bool:
        """Write the data; return False if that fails (disk full, terminal closed), without an error."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # the parent process made the descriptor non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True
