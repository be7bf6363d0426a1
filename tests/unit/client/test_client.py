# SPDX-License-Identifier: Apache-2.0
"""Submits are retried safely, other writes are not retried, lists are read page by page."""

from __future__ import annotations

import uuid

import grpc
import numpy as np
import pytest

from qonduit.v1.device_pb2 import Device
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_client.addresses import with_port
from qonduit_client.client import Client
from qonduit_client.errors import InvalidRequest, LimitExceeded, QonduitError, ServerUnavailable, TimedOut
from tests.both_clients import Connect
from tests.unit.client.peer import AWAY, BELL, JOB, Peer, Refusal

Code = grpc.StatusCode


def test_submit_sends_all_options(peer: Peer, client: Client) -> None:
    job = client.run([BELL, "OPENQASM 3;"], "AWS/local_simulator", 50, seed=0, name="two")
    request = peer.created[0]
    assert job.id == JOB
    assert (request.device, request.job.shots, request.job.name) == ("AWS/local_simulator", 50, "two")
    assert request.job.HasField("seed")
    assert [program.assembler_language for program in request.deployment.programs] == [1, 2]
    assert str(uuid.UUID(request.request_id)) == request.request_id == job.request_id


def test_submit_sends_how_to_simulate_and_the_noise(peer: Peer, client: Client) -> None:
    gate = {"gates": ["cx"], "channel": {"depolarizing": 0.01}}
    client.run(BELL, simulation={"method": "density_matrix"}, noise_model={"gate_errors": [gate]})
    client.run(BELL, noise_model='{"readoutErrors": [{"prob_1_given_0": 0.1}]}')
    client.run(BELL, noise_model={"errors": [], "x90_gates": []})
    client.check(BELL, simulation=SimulationOptions(allow_approximate=True))
    first, second, aer, checked = (request.job for request in peer.created)
    assert first.simulation == SimulationOptions(method="density_matrix")
    assert first.noise_model.gate_errors[0].channel.depolarizing == 0.01
    assert not second.HasField("simulation")
    assert second.noise_model.readout_errors[0].prob_1_given_0 == 0.1
    assert aer.noise_model.aer_json == '{"errors":[],"x90_gates":[]}'
    assert checked.simulation.allow_approximate
    for argument in ({"simulation": {"methods": "x"}}, {"noise_model": "{"}, {"noise_model": {"gates": []}}):
        with pytest.raises(ValueError, match=next(iter(argument))):
            client.run(BELL, **argument)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="noise_model must be"):
        client.run(BELL, noise_model=3)


def test_submit_is_repeated_with_the_same_request_id(peer: Peer, client: Client) -> None:
    peer.refusals.extend([AWAY, Refusal(Code.UNAVAILABLE)])
    job = client.run(BELL)
    assert len(peer.created) == 3
    assert len({request.request_id for request in peer.created}) == 1
    assert job.deduplicated


def test_submits_differ_in_their_request_ids(peer: Peer, client: Client) -> None:
    client.run(BELL)
    client.run(BELL)
    given = client.run(BELL, request_id="6a2a3b1e-0f0c-4d3a-9a55-0d8f3f0f3c11")
    assert len({request.request_id for request in peer.created}) == 3
    assert given.request_id == "6a2a3b1e-0f0c-4d3a-9a55-0d8f3f0f3c11"


def test_refusal_is_not_repeated(peer: Peer, client: Client) -> None:
    peer.refusals.append(Refusal(Code.RESOURCE_EXHAUSTED, "queue full", "LIMIT_EXCEEDED", retry_after=0.001))
    with pytest.raises(LimitExceeded) as caught:
        client.run(BELL)
    assert caught.value.retry_after == 0.001
    assert len(peer.created) == 1


def test_read_is_repeated_and_delete_is_not(peer: Peer, client: Client) -> None:
    peer.refusals.append(AWAY)
    assert client.job(JOB).job().id == JOB
    peer.refusals.append(AWAY)
    with pytest.raises(ServerUnavailable):
        client.delete_job(JOB)
    client.delete_job(JOB)


def test_call_has_a_deadline(connect: Connect) -> None:
    # A socket that listens and never answers: the connection opens, the call gets no response.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with connect(target, timeout=0.4) as client, pytest.raises((TimedOut, ServerUnavailable)):
            client.info()


def test_lists_are_read_lazily(peer: Peer, client: Client) -> None:
    peer.page = 5
    assert len(list(client.jobs())) == 5
    assert len(list(client.jobs(limit=3))) == 3
    assert next(iter(client.jobs())).id == JOB
    assert [device.name for device in client.devices()] == ["aer_simulator"]
    assert [provider.name for provider in client.providers()] == ["IBM"]


def test_check_creates_no_job(peer: Peer, client: Client) -> None:
    client.check(BELL)
    assert peer.created[0].validate_only
    peer.refusals.append(Refusal(Code.INVALID_ARGUMENT, "bad"))
    with pytest.raises(InvalidRequest):
        client.check(BELL)


def test_either_program_or_deployment(peer: Peer, client: Client) -> None:
    client.run(deployment_id=3)
    assert peer.created[0].job.deployment_id == 3
    assert not peer.created[0].HasField("deployment")
    with pytest.raises(ValueError, match="either"):
        client.run()
    with pytest.raises(ValueError, match="either"):
        client.run(BELL, deployment_id=3)


@pytest.mark.parametrize(
    ("target", "full"),
    [
        ("localhost", "localhost:50051"),
        ("example.org:443", "example.org:443"),
        ("[::1]:50052", "[::1]:50052"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("unix:/run/qonduit.sock", "unix:/run/qonduit.sock"),
        ("dns:///example.org:443", "dns:///example.org:443"),
    ],
)
def test_targets(target: str, full: str) -> None:
    assert with_port(target) == full


def test_invalid_arguments_name_the_valid_ones(peer: Peer, client: Client) -> None:
    with pytest.raises(TypeError, match="PROVIDER/device"):
        client.run(BELL, 1000)  # type: ignore[arg-type]
    for shots in ("1000", 0.5, None):
        with pytest.raises(TypeError, match="shots must be an integer"):
            client.run(BELL, "IBM/aer_simulator", shots)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one program"):
        client.translate([BELL, BELL], to="QASM3")
    with pytest.raises(ValueError, match=r"HOST:PORT.*tls=True"):
        Client("https://qonduit.example")
    assert peer.created == []
    client.run(BELL, Device(id=4), 1e3, seed=np.int64(3))  # type: ignore[arg-type]
    (request,) = peer.created
    assert (request.job.executed_on_id, request.device) == (4, "")
    assert (request.job.shots, request.job.seed) == (1000, 3)


def test_a_client_in_a_forked_process_raises_an_error(
    peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.job(JOB).state() == "SUCCEEDED"
    # Forking a process with gRPC's threads is unsafe; the test changes the process id instead, as a fork does.
    monkeypatch.setattr("os.getpid", lambda: 1)
    for ask in (lambda: client.run(BELL), lambda: list(client.job(JOB).events())):
        with pytest.raises(QonduitError, match="forked"):
            ask()
