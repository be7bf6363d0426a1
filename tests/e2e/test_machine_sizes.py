# SPDX-License-Identifier: Apache-2.0
"""Two real worker machines of different memory and devices: each job runs where it fits, and both are listed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from qonduit.v1.job_pb2 import Job, JobState
from qonduit_client import Client, PreconditionFailed
from tests.benchmarks.programs import BELL, layered
from tests.e2e.faults.submitting import a_job
from tests.e2e.faults.trap import RecordingTrap
from tests.e2e.test_cli import objects, qonduit
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import Server, family, serving, working
from tests.unit.execution.pool_fixture import PATIENCE

AER = "IBM/aer_simulator"
#: The memory of the small machine: one task of twenty qubits (16 MiB) fits, two do not, and one of 21 never does.
SMALL = 30 * 1024**2


@dataclass
class Machines:
    """A server and its two machines."""

    server: Server
    client: Client
    small: Popen[str]
    large: Popen[str]
    trap: RecordingTrap
    folder: Path

    def steps(self, name: str, job_id: int) -> list[str]:
        """Return the steps of a job that a machine has logged."""
        lines = map(json.loads, (self.folder / f"{name}.jsonl").read_text().splitlines())
        return [line["event"] for line in lines if line.get("job_id") == job_id]


@pytest.fixture(scope="module")
def machines(rabbitmq: RabbitmqBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    trap = RecordingTrap(folder / "trap")
    logs = {"log_level": "debug", "log_format": "json"}
    database = f"sqlite:///{folder / 'q.sqlite3'}"
    small = {"workers": "4", "max_memory_bytes": str(SMALL), "log": folder / "small.jsonl"}
    large = {"workers": "1", "max_memory_bytes": str(512 * 1024**2), "log": folder / "large.jsonl"}
    with (
        serving(database, executor="celery", broker=rabbitmq.url(), providers="IBM,STIM") as server,
        Client(server.target) as client,
        working(rabbitmq.url(), environment=trap.environment, **small, **logs) as one,  # type: ignore[arg-type]
        working(rabbitmq.url(), "IBM,STIM", **large, **logs) as two,  # type: ignore[arg-type]
    ):
        yield Machines(server, client, one, two, trap, folder)
    trap.close()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _succeeded(job: Job) -> bool:
    return (job.state, job.attempt) == (JobState.JOB_STATE_SUCCEEDED, 1)


def test_a_device_is_as_wide_as_at_the_largest_machine(machines: Machines) -> None:
    # 512 MiB are 25 qubits of 16 bytes an amplitude; the small machine has 20.
    _wait(lambda: getattr(machines.client.named_devices().get(AER), "num_qubits", 0) == 25)
    # The large machine may describe its other provider later.
    _wait(lambda: "STIM/stim" in machines.client.named_devices("available = true"))


def test_a_job_that_a_machine_has_no_memory_for_moves_to_the_other_one(machines: Machines) -> None:
    first, worker = machines.trap.submit_and_stop(machines.server.target, a_job(1, 20, 1))
    assert worker in family(machines.small.pid)
    second = machines.client.run(layered(20, 1, seed=1), device=AER, shots=10)
    assert sum(second.result(PATIENCE).counts.values()) == 10
    assert _succeeded(second.job())
    assert "declined" in machines.steps("small", second.id)
    assert "started" in machines.steps("large", second.id)
    os.kill(worker, signal.SIGCONT)
    assert _succeeded(machines.client.job(first).wait(PATIENCE))
    assert not machines.steps("large", first)


def test_a_job_that_is_too_wide_for_a_machine_runs_at_the_other_one(machines: Machines) -> None:
    job = machines.client.run(layered(22, 1, seed=2), device=AER, shots=10)
    assert sum(job.result(PATIENCE).counts.values()) == 10
    assert _succeeded(job.job())
    assert "started" in machines.steps("small", job.id)
    assert "started" in machines.steps("large", job.id)


def test_the_workers_of_both_machines_are_listed(machines: Machines) -> None:
    pids = {worker.pid for worker in machines.client.workers()}
    code, written, _ = qonduit(machines.server, "--json", "workers")
    assert code == 0
    listed = {each["pid"] for each in objects(written)}
    for machine in (machines.small, machines.large):
        assert pids & set(family(machine.pid))
        assert listed & set(family(machine.pid))


def test_the_devices_of_a_machine_are_refused_once_it_has_left(machines: Machines) -> None:
    assert machines.client.run(BELL, device="STIM/stim", shots=10).result(PATIENCE).shots == 10
    machines.large.kill()
    _wait(lambda: "STIM/stim" not in machines.client.named_devices("available = true"))
    assert "STIM/stim" in machines.client.named_devices()
    with pytest.raises(PreconditionFailed, match="STIM/stim is not available"):
        machines.client.run(BELL, device="STIM/stim", shots=10)
    _wait(lambda: machines.client.named_devices()[AER].num_qubits == 20)
    assert machines.client.run(BELL, device=AER, shots=10).result(PATIENCE).shots == 10
