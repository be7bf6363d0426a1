# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms whose observations wait until many are counted at once.

The threads that serve jobs only append to a queue. Counting there, one observation at a time between other work, costs
several times as much as counting many in a loop.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: The maximum number of observations of a metric that wait; the thread that adds the last one counts them.
MOST_WAITING: Final = 256
#: The values of the labels of a time series.
Labels = tuple[str, ...]


class Tally(Collector):
    """A metric with the same labels in each time series. Thread-safe. Without labels, it begins with 0.

    Args:
        name: of the metric.
        help: what it means.
        labels: the names of the labels.
    """

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help
        self._labels = labels
        self._waiting: deque[tuple[Labels, float]] = deque()
        #: Guards the counted observations.
        self._lock = threading.Lock()

    def add(self, amount: float, *labels: str) -> None:
        """Add an observation to the time series of these labels."""
        self._waiting.append((labels, amount))
        if len(self._waiting) >= MOST_WAITING:
            with self._lock:
                self._count_waiting()

    def describe(self) -> Iterator[Metric]:
        """Return the metric without time series, for its name."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """Return the metric with all observations."""
        with self._lock:
            self._count_waiting()
            filled = self._filled()
        # Without the lock: the caller may continue late, and other threads add meanwhile.
        yield filled

    def _count_waiting(self) -> None:
        """Count the observations that wait now. Under the lock."""
        for _ in range(len(self._waiting)):
            self._count(*self._waiting.popleft())

    def _count(self, labels: Labels, amount: float) -> None:
        raise NotImplementedError

    def _family(self) -> Metric:
        raise NotImplementedError

    def _filled(self) -> Metric:
        raise NotImplementedError


class Counter(Tally):
    """A metric that sums its observations."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        super().__init__(name, help, labels)
        self._sums: dict[Labels, float] = {} if labels else {(): 0.0}

    def _count(self, labels: Labels, amount: float) -> None:
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
    """

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, help, labels)
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

    def _count(self, labels: Labels, amount: float) -> None:
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
