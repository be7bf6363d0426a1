# SPDX-License-Identifier: Apache-2.0
"""CompareDevices on a real server: the methods that it assumes are those that devices use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_client import Client
from tests.server_process import Server

NOISE = {"gate_errors": [{"gates": ["cx"], "channel": {"amplitude_damping": 0.02}}]}
PAULI = {"gate_errors": [{"gates": ["cx"], "channel": {"depolarizing": 0.02}}]}
WAIT = 180.0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target, timeout=WAIT) as made:
        yield made


def chain(qubits: int, gate: str = "s") -> str:
    gates = "".join(f"cx q[{k}],q[{k + 1}];{gate} q[{k}];" for k in range(qubits - 1))
    head = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[{qubits}]; h q[0];'
    return f"{head} {gates} measure q -> c;"


@pytest.mark.parametrize(
    ("text", "noise", "devices"),
    [
        (chain(3), None, ("IBM/aer_simulator", "STIM/stim")),
        (chain(16, "t"), None, ("IBM/aer_simulator", "GOOGLE/cirq_simulator")),
        (chain(40), None, ("IBM/aer_simulator", "STIM/stim")),
        (chain(4, "t"), NOISE, ("IBM/aer_simulator", "GOOGLE/cirq_density_matrix")),
        (chain(12, "t"), NOISE, ("IBM/aer_simulator",)),
        (chain(40), PAULI, ("IBM/aer_simulator", "STIM/stim")),
    ],
    ids=["small", "gates", "wide", "noise", "trajectories", "Pauli noise"],
)
def test_assumed_methods_are_those_of_results(
    client: Client, text: str, noise: dict[str, object] | None, devices: tuple[str, ...]
) -> None:
    fits = {fit.device: fit for fit in client.compare_devices(text, 100, noise_model=noise)}
    for device in devices:
        result = client.run(text, device, 100, noise_model=noise).result(timeout=WAIT)
        assert fits[device].supported
        assert fits[device].method == result.meta_data["method"]
        assert result.meta_data["operations"] > 0
