# SPDX-License-Identifier: Apache-2.0
"""Tallies lose no observation, keep few that are not counted, and count as the library of Prometheus does."""

from __future__ import annotations

import threading

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from qonduit_server.telemetry.tallies import MOST_WAITING, Counter, Histogram, Tally

BOUNDS = (0.5, 1.0, 2.5)


def text(*collectors: Tally, openmetrics: bool = False) -> str:
    registry = CollectorRegistry()
    for each in collectors:
        registry.register(each)
    encode, _ = choose_encoder("application/openmetrics-text" if openmetrics else "")
    return encode(registry).decode()


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_scrape_equals_that_of_the_library(openmetrics: bool) -> None:
    theirs = CollectorRegistry()
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    counter = prometheus_client.Counter("calls", "Calls.", ["method", "code"], registry=theirs)
    histogram = prometheus_client.Histogram("seconds", "Times.", ["method"], buckets=BOUNDS, registry=theirs)
    prometheus_client.Counter("faults", "Faults.", registry=theirs)
    prometheus_client.Histogram("sizes", "Sizes.", buckets=BOUNDS, registry=theirs)
    ours = Counter("calls", "Calls.", ["method", "code"]), Histogram("seconds", "Times.", ["method"], BOUNDS)
    for method, amount in (("a", 0.5), ("b", 0.51), ("a", 1.0), ("a", 2.5), ("a", 3.0), ('"\\\n', 0.0)):
        counter.labels(method, "OK").inc(amount)
        ours[0].add(amount, method, "OK")
        histogram.labels(method).observe(amount)
        ours[1].add(amount, method)
    encode, _ = choose_encoder("application/openmetrics-text" if openmetrics else "")
    more = Counter("faults", "Faults.", []), Histogram("sizes", "Sizes.", [], BOUNDS)
    assert text(*ours, *more, openmetrics=openmetrics) == encode(theirs).decode()


def test_two_metrics_of_one_name_are_refused() -> None:
    registry = CollectorRegistry()
    registry.register(Counter("calls", "Calls.", []))
    with pytest.raises(ValueError, match="calls"):
        registry.register(Counter("calls", "Calls.", []))


def test_observations_of_many_threads_are_all_counted_while_others_collect() -> None:
    calls, seconds = Counter("calls", "Calls.", ["thread"]), Histogram("seconds", "Times.", [], BOUNDS)
    threads, each = 4, 3000
    begin = threading.Barrier(threads + 1)

    def observe(name: str) -> None:
        begin.wait()
        for _ in range(each):
            calls.add(1, name)
            seconds.add(1)

    working = [threading.Thread(target=observe, args=(str(number),)) for number in range(threads)]
    for thread in working:
        thread.start()
    begin.wait()
    before = 0.0
    while any(thread.is_alive() for thread in working):
        (family,) = calls.collect()
        now = sum(sample.value for sample in family.samples)
        assert before <= now <= threads * each
        before = now
    for thread in working:
        thread.join()
    (counted,) = calls.collect()
    assert [sample.value for sample in counted.samples] == [each] * threads
    assert f"seconds_count {threads * each}.0" in text(seconds)
    assert f'seconds_bucket{{le="0.5"}} 0.0\nseconds_bucket{{le="1.0"}} {threads * each}.0' in text(seconds)


def test_few_observations_wait_without_a_scrape() -> None:
    calls = Counter("calls", "Calls.", [])
    waiting = []
    for _ in range(3 * MOST_WAITING):
        calls.add(1)
        waiting.append(len(calls.observations))
    assert max(waiting) < MOST_WAITING
    assert f"calls_total {3 * MOST_WAITING}.0" in text(calls)


def test_a_scrape_that_does_not_continue_blocks_no_observation() -> None:
    calls = Counter("calls", "Calls.", [])
    scrape = iter(calls.collect())
    next(scrape)
    adding = threading.Thread(target=lambda: [calls.add(1) for _ in range(MOST_WAITING)], daemon=True)
    adding.start()
    adding.join(60)
    assert not adding.is_alive()
