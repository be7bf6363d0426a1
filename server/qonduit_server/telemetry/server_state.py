# SPDX-License-Identifier: Apache-2.0
"""The metrics that are read when they are collected: workers, streams, limits, and the jobs of the whole database."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from qonduit.v1.job_pb2 import JobState
from qonduit.v1.system_service_pb2 import Worker, WorkerState
from qonduit_server.errors import Unavailable
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.queue_totals import QueueTotals, totals
from qonduit_server.telemetry.bounded_labels import BoundedLabels

#: The jobs of the database are counted at most once in this time.
_CACHE_SECONDS: Final = 10.0
#: The gauges: name, help text and labels.
_GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "qonduit_database_available": ("Whether the database answers.", ()),
    "qonduit_running_jobs": ("Jobs that this server runs.", ()),
    "qonduit_streams": ("Open streams.", ("kind",)),
    "qonduit_limit": ("Limits of this server.", ("setting",)),
    "qonduit_workers": ("Worker processes.", ("provider", "state")),
    "qonduit_worker_memory_bytes": ("Resident memory of worker processes.", ("provider",)),
    "qonduit_engine_lag_seconds": ("How late messages of worker machines are.", ()),
    "qonduit_jobs": ("Jobs of the database that have not ended.", ("state",)),
    "qonduit_device_jobs": ("Jobs of the database that have not ended, by device.", ("device",)),
    "qonduit_oldest_queued_seconds": ("How long the oldest job waits that could start.", ()),
}
#: Of each gauge, its values by the values of its labels.
_Values = Mapping[str, Mapping[tuple[str, ...], float]]


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """The sources of the state of a server.

    Attributes:
        version: of the server.
        database: the store.
        workers: lists the worker processes.
        running: returns the number of jobs that this server runs.
        streams: return the number of open streams, by kind.
        lag: returns by how many seconds messages of worker machines are late; None without such machines.
        limits: return the limits that other metrics approach, by the name of the setting.
    """

    version: str
    database: Database
    workers: Callable[[], Iterable[Worker]]
    running: Callable[[], int]
    streams: Mapping[str, Callable[[], int]]
    lag: Callable[[], float | None]
    limits: Mapping[str, Callable[[], float]]


class StateCollector(Collector):
    """Collects the state of a server. Thread-safe.

    Args:
        state: the sources of the state.
        devices: the labels of devices.
        clock: a monotonic clock in seconds.
    """

    def __init__(self, state: ServerState, devices: BoundedLabels, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._devices = devices
        self._clock = clock
        self._lock = threading.Lock()
        self._totals: QueueTotals | None = None
        self._read_at = float("-inf")

    def describe(self) -> Iterator[Metric]:
        """Return all metrics without values, for their names."""
        yield InfoMetricFamily("qonduit_server", "The version of the server.")
        for name, (help, labels) in _GAUGES.items():
            yield GaugeMetricFamily(name, help, labels=labels)

    def collect(self) -> Iterator[Metric]:
        """Return all metrics. Those of the database have no values while it is unavailable."""
        yield InfoMetricFamily("qonduit_server", "The version of the server.", {"version": self._state.version})
        values = {**self._of_server(), **self._of_workers(), **self._of_database()}
        for name, (help, labels) in _GAUGES.items():
            family = GaugeMetricFamily(name, help, labels=labels)
            for key, value in values.get(name, {}).items():
                family.add_metric(key, value)
            yield family

    def _of_server(self) -> _Values:
        state = self._state
        lag = state.lag()
        return {
            "qonduit_engine_lag_seconds": {} if lag is None else {(): lag},
            "qonduit_database_available": {(): float(state.database.health.available)},
            "qonduit_running_jobs": {(): state.running()},
            "qonduit_streams": {(kind,): count() for kind, count in state.streams.items()},
            "qonduit_limit": {(setting,): limit() for setting, limit in state.limits.items()},
        }

    def _of_workers(self) -> _Values:
        numbers: Counter[tuple[str, ...]] = Counter()
        memory: Counter[tuple[str, ...]] = Counter()
        for worker in self._state.workers():
            state = WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower()
            numbers[worker.provider, state] += 1
            memory[worker.provider,] += worker.memory_bytes
        return {"qonduit_workers": numbers, "qonduit_worker_memory_bytes": memory}

    def _of_database(self) -> _Values:
        found = self._current_totals()
        if found is None:
            return {}
        devices: Counter[tuple[str, ...]] = Counter()
        for device, number in found.devices.items():
            devices[self._devices.of(device),] += number
        states = {JobState.Name(state).removeprefix("JOB_STATE_").lower(): n for state, n in found.states.items()}
        return {
            "qonduit_jobs": {(state,): number for state, number in states.items()},
            "qonduit_device_jobs": devices,
            "qonduit_oldest_queued_seconds": {(): found.oldest_seconds},
        }

    def _current_totals(self) -> QueueTotals | None:
        """Count the jobs of the database, or return the count of the last seconds; None if it is unavailable."""
        with self._lock:
            if self._clock() - self._read_at >= _CACHE_SECONDS:
                try:
                    self._totals = totals(self._state.database)
                except Unavailable:
                    self._totals = None
                self._read_at = self._clock()
            return self._totals
