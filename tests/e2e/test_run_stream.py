# SPDX-License-Identifier: Apache-2.0
"""Estimates by one stream with a real server: broken connections, a killed server, a cancel, and the same values."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client, JobCancelled
from qonduit_client.job import JobHandle
from qonduit_client.transport import Transport
from tests.both_clients import BOTH_CLIENTS
from tests.e2e.test_client import Proxy
from tests.server_process import Server, serving

WAIT = 100.0
QUBITS = 14
PROGRAM = "\n".join(
    [f'OPENQASM 3.0; include "stdgates.inc"; input array[float, 2] x; qubit[{QUBITS}] q;']
    + [f"ry(x[{qubit % 2}] + {qubit}) q[{qubit}];" for qubit in range(QUBITS)]
    + [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(QUBITS - 1)]
)
OBSERVABLE = "Z0*Z13 + X3 - 0.5*Y1*Y2"
#: Enough points for a job that is still running when its first event arrives.
POINTS = np.random.default_rng(3).uniform(-1, 1, (150, 2))


def values_by(client: Client, timeout: float = WAIT) -> Any:
    return client.estimate(
        PROGRAM, OBSERVABLE, exact=True, gradient=True, parameter_values={"x": POINTS}, timeout=timeout
    )


def running_job(client: Client) -> JobHandle:
    """Return the only job, which runs."""
    ended = threading.Event()
    while not (jobs := list(client.jobs())):
        ended.wait(0.01)
    assert len(jobs) == 1
    job = client.job(jobs[0].id)
    assert any(event.state_change.to_state == JobState.JOB_STATE_RUNNING for event in job.events(timeout=WAIT))
    return job


def during_an_estimate(client: Client, observer: Client, act: Callable[[JobHandle], None]) -> Any:
    """Return the estimate of a client, or raise its error, with an action while its job runs."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(values_by, client)
        act(running_job(observer))
        return found.result(WAIT)


def test_an_estimate_makes_one_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[str] = []
    opened = Transport.stream

    def stream(self: Transport, request: Any, **options: Any) -> Any:
        streams.append(request.method)
        return opened(self, request, **options)

    def call(self: Transport, request: Any, **_: Any) -> Any:
        raise AssertionError(f"a further call: {request.method}")

    with Client(server.target) as client:
        monkeypatch.setattr(Transport, "stream", stream)
        monkeypatch.setattr(Transport, "call", call)
        found = client.estimate("OPENQASM 3.0; qubit q;", "Z0", exact=True)
    assert found.values.tolist() == [1.0]
    assert streams == ["JobService/RunJob"]


@pytest.mark.parametrize("name", BOTH_CLIENTS)
def test_broken_connections_change_no_value_and_create_no_second_job(tmp_path: Path, name: str) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", preload="IBM") as own:
        way = Proxy(own.target)
        try:
            with BOTH_CLIENTS[name](way.target, timeout=WAIT) as client, Client(own.target) as observer:
                found = during_an_estimate(client, observer, lambda _: way.cut())
                assert len(list(observer.jobs())) == 1
                expected = values_by(observer)
        finally:
            way.close()
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.gradients, expected.gradients)


@pytest.mark.parametrize("name", BOTH_CLIENTS)
def test_a_killed_and_restarted_server_changes_no_value_and_creates_no_second_job(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, providers="IBM", preload="IBM") as first, ThreadPoolExecutor(1) as pool:
        way = Proxy(first.target)
        with Client(first.target) as observer:
            client = BOTH_CLIENTS[name](way.target, timeout=WAIT)
            found = pool.submit(values_by, client)
            running_job(observer)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(WAIT)
        way.cut()
        with serving(url, providers="IBM", preload="IBM") as second, client, Client(second.target) as observer:
            way.forward_to(second.target)
            values = found.result(WAIT)
            assert len(list(observer.jobs())) == 1
            np.testing.assert_array_equal(values.values, values_by(observer).values)
        way.close()


@pytest.mark.parametrize("name", BOTH_CLIENTS)
def test_a_cancel_by_another_client_ends_the_estimate(tmp_path: Path, name: str) -> None:
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", preload="IBM") as own,
        BOTH_CLIENTS[name](own.target) as client,
        Client(own.target) as observer,
        pytest.raises(JobCancelled),
    ):
        during_an_estimate(client, observer, lambda job: job.cancel())
