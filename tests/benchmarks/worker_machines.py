# SPDX-License-Identifier: Apache-2.0
"""Benchmark worker machines (`executor = celery`) against the worker processes of a server, with equal numbers.

`python -m tests.benchmarks.worker_machines celery_loads|celery_faults ROUNDS` prints lines of JSON for
`tests.benchmarks.__main__`. Server, machines, RabbitMQ and the load share this machine.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client, JobHandle
from tests.benchmarks import load, programs
from tests.rabbitmq import RabbitmqBroker, find_installation
from tests.server_process import Server, family, serving, working

_WORKERS: Final = (1, 2, 4)
_SHOTS: Final = 1000
_SECONDS: Final = 2.0
_STREAMS: Final = 32
#: A circuit that one worker runs for about a second; its depth is chosen by its time here.
_QUBITS: Final = 20
#: A circuit that runs until its job is cancelled, or its worker killed.
_ENDLESS: Final = programs.layered(24, 400)
_CANCELS: Final = 15
_DEVICE: Final = "IBM/aer_simulator"
_PATIENCE: Final = 60.0


def _until(condition: Callable[[], bool]) -> float:
    """Wait until a condition is met, and return the seconds."""
    begun = time.perf_counter()
    while not condition():
        if time.perf_counter() - begun > _PATIENCE:
            raise RuntimeError(f"not met within {_PATIENCE:g} s")
        time.sleep(0.002)
    return time.perf_counter() - begun


def _offered(client: Client) -> bool:
    return _DEVICE in client.named_devices("available = true")


def _rate(target: str, text: str, streams: int, seconds: float) -> tuple[float, float]:
    """Return the jobs a second, and the median of the seconds of one."""
    found = load.run_for(target, load.request([text], _SHOTS), seconds, streams)
    if found["failures"] or not found["checked"]:
        raise RuntimeError(f"jobs failed: {found['failures']}")
    times: Any = found["times"]
    wall: Any = found["wall"]
    return len(times) / wall, statistics.median(times)


def _second(target: str) -> str:
    """Return a circuit that takes about a second alone."""
    _, short = _rate(target, programs.layered(_QUBITS, 4), 1, 0.0)
    _, longer = _rate(target, programs.layered(_QUBITS, 12), 1, 0.0)
    return programs.layered(_QUBITS, max(4, round(4 + 8 * (1.0 - short) / max(0.01, longer - short))))


def loads(broker: RabbitmqBroker, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield jobs a second and latencies of both; they alternate."""
    for workers in _WORKERS:
        settings = {"preload": "IBM", "workers": str(workers)}
        databases = [f"sqlite:///{folder / f'{name}{workers}.sqlite3'}" for name in ("remote", "local")]
        with (
            working(broker.url(), **settings),
            serving(databases[0], executor="celery", broker=broker.url()) as remote,
            serving(databases[1], **settings) as local,
        ):
            targets = remote.target, local.target
            with Client(remote.target) as client:
                _until(lambda client=client: _offered(client))  # type: ignore[misc]
            for target in targets:
                _rate(target, programs.BELL, _STREAMS, 1.0)
            second = _second(local.target)
            found: dict[str, list[list[float]]] = {what: [[], []] for what in ("bell", "second", "latency")}
            for _ in range(rounds):
                for place in (1, 0):
                    found["bell"][place].append(_rate(targets[place], programs.BELL, _STREAMS, _SECONDS)[0])
                    found["second"][place].append(_rate(targets[place], second, workers, _SECONDS)[0])
                    found["latency"][place].append(_rate(targets[place], programs.BELL, 1, _SECONDS / 2)[1])
        for what, name, unit, goal in (
            ("bell", "Bell jobs a second", "jobs/s", ">= 0.3"),
            ("second", "jobs of about a second, a second", "jobs/s", ">= 0.95"),
            ("latency", "latency of a Bell job, p50", "ms", ""),
        ):
            reference = "the server's own worker processes"
            ours, theirs = found[what]
            what = f"{name}, worker machine with {workers} {'process' if workers == 1 else 'processes'}"
            yield {"what": what, "reference": reference, "unit": unit, "goal": goal, "ours": ours, "theirs": theirs}


