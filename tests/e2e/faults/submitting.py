# SPDX-License-Identifier: Apache-2.0
"""Jobs to submit while processes are killed, and the calls that submit, watch and cancel them."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator

import grpc

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.benchmarks.programs import BELL, layered

SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
CANCELLED = JobState.JOB_STATE_CANCELLED
FAILED = JobState.JOB_STATE_FAILED
RUNNING = JobState.JOB_STATE_RUNNING
SIMULATOR = "IBM/aer_simulator"
_NUMBERS = itertools.count(1)


def circuits(programs: int, qubits: int, depth: int, first: int = 0) -> Deployment:
    """Return this many programs, each a different circuit; without qubits all are Bell circuits.

    No other deployment has equal programs, so that each job has its own deployment.
    """
    deployment = Deployment()
    for k in range(first, first + programs):
        deployment.programs.add(
            quantum_circuit=layered(qubits, depth, seed=k) if qubits else BELL,
            assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
        )
    if programs:
        deployment.programs[0].quantum_circuit += f"// {next(_NUMBERS)}\n"
    return deployment


def a_job(programs: int, qubits: int, depth: int, device: str = SIMULATOR) -> calls.CreateJobRequest:
    """Return a job of this many programs."""
    return calls.CreateJobRequest(job=Job(shots=100), device=device, deployment=circuits(programs, qubits, depth))


def long_job() -> calls.CreateJobRequest:
    """Return about two seconds of work in forty programs: long enough to be killed within it."""
    return a_job(programs=40, qubits=15, depth=8)


def new_uuid(chance: random.Random) -> str:
    """Return a request id that a seed reproduces."""
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def submit(target: str, request: calls.CreateJobRequest) -> int:
    """Queue the job, return its id."""
    with grpc.insecure_channel(target) as channel:
        return JobServiceStub(channel).CreateJob(request, timeout=100, wait_for_ready=True).job.id


def watch(target: str, job_id: int, after: int = 0) -> Iterator[JobEvent]:
    """Yield the job's events without heartbeats, until the stream ends."""
    with grpc.insecure_channel(target) as channel:
        stream = JobServiceStub(channel).WatchJob(
            calls.WatchJobRequest(job_id=job_id, after_sequence=after), timeout=100, wait_for_ready=True
        )
        for reply in stream:
            if reply.event.WhichOneof("event") != "heartbeat":
                yield reply.event


def wait_for(target: str, job_id: int, happened: Callable[[JobEvent], bool]) -> list[JobEvent]:
    """Watch from the start until a condition holds; return the events so far."""
    events: list[JobEvent] = []
    for event in watch(target, job_id):
        events.append(event)
        if happened(event):
            return events
    raise AssertionError(f"never happened: {[e.WhichOneof('event') for e in events]}")


def working(event: JobEvent) -> bool:
    """Return whether the event shows that the worker is in the middle of the job."""
    return event.WhichOneof("event") == "program_run"
