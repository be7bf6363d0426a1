# SPDX-License-Identifier: Apache-2.0
"""When a server is to end: its signals, and the last resort when it does not end in time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from pathlib import Path
from typing import Final, NoReturn

from qonduit_server.process.standard_streams import StandardStreams

#: What ends a server, SIGHUP too: the terminal that it was started in is gone.
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: What a start that was told to stop may take to get to where it can stop.
_START_SECONDS: Final = 1.5
#: What is left to hand back, to answer and to close takes so long at most, after the time for running jobs.
LEEWAY_SECONDS: Final = 15.0
#: The same after a second signal.
_HURRY_SECONDS: Final = 1.5
#: A process that was killed is gone within this time, unless the kernel itself hangs.
_KILLED_SECONDS: Final = 0.3
#: What is left of the log gets so long to be written then: perhaps nobody reads it.
_FLUSH_SECONDS: Final = 0.3


class Shutdown:
    """What a server's signals ask for: `stop` at the first, `hurry` at the second.

    The signals are taken by a thread of its own, so that they interrupt nothing. A server that has not ended when its
    time is up is ended, with all its processes: nothing that was acknowledged is lost by that, its jobs are run again.
    SIGHUP is left alone where whoever started the server ignores it, as nohup does. It is never the second signal: a
    terminal that closes may send it more than once.

    Args:
        streams: what this process writes to.
    """

    def __init__(self, streams: StandardStreams) -> None:
        self._streams = streams
        self.stop: Final = threading.Event()
        self.hurry: Final = threading.Event()
        #: What this process ends with, should it have to be ended.
        self.code = 0
        self._started = threading.Event()
        self._drain_seconds = 0.0
        # A signal that is blocked waits for `sigwait` even where it is ignored.
        self._signals = _SIGNALS - ({signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set())
        # In all threads, and in the processes that they start: those end when this one says so.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for name, work in (("shutdown-signals", self._listen), ("shutdown-watchdog", self._watch)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def started(self, drain_seconds: float) -> None:
        """Note that the server runs, and how long running jobs may take once it is to stop."""
        self._drain_seconds = drain_seconds
        self._started.set()

    def _listen(self) -> None:
        signal.sigwait(self._signals)
        self.stop.set()
        while signal.sigwait(self._signals) == signal.SIGHUP:
            pass
        self.hurry.set()

    def _watch(self) -> None:
        self.stop.wait()
        if self._started.wait(_START_SECONDS):
            if self.hurry.wait(self._drain_seconds + LEEWAY_SECONDS):
                threading.Event().wait(_HURRY_SECONDS)
            else:
                self._streams.fail("qonduit: shutdown timed out; remaining processes were killed")
        end_now(self.code, self._streams)


def end_now(code: int, streams: StandardStreams) -> NoReturn:
    """End this process and all that it started, whatever they are doing."""
    children: list[int] = []
    with contextlib.suppress(OSError):  # elsewhere than on Linux they end when their sockets are closed
        for thread in Path("/proc/self/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    for child in children:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(child)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _KILLED_SECONDS)
    streams.flush(_FLUSH_SECONDS)
    os._exit(code)
