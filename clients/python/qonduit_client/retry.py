# SPDX-License-Identifier: Apache-2.0
"""What is worth another try, how long to wait before it, and when to give up; who waits is not said here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qonduit_client.errors import LimitExceeded, QonduitError, ServerUnavailable

#: Statuses that a connection or a proxy makes when it breaks; a server that means them says a reason.
_BROKEN: Final = frozenset(("INTERNAL", "UNKNOWN", "CANCELLED"))
#: The reason of a connection that two sides cannot agree on: waiting changes nothing.
UNTRUSTED: Final = "UNTRUSTED"


def may_repeat(error: QonduitError) -> bool:
    """Whether a call that may be sent twice is worth sending again after this error."""
    return isinstance(error, ServerUnavailable) and error.reason != UNTRUSTED


def may_resume(error: QonduitError) -> bool:
    """Whether a stream that ended with this error may be gone on with where it broke."""
    if may_repeat(error) or error.reason == "SLOW_READER":
        return True
    if isinstance(error, LimitExceeded) and error.retry_after is not None:  # no seat for the stream just now
        return True
    return error.status in _BROKEN and not error.reason


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with jitter; a server that says when to come back (RetryInfo) is never asked earlier.

    Attributes:
        first: seconds before the first repetition.
        factor: each further wait is this much longer.
        most: the longest wait.
        clock: seconds that only grow.
        random: a number in [0, 1).
    """

    first: float = 0.1
    factor: float = 2.0
    most: float = 5.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)

    def delay(self, failures: int, asked: float | None = None) -> float:
        """Seconds to wait after this many failures in a row (from 1)."""
        longest = min(self.most, self.first * self.factor ** (failures - 1))
        wait = longest * (0.5 + 0.5 * self.random())
        return wait if asked is None else max(wait, asked * (1 + 0.25 * self.random()))


class Attempts:
    """Failures in a row of one call or one stream."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failures = 0
        self._since = retry.clock()

    def went_well(self) -> None:
        """Forgets the failures: patience starts anew."""
        self._failures = 0

    def pause(self, error: QonduitError, limit: float, deadline: float | None = None) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            error: why the last attempt failed; raised when waiting would go beyond the limit or the deadline.
            limit: seconds that failures in a row may last.
            deadline: the latest time, by the retry's clock, at which another attempt makes sense.
        """
        now = self._retry.clock()
        if self._failures == 0:
            self._since = now
        self._failures += 1
        next_try = now + self._retry.delay(self._failures, error.retry_after)
        if next_try > self._since + limit or (deadline is not None and next_try > deadline):
            raise error
        return next_try - now
