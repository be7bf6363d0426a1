# SPDX-License-Identifier: Apache-2.0
"""Writes lines to a descriptor from one thread of its own, so that a reader that stalls blocks nobody."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

#: Bytes that wait for the reader at most; lines beyond are dropped.
MAX_BYTES: Final = 4 * 1024**2
#: Bytes of one write at most: a pipe's usual capacity.
_WRITE_BYTES: Final = 64 * 1024


class LineWriter:
    """A bounded queue of lines and the thread that writes them. Safe to use from any thread; `write` never blocks.

    Args:
        descriptor: where the lines go; it stays open.
        name: of the thread.
        report: makes the line that says how many lines were dropped; None: nothing says so.
        max_bytes: how much waits at most.
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
        #: Lines that the thread has taken out of the queue and not yet written.
        self._writing = 0
        self._waiting = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the last one that said so."""
        return self._dropped

    def write(self, line: str) -> None:
        """Queue a line, or drop it if too much waits."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._changed:
            if self._bytes + len(data) > self._max_bytes:
                self._dropped += 1
                return
            if self._dropped:
                # In its place: after the last line that was kept, before the first one that is kept again.
                self._queue(self._drops())
            self._queue(data)
            if self._waiting:
                self._waiting = False
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, for so many seconds at most; returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _queue(self, data: bytes) -> None:
        if data:
            self._lines.append(data)
            self._bytes += len(data)

    def _drops(self) -> bytes:
        """Say how many lines were dropped, and begin to count anew."""
        count, self._dropped = self._dropped, 0
        return b"" if self.report is None else self.report(count).encode(errors="backslashreplace") + b"\n"

    def _work(self) -> None:
        written = True
        while True:
            with self._changed:
                self._writing = 0
                if not self._lines and self._dropped and written:
                    self._queue(self._drops())
                if not self._lines:
                    self._changed.notify_all()
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
        """Write it all; what cannot be written (the disk is full, the terminal is gone) is lost and fails nothing."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # a descriptor that whoever started this process made non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True
