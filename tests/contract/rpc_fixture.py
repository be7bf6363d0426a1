# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server over a real SQLite store, in this process; rpc tests act as the dispatcher."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from qonduit.execution.v1.task_pb2 import ProgramSucceeded, Task, TaskEvent, TaskFinished, TaskProgress
from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1 import (
    credential_service_pb2_grpc,
    deployment_service_pb2_grpc,
    device_service_pb2_grpc,
    job_service_pb2_grpc,
    provider_service_pb2_grpc,
    result_service_pb2_grpc,
    system_service_pb2_grpc,
)
from qonduit.v1.calibration_pb2 import CoupledQubits, DeviceCalibration, QubitCalibration
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.event_pb2 import JobEvent, LogLevel, LogLine
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import RunJobRequest
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider, ProviderAssemblerLanguage
from qonduit.v1.result_pb2 import CountsAndProbabilities, Result, ResultType
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.rpc import server as rpc_server
from qonduit_server.rpc.auth.principal import Authenticate, Metadata, Principal, ReadPeer
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import queue
from tests.sqlite_template import new_sqlite

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
OWNER = "tests"
WAIT = 100.0
#: The providers whose jobs a fixture claims: those of `descriptions`, and the built-in ones.
_PROVIDERS = ("IBM", "OTHER", "AWS", "GOOGLE", "STIM")
#: The metadata that `by_name` reads.
CALLER_KEY = "x-caller"
#: The calibration of IBM/few_shots.
CALIBRATION = DeviceCalibration(
    qubits=[QubitCalibration(qubit=0, t1=1e-4, prob_1_given_0=0.0), QubitCalibration(qubit=1)],
    coupling_map=[CoupledQubits(first=0, second=1)],
)


def descriptions() -> list[ProviderDescription]:
    """Return descriptions of two providers: a simulator, a device that samples, and one that is unavailable."""

    def device(name: str, *types: JobType, available: bool = True, max_shots: int = 100_000) -> Device:
        return Device(
            name=name,
            num_qubits=20,
            is_simulator=True,
            is_local=True,
            available=available,
            status_message="" if available else "on holiday",
            max_shots=max_shots,
            capabilities=DeviceCapabilities(job_types=types),
        )

    runner, sampler = JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER
    return [
        ProviderDescription(
            provider=Provider(
                name="IBM",
                supported_languages=[
                    ProviderAssemblerLanguage(supported_language=QASM2),
                    ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT),
                ],
            ),
            devices=[
                device("aer_simulator", runner),
                device("few_shots", runner, max_shots=10),
                device("away", runner, available=False),
            ],
            calibrations=[CalibratedDevice(device="few_shots", calibration=CALIBRATION)],
        ),
        ProviderDescription(
            provider=Provider(
                name="OTHER",
                with_token=True,
                supported_languages=[ProviderAssemblerLanguage(supported_language=QASM2)],
            ),
            devices=[device("sampler", sampler)],
        ),
    ]


