# SPDX-License-Identifier: Apache-2.0
"""A server in an environment without SDKs: one worker machine reads, compiles and runs all programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2 import TranslateProgramRequest
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import Client, InvalidRequest
from tests.benchmarks.programs import BELL
from tests.contract.rpc_fixture import refused
from tests.python_environments import with_extra
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import Server, serving, working

ROOT = Path(__file__).resolve().parents[2]
QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
#: The bound of a call without a machine, and what a busy machine adds.
BOUND, SLOW = 20.0, 60.0


@pytest.fixture(scope="module")
def server(rabbitmq: RabbitmqBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("core")
    python = with_extra(folder / "environment", ROOT, "celery")
    database = f"sqlite:///{folder / 'q.sqlite3'}"
    settings = {"executor": "celery", "broker": rabbitmq.url(), "providers": "IBM"}
    with serving(database, command=(str(python), "-m", "qonduit_server", "serve"), **settings) as started:
        yield started


def test_without_a_machine_calls_are_refused_in_time_and_with_the_reason(server: Server) -> None:
    program = QuantumProgram(quantum_circuit=BELL, assembler_language=QASM2)
    began = time.monotonic()
    with grpc.insecure_channel(server.target) as channel:
        translation = TranslateProgramRequest(program=program, target_language="ASSEMBLER_LANGUAGE_QASM3")
        automatic = CreateJobRequest(job=Job(shots=10), device="AUTO", deployment=Deployment(programs=[program]))
        for call in (
            lambda: ProgramServiceStub(channel).TranslateProgram(translation, timeout=BOUND + SLOW),
            lambda: JobServiceStub(channel).CreateJob(automatic, timeout=BOUND + SLOW),
        ):
            code, details = refused(call)
            assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
            assert details["RetryInfo"].retry_delay.seconds >= 1
    assert time.monotonic() - began < 2 * (BOUND + SLOW)
    assert server.family() == [server.process.pid]


def test_a_machine_reads_and_compiles_the_programs_and_describes_the_devices(
    server: Server, rabbitmq: RabbitmqBroker
) -> None:
    with Client(server.target) as client, working(rabbitmq.url(), "IBM") as machine:
        deadline = time.monotonic() + SLOW
        while "IBM/aer_simulator" not in client.named_devices("available = true"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "OPENQASM 3" in str(client.translate(BELL, to="QASM3").source)
        (compiled,) = client.check(BELL, device="IBM/aer_simulator").compiled
        assert (compiled.num_qubits, compiled.two_qubit_gates) == (2, 1)
        with pytest.raises(InvalidRequest, match="not_a_gate"):
            client.check(BELL.replace("cx q", "not_a_gate q"), device="IBM/aer_simulator")
        shaped = next(name for name in client.named_devices() if name.startswith("IBM/fake_"))
        assert client.calibration(shaped).qubits
        job = client.run(BELL, device="AUTO", shots=100)
        assert sum(job.result().counts.values()) == 100
        chosen = job.job()
        assert chosen.device == "IBM/aer_simulator"
        assert "statevector" in chosen.device_choice.method or "stabilizer" in chosen.device_choice.method
        assert {each.device for each in client.compare_devices(BELL) if each.auto_eligible} >= {"IBM/aer_simulator"}
        assert {worker.host for worker in client.workers()} != {""}
        assert server.family() == [server.process.pid]
        machine.kill()
        machine.wait()
