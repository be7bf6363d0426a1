# SPDX-License-Identifier: Apache-2.0
"""The endpoint of metrics answers Prometheus, and refuses everything else within a bound of time and bytes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from qonduit_server.errors import StartError
from qonduit_server.telemetry import metrics_endpoint
from qonduit_server.telemetry.metrics_endpoint import MetricsEndpoint

WAIT = 60.0


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc(3)
    endpoint = MetricsEndpoint("127.0.0.1:0", registry)
    yield endpoint
    endpoint.stop()


def ask(endpoint: MetricsEndpoint, method: str, path: str, **headers: str) -> tuple[int, str, str]:
    connection = HTTPConnection(endpoint.address, timeout=WAIT)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], body


def raw(endpoint: MetricsEndpoint) -> socket.socket:
    host, _, port = endpoint.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT)


def test_both_formats_of_prometheus_are_served(endpoint: MetricsEndpoint) -> None:
    status, kind, body = ask(endpoint, "GET", "/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert next(parse_text(body)).samples[0].value == 3
    accept = "application/openmetrics-text;version=1.0.0"
    status, kind, body = ask(endpoint, "GET", "/metrics?debug=1", Accept=accept)
    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    assert next(iter(parse_openmetrics(body))).samples[0].value == 3


def test_other_paths_and_methods_are_refused(endpoint: MetricsEndpoint) -> None:
    assert ask(endpoint, "GET", "/")[0] == 404
    assert ask(endpoint, "GET", "/metrics/x")[0] == 404
    assert ask(endpoint, "POST", "/metrics")[0] == 405


@pytest.mark.parametrize("request_bytes", [b"GET /metrics", b"", b"\xff" * 100, b"x: y\r\n" * 5000])
def test_an_incomplete_or_endless_request_gets_no_answer(endpoint: MetricsEndpoint, request_bytes: bytes) -> None:
    with raw(endpoint) as connection:
        answer = b""
        with suppress(OSError):  # the endpoint may have closed the connection before
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        assert answer == b""
    assert ask(endpoint, "GET", "/metrics")[0] == 200


def test_slow_clients_delay_others_for_seconds_only(endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "_RECEIVE_SECONDS", 1.0)
    stop = threading.Event()
    slow = [raw(endpoint) for _ in range(8)]

    def trickle() -> None:
        while not stop.wait(0.05):
            for connection in slow:
                try:
                    connection.send(b"G")
                except OSError:
                    continue

    sender = threading.Thread(target=trickle)
    sender.start()
    began = time.monotonic()
    try:
        assert ask(endpoint, "GET", "/metrics")[0] == 200
    finally:
        stop.set()
        sender.join()
        for connection in slow:
            connection.close()
    # Two rounds of four threads, each cut off after a second although bytes arrive all the time.
    assert time.monotonic() - began >= 1.0


def test_a_used_address_is_reported_with_its_setting(endpoint: MetricsEndpoint) -> None:
    with pytest.raises(StartError, match=rf"cannot listen on {endpoint.address} \(metrics_address\)"):
        MetricsEndpoint(endpoint.address, CollectorRegistry())


def test_nothing_is_served_after_the_stop() -> None:
    endpoint = MetricsEndpoint("127.0.0.1:0", CollectorRegistry())
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("metrics-endpoint-")]
    endpoint.stop()
    with pytest.raises(ConnectionRefusedError):
        raw(endpoint)
    for thread in endpoint._threads:
        thread.join(WAIT)
    assert threads
    assert not any(thread.is_alive() for thread in endpoint._threads)


def test_an_address_of_ipv6_is_served() -> None:
    endpoint = MetricsEndpoint("[::1]:0", CollectorRegistry())
    assert endpoint.address.startswith("[::1]:")
    connection = HTTPConnection("::1", int(endpoint.address.rpartition(":")[2]), timeout=WAIT)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    connection.close()
    endpoint.stop()