def _begin(client: Client) -> tuple[JobHandle, int]:
    """Start a job that does not end; return it, and the process that runs it."""
    handle = client.run(_ENDLESS, device=_DEVICE, shots=10)
    _until(lambda: handle.job().state == JobState.JOB_STATE_RUNNING)
    pids: list[int] = []

    def known() -> bool:
        # A process that is starting has no id yet.
        pids[:] = [each.pid for each in client.workers() if each.pid and each.job_id == handle.id]
        return bool(pids)

    _until(known)
    return handle, pids[0]


def _dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _cancels(client: Client) -> float:
    """Return the longest time from the call that cancels to the end of the process, of several."""
    times = []
    for _ in range(_CANCELS):
        handle, pid = _begin(client)
        begun = time.perf_counter()
        handle.cancel()
        _until(lambda pid=pid: _dead(pid))  # type: ignore[misc]
        times.append(time.perf_counter() - begun)
        handle.wait(_PATIENCE)
    return max(times)


def _moved(
    client: Client, start: Callable[[], subprocess.Popen[str]], machines: list[subprocess.Popen[str]], number: int
) -> float:
    """Send a signal to the machine of a running job; return the time until the job runs on another one."""
    handle, pid = _begin(client)
    machines.append(start())
    # Each has one worker process, so this job runs on the other machine, which is ready then.
    other, _ = _begin(client)
    other.cancel()
    other.wait(_PATIENCE)
    machine = next(each for each in machines if pid in family(each.pid))
    attempt = handle.job().attempt
    machines.remove(machine)
    begun = time.perf_counter()
    machine.send_signal(number)
    _until(lambda: (job := handle.job()).attempt > attempt and job.state == JobState.JOB_STATE_RUNNING)
    seconds = time.perf_counter() - begun
    if number == signal.SIGSTOP:
        machine.kill()
    handle.cancel()
    handle.wait(_PATIENCE)
    return seconds


def faults(broker: RabbitmqBroker, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the times after faults of machines, and of cancelling."""
    with ExitStack() as ends:
        remote: Server = ends.enter_context(
            serving(f"sqlite:///{folder / 'remote.sqlite3'}", executor="celery", broker=broker.url())
        )
        local: Server = ends.enter_context(serving(f"sqlite:///{folder / 'local.sqlite3'}", preload="IBM", workers="1"))
        client, plain = (ends.enter_context(Client(server.target)) for server in (remote, local))

        def start() -> subprocess.Popen[str]:
            return ends.enter_context(working(broker.url(), preload="IBM"))

        machines = [start()]
        _until(lambda: _offered(client))
        cancels: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            cancels[1].append(_cancels(plain))
            cancels[0].append(_cancels(client))
        yield {
            "what": f"from a cancellation to the end of the process, longest of {_CANCELS}, worker machine",
            "reference": "the server's own worker processes",
            "unit": "ms",
            "goal": "",
            "ours": cancels[0],
            "theirs": cancels[1],
        }
        for number, name, goal in (
            (signal.SIGKILL, "kill -9", "<= 5 s"),
            (signal.SIGSTOP, "SIGSTOP", "<= 15 s"),
        ):
            times = [_moved(client, start, machines, number) for _ in range(rounds)]
            yield {
                "what": f"from {name} of a worker machine to its job running on another one",
                "unit": "s",
                "goal": goal,
                "ours": times,
            }


def main(kind: str, rounds: int) -> None:
    """Measure one kind."""
    installation = find_installation()
    if installation is None:
        raise RuntimeError("no RabbitMQ here: install it, or measure with another --only")
    os.environ.setdefault("QONDUIT_LOG_LEVEL", "error")
    with tempfile.TemporaryDirectory() as folder, closing(RabbitmqBroker(installation)) as broker:
        for line in (loads if kind == "celery_loads" else faults)(broker, Path(folder), rounds):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
