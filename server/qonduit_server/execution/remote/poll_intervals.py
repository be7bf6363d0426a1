# SPDX-License-Identifier: Apache-2.0
"""When a vendor is called: intervals between polls, and pauses after refusals. Times are seconds of one clock."""

from __future__ import annotations

import random
from typing import Final

from qonduit.execution.v1.vendor_pb2 import VendorTerms

#: An interval grows by this factor while a job does not change.
_GROWTH: Final = 1.5
#: Intervals differ by up to this share, so that jobs of one moment are not polled at one moment for ever.
_JITTER: Final = 0.2
_FIRST_PAUSE: Final = 1.0
_MAX_PAUSE: Final = 60.0
#: The longest pause that a vendor can ask for: a date or another unit in place of seconds does not stop its calls.
_MAX_RETRY_AFTER: Final = 86_400.0


def next_interval(last: float, changed: bool, terms: VendorTerms) -> float:
    """Return the next interval between two polls of a job, without jitter: short after a change, then longer.

    Args:
        last: the interval before; 0 for the first one.
        changed: whether the job has changed since the last poll.
        terms: of the vendor.
    """
    if changed or not last:
        return terms.poll_seconds
    return min(last * _GROWTH, max(terms.max_poll_seconds, terms.poll_seconds))


def jittered(seconds: float, chance: random.Random) -> float:
    """Return a time that differs by up to a fifth."""
    return seconds * chance.uniform(1 - _JITTER, 1 + _JITTER)


class Pause:
    """The pause of all calls of one account after failures: as the vendor asks, else longer with each failure."""

    def __init__(self) -> None:
        self.until = 0.0
        self._failures = 0

    def failed(self, now: float, retry_after: float, chance: random.Random) -> None:
        """Note a failure; begin a pause."""
        own = min(_MAX_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        # Never earlier than the vendor asks. A comparison with NaN is false.
        asked = min(retry_after, _MAX_RETRY_AFTER) if retry_after > 0 else jittered(own, chance)
        self.until = max(self.until, now + asked)

    def succeeded(self) -> None:
        """Note a success."""
        self._failures = 0
