# SPDX-License-Identifier: Apache-2.0
"""The signals of a server, and a watchdog that kills it when its shutdown times out."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from pathlib import Path
from typing import Final, Literal, NoReturn

from qonduit_server.process.standard_streams import StandardStreams

#: The signals of a server; SIGHUP stops one whose terminal was closed, and reloads the configuration of others.
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: How long a start may take to reach a point where it can stop.
_START_SECONDS: Final = 1.5
#: Time limit for requeueing jobs, answering calls and closing, after the drain time.
LEEWAY_SECONDS: Final = 15.0
#: The same after a second signal.
_FORCE_SECONDS: Final = 1.5
#: Time within which a killed process exits, unless the kernel hangs.
_KILLED_SECONDS: Final = 0.3
#: Time limit for writing the rest of the log, which may be unread.
_FLUSH_SECONDS: Final = 0.3


class Shutdown:
    """Signals of a server as events: the first signal sets `stop`, the second sets `force`.

    A separate thread receives the signals, so that they interrupt no other thread. A server that does not stop in time
    is killed with all its processes; no acknowledged job is lost, because the next start runs it again. SIGHUP is
    ignored if the parent ignores it, as nohup does. It never counts as the second signal: a terminal that closes may
    send it several times.

    Args:
        streams: the standard streams of this process.
        reloads: whether SIGHUP reloads the configuration, unless the terminal of this process was closed.
    """

    def __init__(self, streams: StandardStreams, *, reloads: bool = False) -> None:
        self._streams = streams
        self._reloads = reloads
        self._had_terminal = _has_terminal()
        self._woken = threading.Event()
        self.stop: Final = threading.Event()
        self.force: Final = threading.Event()
        #: The exit code if the watchdog kills this process.
        self.code = 0
        self._started = threading.Event()
        self._drain_seconds = 0.0
        # A blocked signal is delivered to `sigwait` even if it is ignored, so leave out an ignored SIGHUP.
        self._signals = _SIGNALS - ({signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set())
        # Blocked in all threads and in their child processes, which end when this process ends them.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        for name, work in (("shutdown-signals", self._listen), ("shutdown-watchdog", self._watch)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def started(self, drain_seconds: float) -> None:
        """Record that the server runs, and its drain time."""
        self._drain_seconds = drain_seconds
        self._started.set()

    def request(self) -> None:
        """Stop the server as the first signal does."""
        self.stop.set()
        self._woken.set()

    def wait(self) -> Literal["stop", "reload"]:
        """Wait until the server should stop or reload its configuration. The first call follows `started`."""
        self._woken.wait()
        self._woken.clear()
        return "stop" if self.stop.is_set() else "reload"

    def _listen(self) -> None:
        while signal.sigwait(self._signals) == signal.SIGHUP and self._is_reload():
            self._woken.set()
        self.request()
        while signal.sigwait(self._signals) == signal.SIGHUP:
            pass
        self.force.set()

    def _is_reload(self) -> bool:
        """Return whether a SIGHUP was sent for another reason than the end of this process's terminal."""
        return self._reloads and _has_terminal() == self._had_terminal

    def _watch(self) -> None:
        self.stop.wait()
        if self._started.wait(_START_SECONDS):
            if self.force.wait(self._drain_seconds + LEEWAY_SECONDS):
                threading.Event().wait(_FORCE_SECONDS)
            else:
                self._streams.write_error("qonduit: shutdown timed out; remaining processes were killed")
        end_now(self.code, self._streams)


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal. It loses it when the terminal is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def end_now(code: int, streams: StandardStreams) -> NoReturn:
    """Kill this process and all its children at once."""
    children: list[int] = []
    with contextlib.suppress(OSError):  # not Linux: children exit when their sockets are closed
        for thread in Path("/proc/self/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    for child in children:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(child)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], _KILLED_SECONDS)
    streams.flush(_FLUSH_SECONDS)
    os._exit(code)