class RpcFixture:
    """A gRPC server, its store, a client, and methods that act as the dispatcher."""

    def __init__(self, db: Database, server: rpc_server.RpcServer, channel: grpc.Channel) -> None:
        self.db = db
        self.server = server
        self.target = f"127.0.0.1:{server.port}"
        self.channel = channel
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.credentials = credential_service_pb2_grpc.CredentialServiceStub(channel)
        self.deployments = deployment_service_pb2_grpc.DeploymentServiceStub(channel)
        self.devices = device_service_pb2_grpc.DeviceServiceStub(channel)
        self.providers = provider_service_pb2_grpc.ProviderServiceStub(channel)
        self.results = result_service_pb2_grpc.ResultServiceStub(channel)
        self.system = system_service_pb2_grpc.SystemServiceStub(channel)
        self._tasks: dict[int, Task] = {}

    def call(self, method: MethodDescriptor, request: Message, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        """Call any method; return the response, or the first one of a stream."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        parse = message_factory.GetMessageClass(method.output_type).FromString
        data = request.SerializeToString()
        if not method.server_streaming:
            return self.channel.unary_unary(path, response_deserializer=parse)(data, metadata=metadata, timeout=WAIT)
        stream = self.channel.unary_stream(path, response_deserializer=parse)(data, metadata=metadata, timeout=WAIT)
        try:
            return next(stream)
        finally:
            stream.cancel()

    def claim(self) -> list[Task]:
        """Lease every queued job."""
        tasks = queue.claim(self.db, OWNER, dict.fromkeys(_PROVIDERS, 1000), timedelta(minutes=5))
        self._tasks.update((task.job_id, task) for task in tasks)
        return tasks

    def record(self, job_id: int, **fields: Any) -> None:
        """Record one event of a claimed job."""
        task = self._tasks[job_id]
        event = TaskEvent(job_id=job_id, attempt=task.attempt, **fields)
        assert not queue.record(self.db, OWNER, [event])

    def log(self, job_id: int, message: str) -> None:
        """Record one log event of a claimed job."""
        self.record(job_id, log=LogLine(level=LogLevel.LOG_LEVEL_INFO, message=message))

    def finish(self, job_id: int) -> None:
        """Run a claimed job to SUCCEEDED in one transaction, as a quick simulation does."""
        task = self._tasks[job_id]
        shots = task.spec.shots
        result = Result(
            result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
            counts_and_probabilities=CountsAndProbabilities(counts={"0x0": shots}, probabilities={"0x0": 1.0}),
            shots=shots,
        )
        events = [
            TaskEvent(
                job_id=job_id,
                attempt=task.attempt,
                program_succeeded=ProgramSucceeded(index=index, result=result),
            )
            for index in range(len(task.programs))
        ]
        events.append(TaskEvent(job_id=job_id, attempt=task.attempt, progress=TaskProgress(progress=1.0)))
        events.append(TaskEvent(job_id=job_id, attempt=task.attempt, finished=TaskFinished()))
        assert not queue.record(self.db, OWNER, events)

    def run(self, job_id: int) -> None:
        """Claim the queued jobs and finish this one."""
        self.claim()
        self.finish(job_id)


def by_name(default: str = "anonymous") -> Authenticate:
    """Return an `authenticate` that reads the principal's name from the metadata, without any proof."""

    def principal(metadata: Metadata, _peer: ReadPeer) -> Principal:
        return Principal(next((str(value) for key, value in metadata if key == CALLER_KEY), default))

    return principal


@contextmanager
def rpc_fixture(
    store: Path | str, *, clock: Callable[[], datetime] = utc_now, keys: KeyRing | None = None, **options: Any
) -> Iterator[RpcFixture]:
    """Open a store (a folder for SQLite, or a URL) and serve it; `options` are fields of RpcOptions."""
    if isinstance(store, str):
        url = store
    else:
        file = store / "qonduit.sqlite3"
        url = f"sqlite:///{file}" if file.exists() else new_sqlite(file)
    db = open_database(url, clock=clock, keys=keys)
    try:
        catalogue.sync(db, descriptions())
        server = rpc_server.serve(db, rpc_server.RpcOptions(**options))
        try:
            with grpc.insecure_channel(
                f"127.0.0.1:{server.port}",
                options=[
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.max_send_message_length", -1),
                    # Flow-control windows keep their initial size; otherwise a stalled reader would buffer megabytes.
                    ("grpc.http2.bdp_probe", 0),
                ],
            ) as channel:
                yield RpcFixture(db, server, channel)
        finally:
            server.stop(2)
    finally:
        db.close()


def bell(shots: int = 100, **fields: Any) -> RunJobRequest:
    """A Bell job on the simulator."""
    request = RunJobRequest(job=Job(shots=shots), **{"device": "IBM/aer_simulator"} | fields)
    if "deployment" not in fields:
        request.deployment.CopyFrom(programs(BELL))
    return request


def programs(*texts: str) -> Deployment:
    """A deployment of OpenQASM 2 programs."""
    return Deployment(programs=[QuantumProgram(quantum_circuit=text, assembler_language=QASM2) for text in texts])


def refused(call: Callable[[], Any]) -> tuple[str, dict[str, Any]]:
    """Make a call that must be refused; return the code's name and the details by their message's name."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return details_of(raised.value)


def details_of(error: Any) -> tuple[str, dict[str, Any]]:
    """Return the code's name and the details of an error, after checking what holds for every error."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    assert len(status.SerializeToString()) + len(error.details().encode()) <= 3 * 1024
    details: dict[str, Any] = {}
    for packed in status.details:
        name = packed.TypeName().rpartition(".")[2]
        message: Message = getattr(error_details_pb2, name)()
        packed.Unpack(message)
        details[name] = message
    assert details["ErrorInfo"].domain == "qonduit"
    assert details["RequestInfo"].request_id
    return error.code().name, details


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread makes a condition true, for a bounded time."""
    deadline = time.monotonic() + WAIT
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        pause.wait(0.002)


def sequences(events: list[JobEvent]) -> list[int]:
    """Return the sequences of the stored events in a stream."""
    return [event.sequence for event in events if event.WhichOneof("event") != "heartbeat"]
