# SPDX-License-Identifier: Apache-2.0
"""Authorize open streams again while they last: a stream ends soon after its caller lost the right to open it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

from qonduit_server.errors import CallError, PermissionDenied, Unauthenticated, Unavailable
from qonduit_server.rpc.error_status import outcome
from qonduit_server.rpc.stream_sender import Stream

#: Seconds between two checks of all streams ...
INTERVAL: Final = 1.0
#: ... and the multiple of the duration of a check that it waits at least, so that it takes a small part of a core ...
_IDLE_FACTOR: Final = 20.0
#: ... up to this time. So a stream ends within about half a minute after its token, usually within `INTERVAL`.
_MAX_INTERVAL: Final = 30.0

#: Returns if the caller of a stream may open it now, and sees the same objects. Raises a CallError otherwise.
Check = Callable[[], None]


class StreamAuthorization:
    """Checks all open streams of callers, in one thread.

    Streams with the same key (token, principal and access) share one check, so that thousands of streams of one caller
    cost as much as one.

    Args:
        interval: seconds between two checks.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._lock = threading.Lock()
        self._groups: dict[Hashable, dict[Stream, Check]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rpc-stream-authorization", daemon=True)
        self._thread.start()

    def add(self, stream: Stream, key: Hashable, check: Check) -> None:
        """Check an authorized stream until it ends.

        Args:
            stream: the stream.
            key: the same for streams of which one check decides for all.
            check: authorizes the call of the stream again.
        """
        with self._lock:
            self._groups.setdefault(key, {})[stream] = check
        if not stream.on_close(lambda: self._forget(stream, key)):
            self._forget(stream, key)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def check_all(self) -> None:
        """Authorize all streams again, and end those of callers who are rejected now."""
        with self._lock:
            checks = [(key, next(iter(group.values()))) for key, group in self._groups.items()]
        for key, check in checks:
            _, error = outcome("", check)
            if error is not None and _ends_streams(error):
                with self._lock:
                    streams = list(self._groups.get(key, ()))
                for stream in streams:
                    stream.revoke(error)

    def _forget(self, stream: Stream, key: Hashable) -> None:
        with self._lock:
            if (group := self._groups.get(key)) is not None:
                group.pop(stream, None)
                if not group:
                    del self._groups[key]

    def _loop(self) -> None:
        pause = self._interval
        while not self._stopping.wait(pause):
            started = time.monotonic()
            self.check_all()
            pause = max(self._interval, min(_MAX_INTERVAL, _IDLE_FACTOR * (time.monotonic() - started)))


def access_changed() -> CallError:
    """Return the error of a stream whose caller has other permissions now: a new stream is authorized by them."""
    return Unavailable(
        "the permissions of the caller have changed; open the stream again", reason="ACCESS_CHANGED", retry_after=0.0
    )


def _ends_streams(error: CallError) -> bool:
    """Return whether an error rejects the caller; a server that cannot verify tokens now continues its streams."""
    return isinstance(error, Unauthenticated | PermissionDenied) or error.reason == "ACCESS_CHANGED"
