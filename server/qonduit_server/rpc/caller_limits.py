# SPDX-License-Identifier: Apache-2.0
"""The quotas of callers on this server: open streams, open buffers, calls a second, bytes of requests a minute."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qonduit_server.errors import QuotaExceeded
from qonduit_server.store.quota_registry import Allowance

_MINUTE: Final = 60.0
#: With more buckets than this, those that are full are forgotten.
_MANY: Final = 1000
STREAMS: Final = "open_streams"
BUFFERS: Final = "open_buffers"


@dataclass
class _Bucket:
    """What a caller may still use, as of a time; negative while a large request is paid off."""

    left: float
    at: float


class CallerLimits:
    """The use of all callers of this server. Thread-safe.

    Args:
        allowance_of: returns the limits of a caller.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, allowance_of: Callable[[str], Allowance], clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance_of = allowance_of
        self._clock = clock
        self._lock = threading.Lock()
        self._open: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def admit(self, caller: str, size: int) -> None:
        """Count a call with a request of `size` bytes.

        Calls may come in a burst of one second's number, bytes in a burst of one minute's; a larger request is admitted
        once, and the caller waits until it is paid off.

        Raises:
            QuotaExceeded: the caller has made too many calls, or sent too many bytes.
        """
        allowed = self._allowance_of(caller)
        calls, size_limit = allowed.calls_per_second, allowed.upload_bytes_per_minute
        if calls is None and size_limit is None:
            return
        with self._lock:
            if calls is not None:
                self._check("calls_per_second", caller, calls, 1.0, least=1.0)
            if size_limit is not None:
                self._check("upload_bytes_per_minute", caller, size_limit, _MINUTE, least=min(1.0, size_limit))
            if calls is not None:
                self._buckets[caller, "calls_per_second"].left -= 1
            if size_limit is not None:
                self._buckets[caller, "upload_bytes_per_minute"].left -= size
            if len(self._buckets) > _MANY:
                self._forget()

    def acquire(self, caller: str, quota: str) -> None:
        """Count an open stream (STREAMS) or buffer (BUFFERS) of a caller.

        Raises:
            QuotaExceeded: the caller has too many.
        """
        most: int | None = getattr(self._allowance_of(caller), quota)
        with self._lock:
            used = self._open[caller, quota]
            if most is not None and used >= most:
                what = "buffers" if quota == BUFFERS else "streams"
                raise QuotaExceeded(
                    f"quota {quota} of {caller} reached: {used} of {most} {what} are open; close one and retry",
                    subject=quota,
                )
            self._open[caller, quota] += 1

    def release(self, caller: str, quota: str) -> None:
        """Count a closed stream or buffer."""
        with self._lock:
            self._open[caller, quota] -= 1
            if not self._open[caller, quota]:
                del self._open[caller, quota]

    def open_of(self, caller: str) -> tuple[int, int]:
        """Return the number of open streams and of open buffers of a caller."""
        with self._lock:
            return self._open.get((caller, STREAMS), 0), self._open.get((caller, BUFFERS), 0)

    def _check(self, quota: str, caller: str, most: int, period: float, least: float) -> None:
        """Refill a bucket; raise QuotaExceeded unless it has `least`. Under the lock."""
        now = self._clock()
        bucket = self._buckets.setdefault((caller, quota), _Bucket(float(most), now))
        rate = most / period
        bucket.left = min(float(most), bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if not most or bucket.left < least:
            wait = (least - bucket.left) / rate if most else None
            hint = "it allows none" if wait is None else f"it is {most}; retry in {wait:.3g} s"
            raise QuotaExceeded(f"quota {quota} of {caller} reached: {hint}", subject=quota, retry_after=wait)

    def _forget(self) -> None:
        """Forget buckets that have been unused for as long as any takes to fill. Under the lock."""
        before = self._clock() - _MINUTE
        self._buckets = {key: each for key, each in self._buckets.items() if each.at > before or each.left < 0}
