# SPDX-License-Identifier: Apache-2.0
"""The standard output and standard error of the server process; writes to them never block the process.

One thread writes standard output, another the log. File descriptor 2 becomes a pipe: a reader thread logs each line
that libraries write there (the C++ core of gRPC does).
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
#: Time limit for writing the rest when the process ends.
_FLUSH_SECONDS: Final = 1.0
#: Bytes that libraries may write before they are read; more is lost. The kernel's usual limit without privileges.
_PIPE_BYTES: Final = 1024**2
#: Longer lines of libraries are split.
_LINE_BYTES: Final = 8 * 1024


class StandardStreams:
    """Redirects descriptor 2 within a `with` block: `with StandardStreams() as streams`."""

    def __init__(self) -> None:
        #: Whether standard error is a terminal.
        self.terminal: Final = sys.stderr.isatty()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> StandardStreams:
        self._stderr = os.dup(_STDERR)
        self._end, writing = os.pipe()
        # Non-blocking: a library that writes too fast loses lines instead of waiting, as it may hold the GIL.
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
        """Restore descriptor 2, after everything written to it is in the log.

        Raises:
            SystemExit: replaces an exception, which Python would print without a time limit. ModuleNotFoundError is
                left to the command line, which prints how to install the missing package.
        """
        fault = error is not None and not isinstance(error, SystemExit | ModuleNotFoundError)
        if fault:
            self.write_error("".join(traceback.format_exception(error)).rstrip())
        os.dup2(self._stderr, _STDERR)
        self.read_stderr(self.log.write)
        assert self._reader is not None
        self._reader.join(_FLUSH_SECONDS)  # a child process may still have the pipe open
        self.flush(_FLUSH_SECONDS)
        if fault:
            raise SystemExit(1) from error

    def write_output(self, line: str) -> None:
        """Write a line to standard output."""
        self._out.write(line)

    def write_error(self, line: str) -> None:
        """Write a line to standard error unchanged, for the user who started the process."""
        self.log.write(line)

    def read_stderr(self, on_line: Callable[[str], None]) -> None:
        """Start to read the output to descriptor 2, which is buffered until then. Further calls do nothing.

        Args:
            on_line: called with each line, without its line end.
        """
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, args=(on_line,), name="standard-error", daemon=True)
            self._reader.start()

    def flush(self, seconds: float) -> None:
        """Wait until everything is written, or until the timeout."""
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
