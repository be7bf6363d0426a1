# SPDX-License-Identifier: Apache-2.0
"""Convert the metrics of a Prometheus registry to those of OpenTelemetry, with the same names and labels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def converted(registry: CollectorRegistry, resource: Resource, started_at: int) -> MetricsData:
    """Return the metrics of a registry.

    Args:
        registry: the metrics.
        resource: describes the server.
        started_at: the time from which counters count, in nanoseconds since 1970.
    """
    now = time.time_ns()
    metrics = [
        Metric(f"{family.name}_info" if family.type == "info" else family.name, family.documentation, "", data)
        for family in registry.collect()
        if (data := _data(family, started_at, now)) is not None
    ]
    scope = ScopeMetrics(InstrumentationScope("qonduit"), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _data(family: Family, started_at: int, now: int) -> Sum | Gauge | Histogram | None:
    # prometheus_client may add the time of creation of each time series.
    samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if not samples:
        return None
    if family.type == "histogram":
        return Histogram(list(_histograms(samples, started_at, now)), _CUMULATIVE)
    points = [NumberDataPoint(sample.labels, started_at, now, sample.value) for sample in samples]
    return Sum(points, _CUMULATIVE, is_monotonic=True) if family.type == "counter" else Gauge(points)


def _histograms(samples: Sequence[Sample], started_at: int, now: int) -> Iterator[HistogramDataPoint]:
    """Yield one histogram for each set of labels. Prometheus counts cumulatively, OpenTelemetry by bucket."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        key = tuple((name, label) for name, label in sample.labels.items() if name != "le")
        if "le" in sample.labels:
            buckets.setdefault(key, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[key] = sample.value
    for key, found in buckets.items():
        ordered = sorted(found)
        totals = [int(total) for _, total in ordered]
        yield HistogramDataPoint(
            attributes=dict(key),
            start_time_unix_nano=started_at,
            time_unix_nano=now,
            count=totals[-1],
            sum=sums[key],
            bucket_counts=[total - before for total, before in zip(totals, [0, *totals[:-1]], strict=True)],
            explicit_bounds=[bound for bound, _ in ordered[:-1]],
            min=None,  # type: ignore[arg-type]  # not known, and optional in OTLP
            max=None,  # type: ignore[arg-type]
        )
