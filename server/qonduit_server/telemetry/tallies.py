# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms whose observations wait until many are counted at once.

The threads that serve jobs only append to a queue, once for each event of a job or call, whatever metrics it changes.
Counting there, one observation at a time between other work, costs several times as much as counting many in a loop.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: The maximum number of observations that wait; the thread that adds the last one counts them.
MOST_WAITING: Final = 256
#: The values of the labels of a time series.
Labels = tuple[str, ...]


class Observations:
    """The observations of several metrics that wait to be counted. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        #: Guards the counted observations.
        self.lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of observations that wait."""
        return len(self._waiting)

    def add(self, count: Callable[..., None], *arguments: Any) -> None:
        """Add an observation: `count` is called with the arguments later, under the lock."""
        self._waiting.append((count, arguments))
        if len(self._waiting) >= MOST_WAITING:
            self.count()

    def count(self) -> None:
        """Count the observations that wait now."""
        with self.lock:
            for _ in range(len(self._waiting)):
                count, arguments = self._waiting.popleft()
                count(*arguments)


class Tally(Collector):
    """A metric with the same labels in each time series. Thread-safe. Without labels, it begins with 0.

    Args:
        name: of the metric.
        help: what it means.
        labels: the names of the labels.
        observations: those that wait; other metrics may share them. Default: its own.
    """

    def __init__(self, name: str, help: str, labels: Sequence[str], observations: Observations | None = None) -> None:
        self._name = name
        self._help = help
        self._labels = labels
        self.observations: Final = Observations() if observations is None else observations

    def add(self, amount: float, *labels: str) -> None:
        """Add an observation to the time series of these labels."""
        self.observations.add(self.count, amount, *labels)

    def count(self, amount: float, *labels: str) -> None:
        """Count an observation now. Under the lock of the observations."""
        raise NotImplementedError

    def describe(self) -> Iterator[Metric]:
        """Return the metric without time series, for its name."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Return the metric with all observations."""
        self.observations.count()
        with self.observations.lock:
            filled = self._filled()
        # Without the lock: the caller may continue late, and other threads add meanwhile.
        yield filled

    def _family(self) -> Metric:
        raise NotImplementedError

    def _filled(self) -> Metric:
        raise NotImplementedError


class Counter(Tally):
    """A metric that sums its observations."""

    def __init__(self, name: str, help: str, labels: Sequence[str], observations: Observations | None = None) -> None:
        super().__init__(name, help, labels, observations)
        self._sums: dict[Labels, float] = {} if labels else {(): 0.0}

    def count(self, amount: float, *labels: str) -> None:
        """See `Tally`."""
        self._sums[labels] = self._sums.get(labels, 0.0) + amount

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._help, labels=self._labels)

    def _filled(self) -> Metric:
        family = self._family()
        for labels, total in self._sums.items():
            family.add_metric(labels, total)
        return family


class Histogram(Tally):
    """A metric that counts its observations by size, and sums them.

    Args:
        name: of the metric.
        help: what it means.
        labels: the names of the labels.
        bounds: the upper bounds of the buckets, in order; a last one without a bound follows.
        observations: see `Tally`.
    """

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        observations: Observations | None = None,
    ) -> None:
        super().__init__(name, help, labels, observations)
        self._bounds = bounds
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        #: Of each time series, the number of observations in each bucket, and the sum.
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._begin(())

    def _begin(self, labels: Labels) -> None:
        self._buckets[labels] = [0] * len(self._names)
        self._sums[labels] = 0.0

    def count(self, amount: float, *labels: str) -> None:
        """See `Tally`."""
        if labels not in self._sums:
            self._begin(labels)
        self._buckets[labels][bisect_left(self._bounds, amount)] += 1
        self._sums[labels] += amount

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._help, labels=self._labels)

    def _filled(self) -> Metric:
        family = self._family()
        for labels, numbers in self._buckets.items():
            buckets = list(zip(self._names, accumulate(numbers), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        return family
