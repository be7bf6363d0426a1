# SPDX-License-Identifier: Apache-2.0
"""The metrics that a collector receives are those of the registry."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from qonduit_server.telemetry.metrics import Metrics
from qonduit_server.telemetry.otlp_metrics import converted
from tests.otlp_receiver import attributes


def sent(registry: CollectorRegistry) -> dict[str, Metric]:
    """Return the metrics as they are sent."""
    request = encode_metrics(converted(registry, Resource.create({}), 1))
    (resource,) = request.resource_metrics
    return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("calls", "Calls.", ["code"], registry=registry).labels("OK").inc(3)
    Gauge("streams", "Streams.", registry=registry).set(2)
    seconds = Histogram("seconds", "Times.", ["method"], buckets=(1, 5), registry=registry)
    for value in (0.5, 2, 3, 100):
        seconds.labels("GetJob").observe(value)
    seconds.labels("ListJobs").observe(4)
    Counter("unused", "Without values.", ["code"], registry=registry)
    return registry


def test_counters_are_cumulative_and_monotonic(registry: CollectorRegistry) -> None:
    calls = sent(registry)["calls"]
    assert calls.description == "Calls."
    assert calls.sum.is_monotonic
    assert calls.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = calls.sum.data_points
    assert (attributes(point.attributes), point.as_double, point.start_time_unix_nano) == ({"code": "OK"}, 3, 1)


def test_gauges_have_their_value(registry: CollectorRegistry) -> None:
    assert sent(registry)["streams"].gauge.data_points[0].as_double == 2


def test_histograms_count_by_bucket(registry: CollectorRegistry) -> None:
    points = {str(attributes(p.attributes)["method"]): p for p in sent(registry)["seconds"].histogram.data_points}
    get = points["GetJob"]
    assert list(get.explicit_bounds) == [1, 5]
    assert list(get.bucket_counts) == [1, 2, 1]
    assert (get.count, get.sum) == (4, 105.5)
    # Not known to Prometheus, so not invented.
    assert not any(get.HasField(name) for name in ("min", "max"))
    assert list(points["ListJobs"].bucket_counts) == [0, 1, 0]


def test_a_metric_without_values_is_not_sent(registry: CollectorRegistry) -> None:
    assert "unused" not in sent(registry)


def test_every_metric_of_the_server_can_be_sent() -> None:
    metrics = Metrics(owners=1)
    metrics.call_ended("JobService/GetJob", "OK", "", 0.1, streamed=False)
    metrics.committed(3, 0.1)
    found = sent(metrics.registry)
    assert found["qonduit_call_seconds"].histogram.data_points[0].count == 1
    assert found["qonduit_store_commit_calls"].histogram.data_points[0].sum == 3
    assert found["process_resident_memory_bytes"].gauge.data_points[0].as_double > 0
