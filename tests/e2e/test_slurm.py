# SPDX-License-Identifier: Apache-2.0
"""Worker machines in jobs of a real Slurm, started by the files of deploy/slurm: how they begin, run tasks and end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import qonduit_client
from qonduit.v1.job_pb2 import Job, JobState
from tests.contract.rpc_fixture import until
from tests.gated_provider import DEVICE, install_gated
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import serving
from tests.slurm import SlurmCluster

SLURM = Path(__file__).resolve().parents[2] / "deploy" / "slurm"
PROGRAM = Path(sys.executable).with_name("qonduit")
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
RUNNING, SUCCEEDED = JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_SUCCEEDED


@dataclass
class Site:
    """A server, and a cluster whose jobs are its worker machines.

    Attributes:
        cluster: the cluster.
        client: of the server.
        gate: the file for which each run waits.
        folder: of the logs of pilots.
        variables: those of pilots.
    """

    cluster: SlurmCluster
    client: qonduit_client.Client
    target: str
    gate: Path
    folder: Path
    variables: dict[str, str]

    def start_pilot(self, *options: str, **variables: str) -> int:
        """Submit a pilot; return its number in Slurm."""
        return self.cluster.submit(
            *self.options(*options), str(SLURM / "qonduit-worker.sbatch"), **self.with_(variables)
        )

    def options(self, *options: str) -> list[str]:
        """Return options of sbatch for a pilot of the size of this machine."""
        return [f"--output={self.folder}/%j.log", "--cpus-per-task=1", "--mem=2G", *options]

    def with_(self, variables: dict[str, str]) -> dict[str, str]:
        """Return the variables of a pilot."""
        return self.variables | variables

    def log(self, pilot: int) -> str:
        """Return the log of a pilot."""
        return (self.folder / f"{pilot}.log").read_text()

    def is_offered(self) -> bool:
        """Return whether the device is available."""
        found = self.client.named_devices()
        return DEVICE in found and found[DEVICE].available

    def run_until_it_waits(self) -> qonduit_client.JobHandle:
        """Start a job, and return it when it runs and waits for the gate."""
        until(self.is_offered)
        handle = self.client.run(BELL, device=DEVICE, shots=10)
        until(lambda: self.busy(handle) != 0)
        return handle

    def busy(self, handle: qonduit_client.JobHandle) -> int:
        """Return the process that runs a job; 0 if none does."""
        return next(
            (each.pid for each in self.client.workers() if each.job_id == handle.id and "running" in each.phase), 0
        )


@pytest.fixture
def site(slurm: SlurmCluster, rabbitmq: RabbitmqBroker, tmp_path: Path) -> Iterator[Site]:
    gate = tmp_path / "gate"
    found = install_gated(tmp_path / "site", gate)
    host = f"slurm{tmp_path.name}"
    rabbitmq.control("add_vhost", host)
    rabbitmq.control("set_permissions", "--vhost", host, "guest", ".*", ".*", ".*")
    settings = {"broker": rabbitmq.url(host), "providers": "GATED"}
    pilot = {f"QONDUIT_{name.upper()}": value for name, value in settings.items()} | {
        "QONDUIT": str(PROGRAM),
        "QONDUIT_LOG_FORMAT": "json",
        **found,
    }
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", environment=found, executor="celery", **settings) as server,
        qonduit_client.Client(server.target) as client,
    ):
        yield Site(slurm, client, server.target, gate, tmp_path, pilot)
        slurm.command("scancel", "--name=qonduit-worker")
        until(lambda: not slurm.command("squeue", "--noheader"))


def test_a_pilot_runs_jobs_within_its_allocation_and_ends_when_it_is_idle(site: Site) -> None:
    pilot = site.start_pilot("--cpus-per-task=2", "--mem=2G", QONDUIT_IDLE_EXIT="10")
    handles = [site.run_until_it_waits() for _ in range(2)]
    # Both cores of the allocation run, whatever this machine has, and one more waits.
    third = site.client.run(BELL, device=DEVICE, shots=10)
    assert third.job().state != RUNNING
    assert len({site.busy(handle) for handle in handles}) == 2
    site.gate.touch()
    assert [handle.result().shots for handle in (*handles, third)] == [10, 10, 10]
    assert site.cluster.wait(pilot, "COMPLETED", "FAILED") == "COMPLETED"
    assert '"why":"no task for 10 s"' in site.log(pilot)
    until(lambda: not site.is_offered())


def _moves_to_another_pilot(site: Site, end: Callable[[int], Any], *options: str, **variables: str) -> tuple[Job, int]:
    """End a pilot while it runs a job; return the job after it has run on another one, and the number of the first."""
    first = site.start_pilot("--nodelist=one", *options, **variables)
    handle = site.run_until_it_waits()
    before = site.busy(handle)
    site.start_pilot("--nodelist=two")
    until(lambda: len({each.pid for each in site.client.workers()}) > 1)
    end(first)
    until(lambda: site.busy(handle) not in (0, before))
    site.gate.touch()
    assert handle.result().shots == 10
    return handle.job(), first


@pytest.mark.long
def test_a_pilot_hands_its_task_back_before_its_time_limit(site: Site) -> None:
    # A signal without effect: the pilot knows the end of its allocation.
    options = ("--time=2", "--signal=B:CONT@1")
    ended, pilot = _moves_to_another_pilot(site, lambda _: None, *options, QONDUIT_DRAIN_SECONDS="2")
    assert (ended.state, ended.attempt, ended.returned_attempts) == (SUCCEEDED, 2, 1)
    assert site.cluster.wait(pilot, "COMPLETED", "FAILED", "TIMEOUT") == "COMPLETED"
    assert '"why":"its end time is near"' in site.log(pilot)


@pytest.mark.long
def test_a_cancelled_pilot_hands_its_task_back(site: Site) -> None:
    ended, pilot = _moves_to_another_pilot(
        site, lambda number: site.cluster.command("scancel", str(number)), QONDUIT_DRAIN_SECONDS="2"
    )
    assert (ended.state, ended.attempt, ended.returned_attempts) == (SUCCEEDED, 2, 1)
    assert '"event":"stopped"' in site.log(pilot)


@pytest.mark.long
def test_the_signal_of_slurm_drains_a_pilot(site: Site) -> None:
    ended, pilot = _moves_to_another_pilot(
        site,
        lambda number: site.cluster.command("scancel", "--batch", "--signal=TERM", str(number)),
        QONDUIT_DRAIN_SECONDS="2",
    )
    assert (ended.state, ended.attempt, ended.returned_attempts) == (SUCCEEDED, 2, 1)
    assert site.cluster.wait(pilot, "COMPLETED", "FAILED") == "COMPLETED"


@pytest.mark.long
def test_a_job_of_a_dead_node_runs_again_on_another_one(site: Site) -> None:
    try:
        ended, pilot = _moves_to_another_pilot(site, lambda _: site.cluster.kill_node("one"))
        assert (ended.state, ended.attempt, ended.returned_attempts) == (SUCCEEDED, 2, 0)
        site.cluster.wait(pilot, "NODE_FAIL", "FAILED")
    finally:
        site.cluster.start_node("one")


@pytest.mark.long
def test_pilots_are_submitted_as_long_as_jobs_wait(site: Site) -> None:
    def submit(*options: str) -> str:
        command = [sys.executable, str(SLURM / "qonduit-pilots"), "--server", site.target, *options]
        done = subprocess.run(
            [*command, "--", *site.options()],
            env=site.cluster.variables(**site.with_({"QONDUIT_IDLE_EXIT": "10"})),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    site.start_pilot()
    until(site.is_offered)
    handles = [site.client.run(BELL, device=DEVICE, shots=10) for _ in range(8)]
    assert submit("--tasks", "1", "--providers", "IBM") == "0 jobs, 1 pilots, 0 submitted\n"
    assert submit("--tasks", "2", "--max", "3") == "8 jobs, 1 pilots, 2 submitted\n"
    assert submit("--tasks", "2", "--max", "3") == "8 jobs, 3 pilots, 0 submitted\n"
    until(lambda: sum(each.job_id != 0 for each in site.client.workers()) == 3)
    site.gate.touch()
    assert [handle.result().shots for handle in handles] == [10] * 8
    # The first pilot ends only after its default of minutes.
    until(lambda: len(site.cluster.command("squeue", "--noheader").splitlines()) == 1)
    assert submit("--tasks", "2") == "0 jobs, 1 pilots, 0 submitted\n"
