# SPDX-License-Identifier: Apache-2.0
"""Turn the settings of metrics and telemetry into the components that measure a server; their libraries load here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from qonduit_client import addresses
from qonduit_client.distribution import pip_install
from qonduit_server.errors import StartError
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.provider_environments import offered_providers
from qonduit_server.rpc.auth.exposure import is_local
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job, JobState
    from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
    from qonduit_server.execution.executor import Executor
    from qonduit_server.rpc.server import RpcServer
    from qonduit_server.store.database import Database
    from qonduit_server.telemetry.collector import Collector
    from qonduit_server.telemetry.metrics import Metrics

_SIGNALS: Final = ("metrics", "traces", "logs")
#: The time for sending what waits for the collector when the server stops.
_STOP_SECONDS: Final = 2.0


class Monitoring:
    """The metrics and the telemetry of a server, or nothing if no setting requests them.

    Components get the `observer` when they are created; `start` serves what they measure.

    Args:
        settings: the operator's settings.
        server: the id of the server.

    Raises:
        StartError: the settings are invalid, would let other machines read the metrics, or need another library.
    """

    def __init__(self, settings: Settings, server: str) -> None:
        check(settings)
        self._settings = settings
        self._undo = ExitStack()
        self._metrics: Metrics | None = None
        #: Receives the measurements of all components.
        self.observer: Observer = UNOBSERVED
        #: Called with each transition of a job, and its state before.
        self.job_observers: Sequence[Callable[[Job, JobState], None]] = ()
        #: Receives the lines of the log, if they are sent to a collector.
        self.log_line: Callable[[Mapping[str, Any]], None] | None = None
        if settings.metrics_address or settings.otlp_endpoint:
            from qonduit_server.telemetry.metrics import Metrics

            self.observer = self._metrics = Metrics(settings.metrics_owners)
            self.job_observers = (self._metrics.job_changed,)
        if settings.otlp_endpoint and self._metrics is not None:
            collector = _collector(settings, self._metrics, server)
            self._undo.callback(collector.stop, _STOP_SECONDS)
            self.log_line = collector.log_line
            if collector.traces is not None:
                self._metrics.traces = collector.traces
                self.job_observers = (self._metrics.job_changed, collector.traces.job_changed)

    def start(self, database: Database, executor: Executor, dispatcher: Dispatcher, rpc_server: RpcServer) -> None:
        """Add the state of the components to the metrics, and serve these.

        Raises:
            StartError: the address cannot be used.
        """
        if self._metrics is None:
            return
        from qonduit_server.process.release import installed_release
        from qonduit_server.telemetry.server_state import ServerState, StateCollector

        state = ServerState(
            version=installed_release(),
            database=database,
            workers=executor.list_workers,
            running=dispatcher.running,
            lag=executor.lag,
            streams={"jobs": lambda: rpc_server.streams, "buffers": lambda: rpc_server.readings},
            limits={
                "max_queued_jobs": lambda: rpc_server.limits.max_queued_jobs,
                "max_streams": lambda: rpc_server.limits.max_streams,
                "max_memory_bytes": lambda: self._settings.max_memory_bytes,
                "workers": lambda: self._settings.workers,
            },
        )
        collector = StateCollector(state, self._metrics.devices)
        self._metrics.registry.register(collector)
        self._metrics.declare_providers(offered_providers(self._settings))
        if self._settings.metrics_address:
            self._serve(self._metrics)

    def adopt(self, settings: Settings) -> None:
        """Show the limits of changed settings."""
        self._settings = settings

    def _serve(self, metrics: Metrics) -> None:
        import structlog

        from qonduit_server.telemetry.metrics_endpoint import PATH, MetricsEndpoint

        endpoint = MetricsEndpoint(self._settings.metrics_address, metrics.registry)
        self._undo.callback(endpoint.stop)
        structlog.get_logger("qonduit.metrics").info("serving metrics", url=f"http://{endpoint.address}{PATH}")

    def stop(self) -> None:
        """End the endpoint, and send what waits for the collector."""
        self._undo.close()


def check(settings: Settings) -> None:
    """Check the settings before anything starts.

    Raises:
        StartError: other machines could read the metrics, or a setting is invalid.
    """
    trusted = settings.allow_insecure_remote_metrics == "on"
    address = settings.metrics_address
    if address and not is_local(address) and not trusted:
        raise StartError(
            f"refusing to serve metrics on {address} (metrics_address): other machines could read them without TLS and "
            "authentication. Use 127.0.0.1:PORT, or set allow_insecure_remote_metrics=on if the network is trusted"
        )
    if wrong := [signal for signal in settings.otlp_signals if signal not in _SIGNALS]:
        raise StartError(f"otlp_signals must be of {', '.join(_SIGNALS)}, got {', '.join(wrong)}")
    if settings.otlp_trace_ratio > 1:
        raise StartError(f"otlp_trace_ratio must be from 0 to 1, got {settings.otlp_trace_ratio}")
    if settings.otlp_endpoint and not (trusted and settings.otlp_endpoint.startswith("http://")):
        try:
            addresses.check_url(settings.otlp_endpoint)
        except ValueError as error:
            raise StartError(
                f"otlp_endpoint {error}; set allow_insecure_remote_metrics=on if the network is trusted"
            ) from error


def _collector(settings: Settings, metrics: Metrics, server: str) -> Collector:
    try:
        from qonduit_server.telemetry.collector import Collector
    except ModuleNotFoundError as error:
        raise StartError(
            f"otlp_endpoint needs the libraries of OpenTelemetry: {pip_install('server', 'telemetry')} ({error})"
        ) from error
    from qonduit_server.process.release import installed_release

    return Collector(
        settings.otlp_endpoint, settings.otlp_signals, metrics, installed_release(), server, settings.otlp_trace_ratio
    )
