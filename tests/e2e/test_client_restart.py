# SPDX-License-Identifier: Apache-2.0
"""A server is killed and restarted under both clients: each event arrives once, in order, and then the results."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.programs import layered
from tests.both_clients import BOTH_CLIENTS
from tests.e2e.test_client import Proxy
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

WAIT = 100.0


def test_both_clients_follow_a_job_across_a_killed_server(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    begun = {name: threading.Event() for name in BOTH_CLIENTS}
    gone = threading.Event()
    seen: dict[str, list[int]] = {name: [] for name in BOTH_CLIENTS}
    counts: dict[str, int] = {}

    def follow(name: str) -> None:
        with BOTH_CLIENTS[name](way.target, timeout=WAIT) as client:
            job = client.job(job_id)
            for event in job.events(timeout=WAIT):
                seen[name].append(event.sequence)
                if event.HasField("program_run"):
                    begun[name].set()
                    gone.wait(WAIT)
            counts[name] = len(job.results(WAIT))

    with serving(url, providers="IBM", preload="IBM", workers="1") as first:
        way = Proxy(first.target)
        with BOTH_CLIENTS["blocking"](way.target) as client:
            job_id = client.run([layered(14, 8, seed=k) for k in range(30)], shots=100).id
        threads = [threading.Thread(target=follow, args=(name,)) for name in BOTH_CLIENTS]
        for thread in threads:
            thread.start()
        assert all(each.wait(WAIT) for each in begun.values())
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(WAIT)
        way.cut()
        gone.set()
    try:
        with serving(url, providers="IBM", preload="IBM", workers="1") as second:
            way.forward_to(second.target)
            for thread in threads:
                thread.join(WAIT)
            with BOTH_CLIENTS["blocking"](second.target) as client:
                last = client.job(job_id).job().last_sequence
    finally:
        way.close()
    for name in BOTH_CLIENTS:
        assert seen[name] == list(range(1, last + 1)), name
        assert counts[name] == 30


def test_both_clients_continue_at_another_server_of_the_database(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    url = postgresql.url(postgresql.new_database())
    settings = {"providers": "IBM", "preload": "IBM", "workers": "1", "lease_seconds": "2"}
    with serving(url, **settings) as first, serving(url, **settings) as second:
        target = f"ipv4:{first.target},{second.target}"
        with ExitStack() as stack:
            clients = {name: stack.enter_context(BOTH_CLIENTS[name](target, timeout=WAIT)) for name in BOTH_CLIENTS}
            job_id = clients["blocking"].run([layered(14, 8, seed=k) for k in range(30)], shots=100).id
            streams = {name: clients[name].job(job_id).events(timeout=WAIT) for name in BOTH_CLIENTS}
            seen = {name: [next(streams[name]).sequence] for name in BOTH_CLIENTS}
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(WAIT)
            for name, stream in streams.items():
                seen[name] += [event.sequence for event in stream]
            job = clients["blocking"].job(job_id)
            assert len(job.results(WAIT)) == 30
            assert seen == {name: list(range(1, job.job().last_sequence + 1)) for name in BOTH_CLIENTS}


def test_both_clients_estimate_across_a_killed_server(tmp_path: Path) -> None:
    """The stream of the call breaks while its job waits; the repeated request returns the same job."""
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    program = layered(14, 8, seed=1)

    def estimate(name: str) -> float:
        with BOTH_CLIENTS[name](way.target, timeout=WAIT, connect_timeout=WAIT) as client:
            return float(client.estimate(program, "Z0", exact=True, name=name, timeout=WAIT).values[0])

    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())
        with serving(url, providers="IBM", preload="IBM", workers="1") as first:
            way = Proxy(first.target)
            stack.callback(way.close)
            with BOTH_CLIENTS["blocking"](first.target) as client:
                busy = client.run([layered(14, 8, seed=k) for k in range(30)], shots=100)
                calls = {name: threads.submit(estimate, name) for name in BOTH_CLIENTS}
                # The jobs wait behind the busy one, so the server is killed before they end.
                while len(list(client.jobs(limit=3))) < 3:
                    next(iter(busy.events(heartbeat=0.05, after_sequence=busy.job().last_sequence)))
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(WAIT)
            way.cut()
        with serving(url, providers="IBM", preload="IBM", workers="1") as second:
            way.forward_to(second.target)
            found = {name: call.result(WAIT) for name, call in calls.items()}
            with BOTH_CLIENTS["blocking"](second.target) as client:
                jobs = list(client.jobs())
                expected = float(client.estimate(program, "Z0", exact=True).values[0])
    assert found == dict.fromkeys(BOTH_CLIENTS, expected)
    assert len(jobs) == 3
