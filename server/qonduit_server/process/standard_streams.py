# SPDX-License-Identifier: Apache-2.0
"""The server process's standard output and standard error: nothing that is written there blocks the process.

Standard output and the log are written by a thread each. Descriptor 2 itself becomes a pipe: what libraries write there
(gRPC's core does, in C++) is read line by line and goes into the log like everything else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final

from qonduit_server.process.line_writer import LineWriter

_STDOUT, _STDERR = 1, 2
#: What is left to write when the process ends may take so long.
_FLUSH_SECONDS: Final = 1.0
#: What libraries may write before it is read, in bytes; more is lost. The kernel's usual bound without privileges.
_PIPE_BYTES: Final = 1024**2
#: A longer line of a library is broken.
_LINE_BYTES: Final = 8 * 1024


class StandardStreams:
    """Takes over descriptor 2 while it is entered: `with StandardStreams() as streams`."""

    def __init__(self) -> None:
        #: Whether people read the log on a terminal.
        self.terminal: Final = sys.stderr.isatty()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> StandardStreams:
        self._stderr = os.dup(_STDERR)
        self._end, writing = os.pipe()
        # A library that writes faster than this process reads loses lines and never waits: it may hold Python's lock.
        os.set_blocking(writing, False)
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or this user has too many pipes
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.dup2(writing, _STDERR)
        os.close(writing)
        self._out = LineWriter(_STDOUT, "standard-output")
        self.log = LineWriter(self._stderr, "log-writer")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give descriptor 2 back, after what was written to it is in the log.

        Raises:
            SystemExit: in place of an exception, which Python itself would print without a bound. A missing library is
                left to the command line, which says in one line what installs it.
        """
        fault = error is not None and not isinstance(error, SystemExit | ModuleNotFoundError)
        if fault:
            self.fail("".join(traceback.format_exception(error)).rstrip())
        os.dup2(self._stderr, _STDERR)
        self.read_errors(self.log.write)
        assert self._reader is not None
        self._reader.join(_FLUSH_SECONDS)  # a process that was started with it may have it still
        self.flush(_FLUSH_SECONDS)
        if fault:
            raise SystemExit(1) from error

    def say(self, line: str) -> None:
        """Write a line to standard output."""
        self._out.write(line)

    def fail(self, line: str) -> None:
        """Write a line to standard error as it is, for who started the process."""
        self.log.write(line)

    def read_errors(self, on_line: Callable[[str], None]) -> None:
        """Begin to read what is written to descriptor 2. Until then it waits; further calls change nothing.

        Args:
            on_line: takes each line, without its end.
        """
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, args=(on_line,), name="standard-error", daemon=True)
            self._reader.start()

    def flush(self, seconds: float) -> None:
        """Wait until all is written, for so many seconds at most."""
        self._out.flush(seconds)
        self.log.flush(seconds)

    def _read(self, on_line: Callable[[str], None]) -> None:
        rest = b""
        while piece := os.read(self._end, _PIPE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            while len(rest) > _LINE_BYTES:
                lines.append(rest[:_LINE_BYTES])
                rest = rest[_LINE_BYTES:]
            for line in lines:
                for begin in range(0, len(line), _LINE_BYTES):
                    on_line(line[begin : begin + _LINE_BYTES].decode(errors="replace"))
        if rest:
            on_line(rest.decode(errors="replace"))
