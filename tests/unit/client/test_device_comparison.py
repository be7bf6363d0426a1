# SPDX-License-Identifier: Apache-2.0
"""`compare_devices` of both clients, and the table of `qonduit devices --for FILE`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qonduit.v1.device_service_pb2 import DeviceFit
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_client import Client, aio
from qonduit_client.cli.commands import qonduit
from tests.unit.client.peer import BELL, Peer

FITS = [
    DeviceFit(
        device_id=1,
        device="IBM/aer_simulator",
        supported=True,
        auto_eligible=True,
        method="statevector",
        memory_bytes=16 << 20,
        estimated_seconds_p50=0.0123,
        estimated_seconds_p90=2.5,
        queue_depth=3,
    ),
    DeviceFit(device_id=2, device="AWS/braket_dm", supported=True, auto_eligible=True, queue_depth=0),
    DeviceFit(
        device_id=3, device="STIM/stim", supported=False, auto_eligible=False, reason="it runs Clifford gates only"
    ),
]


@pytest.fixture
def known(peer: Peer) -> Peer:
    peer.fits = FITS
    return peer


def call(peer: Peer, *arguments: str) -> Result:
    """Run `qonduit devices` with the Bell program on standard input."""
    return CliRunner().invoke(qonduit, ["--server", peer.target, "devices", *arguments], input=BELL)


def test_both_clients(known: Peer) -> None:
    options: dict[str, Any] = {"shots": 50, "simulation": {"method": "stabilizer"}}
    with Client(known.target) as client:
        assert client.compare_devices(BELL, **options) == FITS
        assert client.compare_devices(deployment_id=7) == FITS

    async def compare() -> list[DeviceFit]:
        async with aio.Client(known.target) as client:
            return await client.compare_devices(BELL, **options)

    assert asyncio.run(compare()) == FITS
    first, stored, second = known.compared
    assert first == second
    assert (first.job.shots, first.job.simulation) == (50, SimulationOptions(method="stabilizer"))
    assert [program.quantum_circuit for program in first.deployment.programs] == [BELL]
    assert (stored.job.deployment_id, stored.HasField("deployment")) == (7, False)


def test_table(known: Peer) -> None:
    done = call(known, "--for", "-", "--shots", "20", "--method", "density_matrix")
    assert done.exit_code == 0, done.output
    head, first, second, third = (line.split() for line in done.stdout.splitlines())
    assert head == ["DEVICE", "RUNS", "IT", "METHOD", "MEMORY", "ESTIMATED", "TIME", "WAITING", "NOTE"]
    assert first == ["IBM/aer_simulator", "yes", "statevector", "16", "MiB", "12", "ms", "(p90", "2.5", "s)", "3"]
    assert second == ["AWS/braket_dm", "yes", "unknown", "0"]
    assert third == ["STIM/stim", "no", "0", "it", "runs", "Clifford", "gates", "only"]
    (request,) = known.compared
    assert (request.job.shots, request.job.simulation.method) == (20, "density_matrix")


def test_json_and_csv(known: Peer) -> None:
    first, second, _ = (json.loads(line) for line in call(known, "--for", "-", "--json").stdout.splitlines())
    assert (first["device"], first["estimated_seconds_p90"]) == ("IBM/aer_simulator", 2.5)
    assert "estimated_seconds_p50" not in second
    lines = call(known, "--for", "-", "--output", "csv").stdout.splitlines()
    assert lines[0] == (
        "device,device_id,supported,auto_eligible,method,memory_bytes,estimated_seconds_p50,estimated_seconds_p90,"
        "queue_depth,reason"
    )
    assert lines[2] == "AWS/braket_dm,2,true,true,,0,,,0,"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--for", "-", "--languages"),
        ("--for", "-", "IBM/aer_simulator"),
        ("--method", "statevector"),
        ("--for", "missing.qasm"),
    ],
)
def test_usage(known: Peer, arguments: tuple[str, ...]) -> None:
    assert call(known, *arguments).exit_code == 2
    assert not known.compared
