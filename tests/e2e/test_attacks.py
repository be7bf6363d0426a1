# SPDX-License-Identifier: Apache-2.0
"""Clients that exhaust a server's memory and time: their share is bounded, and others are served meanwhile.

Memory bounds are far above the need, and far below the use without any bound.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, GetDeploymentRequest
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from tests.server_process import Server, serving
from tests.watchers.measure import until
from tests.watchers.rude import Rude, message

MIB = 2**20
#: Seconds; only reached when a call hangs.
WAIT = 120.0
INFO = "/qonduit.v1.SystemService/GetServerInfo"


class RegularClient:
    """A client that makes one call after the other during an attack."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.peak = 0
        self.answered = 0
        self.codes: set[str] = set()

    def __enter__(self) -> RegularClient:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_until_served(self, times: int = 20) -> None:
        """Wait until further calls were answered."""
        before = self.answered
        until(lambda: self.answered >= before + times, WAIT)

    def _run(self) -> None:
        with grpc.insecure_channel(self._server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = SystemServiceStub(channel).GetServerInfo
            while not self._stop.is_set():
                try:
                    call(GetServerInfoRequest(), timeout=WAIT)
                    self.codes.add("OK")
                except grpc.RpcError as error:
                    self.codes.add(error.code().name)
                self.answered += 1
                self.peak = max(self.peak, self._server.resident())


@contextmanager
def attacked_server(folder: Path, **settings: str) -> Iterator[tuple[Server, RegularClient]]:
    """A real server, and a client that uses it meanwhile: each of its calls must be answered."""
    with serving(f"sqlite:///{folder / 'q.sqlite3'}", providers="IBM", workers="1", **settings) as server:
        with RegularClient(server) as regular:
            regular.wait_until_served()
            yield server, regular
            regular.wait_until_served()
        assert regular.codes == {"OK"}


def memory_freed(server: Server, most: int) -> Callable[[], bool]:
    """Return whether the server uses no more memory than this."""
    return lambda: server.resident() < most


@pytest.mark.timeout(200)
def test_unread_responses_are_bounded_and_cut_off(tmp_path: Path) -> None:
    """2.9 MB each, 400 times, none of them read: without a bound that is 2.7 GB."""
    with attacked_server(tmp_path, stream_send_timeout_seconds="0.2") as (server, regular):
        before = server.resident()
        with grpc.insecure_channel(server.target) as channel:
            program = QuantumProgram(
                quantum_circuit="x" * 960_000, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
            )
            request = CreateDeploymentRequest(deployment=Deployment(programs=[program] * 3))
            deployment = DeploymentServiceStub(channel).CreateDeployment(request, timeout=WAIT).deployment
        get = message(GetDeploymentRequest(id=deployment.id).SerializeToString())
        with Rude(server.target, window=0) as rude:
            for _ in range(400):
                rude.call("/qonduit.v1.DeploymentService/GetDeployment", get)
            # The server cuts off the first ones, and others take their place.
            rude.until_ended(20, WAIT)
        assert regular.peak < before + 500 * MIB
        until(memory_freed(server, before + 100 * MIB), WAIT)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("connections", [1, 4])
def test_calls_that_are_opened_and_reset_in_a_loop_cost_little(tmp_path: Path, connections: int) -> None:
    """100,000 over each connection: without a bound they are a gigabyte."""
    with attacked_server(tmp_path) as (server, regular), ExitStack() as stack:
        before = server.resident()
        attackers = [stack.enter_context(Rude(server.target)) for _ in range(connections)]
        threads = [threading.Thread(target=attacker.reset, args=(INFO, 100_000)) for attacker in attackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        regular.wait_until_served()
        assert regular.peak < before + 400 * MIB


@pytest.mark.timeout(200)
def test_header_only_calls_delay_no_other_client(tmp_path: Path) -> None:
    """4,000 over four connections: they share slots that other connections do not wait for."""
    with attacked_server(tmp_path) as (server, regular), ExitStack() as stack:
        for _ in range(4):
            rude = stack.enter_context(Rude(server.target))
            for _ in range(1000):
                rude.call(INFO, ends=False)
            rude.settle(WAIT)
        # All of them have arrived; if others were served after them, this would last minutes.
        regular.wait_until_served(300)


@pytest.mark.timeout(200)
def test_requests_that_inflate_a_thousandfold_are_bounded_in_bytes(tmp_path: Path) -> None:
    """15 KB become 15 MiB, 400 times: without a bound they were gigabytes, and were not freed."""
    request = CreateJobRequest()
    request.deployment.programs.add(quantum_circuit="x" * 15 * MIB)
    bomb = message(gzip.compress(request.SerializeToString()), compressed=True)
    assert len(bomb) < 20_000
    with attacked_server(tmp_path) as (server, regular), ExitStack() as stack:
        before = server.resident()
        attackers = [stack.enter_context(Rude(server.target, window=65_535)) for _ in range(4)]
        for rude in attackers:
            for _ in range(3):
                rude.call("/qonduit.v1.JobService/CreateJob", bomb, gzip=True)
        for _ in range(97):
            for rude in attackers:
                rude.call("/qonduit.v1.JobService/CreateJob", bomb, gzip=True)
        for rude in attackers:
            rude.until_ended(100, WAIT)
        assert regular.peak < before + 600 * MIB
        until(memory_freed(server, before + 100 * MIB), WAIT)


@pytest.mark.timeout(200)
def test_a_compressed_request_is_served_and_one_that_becomes_too_large_is_refused(tmp_path: Path) -> None:
    """80 KB that become 80 MiB are refused before they are inflated."""
    with attacked_server(tmp_path) as (server, regular), grpc.insecure_channel(server.target) as channel:
        before = server.resident()
        deploy = DeploymentServiceStub(channel).CreateDeployment
        request = CreateDeploymentRequest()
        request.deployment.programs.add(
            quantum_circuit="x" * 500_000, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        )
        made = deploy(request, compression=grpc.Compression.Gzip, timeout=WAIT).deployment
        assert made.programs[0].quantum_circuit == "x" * 500_000
        request.deployment.programs[0].quantum_circuit = "x" * 80 * MIB
        packed = channel.unary_unary("/qonduit.v1.DeploymentService/CreateDeployment")
        with pytest.raises(grpc.RpcError) as raised:
            packed(request.SerializeToString(), compression=grpc.Compression.Gzip, timeout=WAIT)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "max_request_bytes" in str(raised.value.details())
        assert regular.peak < before + 50 * MIB
