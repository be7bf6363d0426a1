# SPDX-License-Identifier: Apache-2.0
"""How long jobs waited compared with the work before them, and so when waiting jobs will probably start and end.

The queue shows the work before a job: the seconds of the jobs before it, divided by the number of running ones. The
real wait differs: run times vary, and jobs of other callers arrive, which fair share serves first. The ratio of both,
as observed of earlier jobs with a similar amount of work before them, contains all of that; its quantiles are used.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import defaultdict, deque
from typing import Final, NamedTuple

from qonduit_server.cost_estimates import Estimate

#: Less work than this counts as this much: the time of a claim.
LEAST_SECONDS: Final = 0.001
#: An estimate uses this number of waits, of the most similar jobs; with fewer than `LEAST_WAITS`, it is unknown.
_NEAREST: Final = 40
LEAST_WAITS: Final = 10
#: The newest waits that are kept of each amount of work: an amount is a power of two of milliseconds.
_KEPT: Final = 64
#: The estimate is unknown if all known waits had more or less work before them by more than this power of two.
_FARTHEST: Final = 3
#: Work of the same caller and of others count as similar if the logarithm of the work differs by this factor less.
_OWN_WEIGHT: Final = 1.0
#: Estimates are kept for amounts of work within an eighth, in logarithms, until another wait is known.
_STEPS: Final = 8
_TOP: Final = 0.9


class Ahead(NamedTuple):
    """The work before the start or the end of a waiting job.

    Attributes:
        provider_id: the provider.
        seconds: the time that the work takes if nothing else arrives.
        own: the part of it that is of the same caller, 0..1: other callers hardly delay it.
    """

    provider_id: int
    seconds: float
    own: float

    @property
    def size(self) -> float:
        """The logarithm of the seconds."""
        return math.log(max(LEAST_SECONDS, self.seconds))


class WaitHistory:
    """The waits of jobs until their start, or until their end. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By provider and amount of work: size, own part, and the ratio of the wait to the work.
        self._waits: defaultdict[tuple[int, int], deque[tuple[float, float, float]]] = defaultdict(
            lambda: deque(maxlen=_KEPT)
        )
        #: The p50 and p90 of the ratio, by provider, size and own part.
        self._ratios: dict[tuple[int, int, int], Estimate | None] = {}

    def add(self, ahead: Ahead, seconds: float) -> None:
        """Add the wait of a job that had this work before it."""
        ratio = max(LEAST_SECONDS, seconds) / max(LEAST_SECONDS, ahead.seconds)
        with self._lock:
            self._waits[ahead.provider_id, _amount(ahead.size)].append((ahead.size, ahead.own, ratio))
            self._ratios.clear()

    def estimate(self, ahead: Ahead) -> Estimate | None:
        """Return the estimated wait; None if too few similar waits are known."""
        key = (ahead.provider_id, round(ahead.size * _STEPS), round(ahead.own * _STEPS))
        with self._lock:
            if key not in self._ratios:
                self._ratios[key] = self._ratio(ahead.provider_id, key[1] / _STEPS, key[2] / _STEPS)
            found = self._ratios[key]
        work = max(LEAST_SECONDS, ahead.seconds)
        return None if found is None else Estimate(found.p50 * work, found.p90 * work)

    def _ratio(self, provider_id: int, size: float, own: float) -> Estimate | None:
        """Return the quantiles of the ratio. Under the lock."""
        amount = _amount(size)
        known: list[tuple[float, float, float]] = []
        for away in range(_FARTHEST + 1):
            for each in {amount - away, amount + away}:
                known += self._waits.get((provider_id, each), ())
            if away and len(known) >= LEAST_WAITS:
                break
        if len(known) < LEAST_WAITS:
            return None
        near = heapq.nsmallest(_NEAREST, known, key=lambda wait: abs(wait[0] - size) + _OWN_WEIGHT * abs(wait[1] - own))
        ratios = sorted(ratio for _, _, ratio in near)
        # Of n + 1 waits, the last of which is the estimated one, each is the longest with the same probability.
        top = min(len(ratios), math.ceil(_TOP * (len(ratios) + 1))) - 1
        middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
        return Estimate(middle, ratios[top])


class Waits:
    """The waits of this server's callers.

    Attributes:
        starts: until jobs started.
        ends: until they ended.
    """

    def __init__(self) -> None:
        self.starts: Final = WaitHistory()
        self.ends: Final = WaitHistory()


def _amount(size: float) -> int:
    return math.floor(size / math.log(2))
