# SPDX-License-Identifier: Apache-2.0
"""Device "AUTO" on a real server: the choice is exact, stored with the job, and repeated by equal requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_client import Client, InvalidRequest, NotFound, PreconditionFailed
from tests.e2e.test_validate import GHZ, WRONG
from tests.server_process import Server

REQUEST_ID = "3f0c6a51-6b0e-4c83-9d0f-0a4d7f2f5b11"
NOISE = {"gate_errors": [{"gates": ["cx"], "channel": {"amplitude_damping": 0.2}}]}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target, timeout=180) as made:
        yield made


def wide(qubits: int, gate: str) -> str:
    gates = "".join(f"cx q[{k}],q[{k + 1}];{gate} q[{k}];" for k in range(qubits - 1))
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[2]; h q[0]; {gates} measure q[0] -> c[0];'


def test_a_job_runs_on_the_first_device_of_the_comparison_and_says_why(client: Client) -> None:
    first = client.compare_devices(GHZ, 100)[0]
    handle = client.run(GHZ, "AUTO", 100, request_id=REQUEST_ID)
    job = handle.job()
    assert job.device == first.device
    assert (job.device_choice.method, job.device_choice.memory_bytes) == (first.method, first.memory_bytes)
    assert job.device_choice.requested == "AUTO"
    assert "exact simulators" in job.device_choice.reason
    assert job.device_choice.memory_bytes > 0
    assert set(handle.result(timeout=180).counts) <= {"0x0", "0x7"}
    created = next(iter(client.job(job.id).events())).created
    assert (created.device, created.executed_on_id) == (job.device, job.executed_on_id)
    assert created.device_choice == job.device_choice
    again = client.run(GHZ, "AUTO", 100, request_id=REQUEST_ID)
    assert (again.id, again.deduplicated) == (job.id, True)
    rerun = client.rerun(job.id).job()
    assert (rerun.device, rerun.device_choice) == (job.device, job.device_choice)


def test_a_provider_can_be_named(client: Client) -> None:
    job = client.run(GHZ, "GOOGLE/AUTO", 10).job()
    assert job.device == "GOOGLE/cirq_simulator"
    assert job.device_choice.requested == "GOOGLE/AUTO"


def test_devices_that_cannot_run_the_job_are_passed_over(client: Client) -> None:
    assert client.check(GHZ, "AWS/AUTO", noise_model=NOISE).job.device == "AWS/braket_dm"
    assert client.check(wide(1200, "s"), "AUTO").job.device == "IBM/aer_simulator"
    for provider in ("IBM", "AWS", "GOOGLE", "STIM"):
        client.check(GHZ, f"{provider}/AUTO")
    with pytest.raises(NotFound, match=r"provider NOPE does not exist; providers of this server: .*IBM"):
        client.run(GHZ, "NOPE/AUTO")
    with pytest.raises(PreconditionFailed, match="AUTO finds no device for this job") as caught:
        client.run(wide(60, "t"), "AUTO")
    assert "60 qubits" in str(caught.value)
    assert "local_simulator" in str(caught.value)


def test_an_invalid_program_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="line 6"):
        client.run(WRONG, "AUTO")
