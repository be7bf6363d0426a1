# SPDX-License-Identifier: Apache-2.0
"""The quotas of callers: open streams, open buffers, calls a second, bytes of requests a minute.

Streams and calls occupy memory and threads of a server, and are counted by each server for itself. Buffers and bytes of
requests also load the database, and are counted over all servers that share it: each server sends the use of its
callers to the others, so their counts are late by the time of a message.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.errors import QuotaExceeded
from qonduit_server.store.notification_bus import CallerUse, Notification
from qonduit_server.store.quota_registry import Allowance

_MINUTE: Final = 60.0
#: With more buckets than this, those that are full are forgotten.
_MANY: Final = 1000
STREAMS: Final = "open_streams"
BUFFERS: Final = "open_buffers"
_CALLS: Final = "calls_per_second"
_BYTES: Final = "upload_bytes_per_minute"
#: A server sends uploaded bytes to the others when they are this part of the quota.
_SENT_PART: Final = 1 / 32
#: The seconds after which the numbers of open buffers are sent again, and for which other servers count them.
ANNOUNCE_SECONDS: Final = 5.0
VALID_SECONDS: Final = 4 * ANNOUNCE_SECONDS
#: The maximum number of callers of other servers that are counted.
_MOST_OTHERS: Final = 10_000


@dataclass
class _Bucket:
    """What a caller may still use, as of a time; negative while a large request is paid off."""

    left: float
    at: float

    def fill(self, now: float, rate: float, most: int) -> None:
        """Add the amount that the rate allows for the time since the last call; at most `most`."""
        self.left = min(float(most), self.left + max(0.0, now - self.at) * rate)
        self.at = max(self.at, now)


@dataclass
class _Others:
    """What a caller uses at other servers.

    Attributes:
        buffers: by server, the number of open buffers, and the time until which it counts.
        uploaded: the times and the bytes of requests in the last minute that its bucket does not contain yet.
    """

    buffers: dict[str, tuple[int, float]] = field(default_factory=dict)
    uploaded: deque[tuple[float, int]] = field(default_factory=deque)


class CallerLimits:
    """The use of all callers of this server. Thread-safe.

    Args:
        allowance_of: returns the limits of a caller.
        clock: a monotonic clock in seconds.
        share: sends the use of callers to the other servers, without waiting. Called under the lock, so that the latest
            number is the last that is sent.
    """

    def __init__(
        self,
        allowance_of: Callable[[str], Allowance],
        clock: Callable[[], float] = time.monotonic,
        share: Callable[[Sequence[CallerUse]], None] = lambda uses: None,
    ) -> None:
        self._allowance_of = allowance_of
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._open: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._others: defaultdict[str, _Others] = defaultdict(_Others)
        #: The bytes of requests that the other servers do not know.
        self._unsent: Counter[str] = Counter()
        self._announced = clock()

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
                self._check(_CALLS, caller, calls, 1.0, least=1.0)
            if size_limit is not None:
                self._check(_BYTES, caller, size_limit, _MINUTE, least=min(1.0, size_limit))
            if calls is not None:
                self._buckets[caller, _CALLS].left -= 1
            if size_limit is not None:
                self._buckets[caller, _BYTES].left -= size
                self._unsent[caller] += size
            if len(self._buckets) > _MANY:
                self._forget()
            if size_limit is not None and self._unsent[caller] >= size_limit * _SENT_PART:
                self._share([self._use(caller)])

    def acquire(self, caller: str, quota: str) -> None:
        """Count an open stream (STREAMS) or buffer (BUFFERS) of a caller.

        Raises:
            QuotaExceeded: the caller has too many.
        """
        most: int | None = getattr(self._allowance_of(caller), quota)
        with self._lock:
            used = self._open[caller, quota] + (self._elsewhere(caller) if quota == BUFFERS else 0)
            if most is not None and used >= most:
                what = "buffers" if quota == BUFFERS else "streams"
                raise QuotaExceeded(
                    f"quota {quota} of {caller} reached: {used} of {most} {what} are open; close one and retry",
                    subject=quota,
                )
            self._open[caller, quota] += 1
            if quota == BUFFERS and most is not None:
                self._share([self._use(caller)])

    def release(self, caller: str, quota: str) -> None:
        """Count a closed stream or buffer."""
        is_shared = quota == BUFFERS and self._allowance_of(caller).open_buffers is not None
        with self._lock:
            self._open[caller, quota] -= 1
            if not self._open[caller, quota]:
                del self._open[caller, quota]
            if is_shared:
                self._share([self._use(caller)])

    def open_of(self, caller: str) -> tuple[int, int]:
        """Return the number of open streams of a caller at this server, and of its open buffers at all servers."""
        with self._lock:
            buffers = self._open.get((caller, BUFFERS), 0) + self._elsewhere(caller)
            return self._open.get((caller, STREAMS), 0), buffers

    def announce(self) -> None:
        """Send the numbers of open buffers again, for servers that are new; at most every `ANNOUNCE_SECONDS`."""
        now = self._clock()
        with self._lock:
            if now < self._announced + ANNOUNCE_SECONDS:
                return
            self._announced = now
            callers = [caller for caller, quota in self._open if quota == BUFFERS]
        limited = [caller for caller in callers if self._allowance_of(caller).open_buffers is not None]
        with self._lock:
            self._share([self._use(caller) for caller in limited])

    def on_notification(self, notification: Notification) -> None:
        """Count the use of a caller at another server; called by the store."""
        use = notification.use
        if use is None:
            return
        now = self._clock()
        with self._lock:
            if len(self._others) >= _MOST_OTHERS:
                self._forget_others(now)
            if use.caller not in self._others and len(self._others) >= _MOST_OTHERS:
                return
            others = self._others[use.caller]
            others.buffers = {server: each for server, each in others.buffers.items() if each[1] > now}
            others.buffers[use.server] = (use.open_buffers, now + VALID_SECONDS)
            if use.uploaded:
                others.uploaded.append((now, use.uploaded))
            while others.uploaded and others.uploaded[0][0] < now - _MINUTE:
                others.uploaded.popleft()

    def _use(self, caller: str) -> CallerUse:
        """Return the use of a caller to send to the other servers. Under the lock."""
        return CallerUse(caller, self._open.get((caller, BUFFERS), 0), self._unsent.pop(caller, 0))

    def _elsewhere(self, caller: str) -> int:
        """Return the number of open buffers of a caller at other servers. Under the lock."""
        if caller not in self._others:
            return 0
        now = self._clock()
        return sum(count for count, until in self._others[caller].buffers.values() if until > now)

    def _check(self, quota: str, caller: str, most: int, period: float, least: float) -> None:
        """Refill a bucket; raise QuotaExceeded unless it has `least`. Under the lock."""
        now = self._clock()
        bucket = self._buckets.setdefault((caller, quota), _Bucket(float(most), now - _MINUTE))
        rate = most / period
        if quota == _BYTES and caller in self._others:
            uploaded = self._others[caller].uploaded
            while uploaded:
                at, size = uploaded.popleft()
                bucket.fill(at, rate, most)
                bucket.left -= size
        bucket.fill(now, rate, most)
        if not most or bucket.left < least:
            wait = (least - bucket.left) / rate if most else None
            hint = "it allows none" if wait is None else f"it is {most}; retry in {wait:.3g} s"
            raise QuotaExceeded(f"quota {quota} of {caller} reached: {hint}", subject=quota, retry_after=wait)

    def _forget(self) -> None:
        """Forget buckets that have been unused for as long as any takes to fill. Under the lock."""
        before = self._clock() - _MINUTE
        self._buckets = {key: each for key, each in self._buckets.items() if each.at > before or each.left < 0}
        for caller in [caller for caller in self._unsent if (caller, _BYTES) not in self._buckets]:
            del self._unsent[caller]

    def _forget_others(self, now: float) -> None:
        """Forget callers that have used nothing at other servers in the last minute. Under the lock."""
        for caller, others in list(self._others.items()):
            recent = bool(others.uploaded) and others.uploaded[-1][0] >= now - _MINUTE
            if not recent and all(until <= now for _, until in others.buffers.values()):
                del self._others[caller]
