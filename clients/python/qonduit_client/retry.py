# SPDX-License-Identifier: Apache-2.0
"""The retry policy: retryable errors, backoff and limits; the transports do the waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qonduit_client.errors import LimitExceeded, QonduitError, ServerUnavailable

#: Statuses of broken connections and proxies; the server's own errors have a reason.
_BROKEN: Final = frozenset(("INTERNAL", "UNKNOWN", "CANCELLED"))
#: The reason of a failed TLS handshake: a retry cannot succeed.
UNTRUSTED: Final = "UNTRUSTED"


def may_repeat(error: QonduitError) -> bool:
    """Return whether a safe call may be retried after this error."""
    return isinstance(error, ServerUnavailable) and error.reason != UNTRUSTED


def may_resume(error: QonduitError) -> bool:
    """Return whether a stream may resume after this error."""
    if may_repeat(error) or error.reason == "SLOW_READER":
        return True
    if isinstance(error, LimitExceeded) and error.retry_after is not None:  # stream limit reached
        return True
    return error.status in _BROKEN and not error.reason


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with jitter; a delay in the server's RetryInfo is the minimum.

    Attributes:
        first: seconds before the first retry.
        factor: by which each further wait grows.
        most: the longest wait.
        clock: a monotonic clock in seconds.
        random: returns a number in [0, 1).
    """

    first: float = 0.1
    factor: float = 2.0
    most: float = 5.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)

    def delay(self, failures: int, asked: float | None = None) -> float:
        """Return the seconds to wait after a number of consecutive failures (from 1)."""
        longest = min(self.most, self.first * self.factor ** (failures - 1))
        wait = longest * (0.5 + 0.5 * self.random())
        return wait if asked is None else max(wait, asked * (1 + 0.25 * self.random()))


class Attempts:
    """Consecutive failures of one call or stream."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failures = 0
        self._since = retry.clock()
        #: Whether the server has accepted the last attempt.
        self.accepted = False

    def succeeded(self) -> None:
        """Reset the failures and their time limit."""
        self._failures = 0
        self.accepted = True

    def pause(self, error: QonduitError, limit: float, deadline: float | None = None) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            error: the error of the last attempt; raised if the wait would exceed the limit or the deadline.
            limit: maximum duration of consecutive failures in seconds.
            deadline: the latest time of another attempt, by the retry's clock.
        """
        now = self._retry.clock()
        self.accepted = False
        if self._failures == 0:
            self._since = now
        self._failures += 1
        next_try = now + self._retry.delay(self._failures, error.retry_after)
        if next_try > self._since + limit or (deadline is not None and next_try > deadline):
            raise error
        return next_try - now
