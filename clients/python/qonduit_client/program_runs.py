# SPDX-License-Identifier: Apache-2.0
"""Runs of server programs: their request, and their values as a stream and at the end. For both clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from qonduit.v1 import job_service_pb2 as jobs_rpc
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result as ResultMessage
from qonduit_client import requests
from qonduit_client.handle import succeeded
from qonduit_client.job import JobHandle
from qonduit_client.job_credential import JobCredential, set_credential
from qonduit_client.primitives import DEFAULT_DEVICE
from qonduit_client.program_values import decode, encode
from qonduit_client.requests import Request, new_request_id
from qonduit_client.resumable_stream import EventStream
from qonduit_client.schedule import Schedule, set_schedule
from qonduit_client.transport import Transport


class RunOptions(NamedTuple):
    """The options of a run beside program, device and inputs; see `ProgramRuns.run`."""

    name: str | None = None
    labels: Mapping[str, str] | None = None
    options: Mapping[str, Any] | None = None
    schedule: Schedule | None = None
    credential: JobCredential = ""
    project: str | None = None
    request_id: str | None = None


def run(
    program: str | int | Path,
    device: str | Device,
    inputs: Mapping[str, Any] | None,
    options: RunOptions,
) -> Request[jobs_rpc.CreateJobResponse]:
    """Return the request that runs a server program.

    Args:
        program: "NAME" or "NAME@VERSION"; the id of a deployment; or the `Path` of a Python file, which is sent.
        device: "PROVIDER/device", or one of `client.devices()`.
        inputs: values by name.
        options: the rest.

    Raises:
        TypeError: an input cannot be encoded.
        OSError: the file cannot be read.
    """
    job = Job(type=JobType.JOB_TYPE_IBM_RUNNER, name=options.name, labels=options.labels, project=options.project or "")
    if inputs:
        ParseDict(encode(inputs), job.inputs)
    if options.schedule is not None:
        set_schedule(job, options.schedule)
    request = jobs_rpc.CreateJobRequest(job=job, request_id=options.request_id or new_request_id())
    set_credential(request, options.credential)
    if isinstance(device, Device):
        request.job.executed_on_id = device.id
    else:
        request.device = device
    if isinstance(program, int):
        request.job.deployment_id = program
    elif isinstance(program, Path):
        source = QuantumProgram(
            quantum_circuit=program.read_text(encoding="utf-8"),
            assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON,
            python_file_path=program.name,
        )
        if options.options:
            source.python_file_options.CopyFrom(ParseDict(dict(options.options), Struct()))
        request.deployment.programs.append(source)
    else:
        request.program = program
    created = request.job if options.project is None else None
    return Request("JobService/CreateJob", request, jobs_rpc.CreateJobResponse, created=created)


class InterimResult(NamedTuple):
    """A value that a program published.

    Attributes:
        value: the value.
        final: whether the program published it as its result.
        sequence: the sequence of its event.
    """

    value: Any
    final: bool
    sequence: int


def published(event: JobEvent) -> InterimResult | None:
    """Return what a program published with an event; None for other events."""
    if not event.HasField("interim_result"):
        return None
    value = decode(MessageToDict(event.interim_result.value))
    return InterimResult(value, event.interim_result.final, event.sequence)


def output_of(message: ResultMessage, content: bytes | None) -> Any:
    """Return what a program returned.

    Args:
        message: its result.
        content: the bytes of the buffer, if the result has one.
    """
    if content is not None:
        return decode(json.loads(content))
    return decode(MessageToDict(message.program_output.value))


class ProgramRun(JobHandle):
    """A run of a server program: a job with published values and an output."""

    def interim_results(self, *, after_sequence: int = 0, timeout: float | None = None) -> Iterator[InterimResult]:
        """Yield the values that the program has published, then those that follow, until it has ended.

        A broken connection resumes without a loss.

        Args:
            after_sequence: skip the values of events up to this one.
            timeout: seconds until `TimedOut`; by default unlimited.
        """
        stream = EventStream(self._transport, self.id, after_sequence=after_sequence, timeout=timeout)
        with closing(self._transport.resumed(stream)) as events:
            for event in events:
                self.receive(event)
                if (found := published(event)) is not None:
                    yield found

    def output(self, timeout: float | None = None) -> Any:
        """Wait for the program and return its output: what it returned, saved, or published as final.

        Raises:
            JobFailed: the program failed; the message contains the traceback of its own frames.
            JobCancelled: the job was cancelled.
            TimedOut: the program has not ended in time; it continues.
        """
        succeeded(self.wait(timeout, final_results=True))
        (result,) = self.stored_results()
        content = bytes(result.buffer.checked_bytes()) if result.buffer is not None else None
        return output_of(result.message, content)

    def children(self) -> Iterator[Job]:
        """Yield the jobs that the program has submitted, newest first."""
        yield from self._transport.items(requests.jobs(f"parent_job_id = {self.id}", None, None, "", None))


class ProgramRuns:
    """The base class of `client.programs` with the calls that run server programs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def run(
        self,
        program: str | int | Path,
        device: str | Device = DEFAULT_DEVICE,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        schedule: Schedule | None = None,
        credential: JobCredential = "",
        project: str | None = None,
        request_id: str | None = None,
    ) -> ProgramRun:
        """Queue a run of a server program and return immediately.

        Args:
            program: "NAME" for the latest version of an uploaded program, or "NAME@VERSION"; the id of its deployment;
                or the `Path` of a Python file, which runs once and is not uploaded.
            device: the device that the program gets as `backend`: "PROVIDER/device", or one of `client.devices()`.
            inputs: the inputs of the program by name: numbers, texts, lists, dictionaries, NumPy arrays.
            name: of the job.
            labels: of the job.
            options: for a file: "environment", "entry_point", "log_level" and "limits".
            schedule: as of `Client.run`.
            credential: as of `Client.run`; the jobs of the program use it too.
            project: the project that owns the job and those that the program submits.
            request_id: makes a retry safe.

        Raises:
            NotFound: there is no such program.
            InvalidRequest: the inputs do not match the schema of the program.
            QonduitError: the server rejected the job otherwise, or is unreachable.
        """
        chosen = RunOptions(name, labels, options, schedule, credential, project, request_id)
        request = run(program, device, inputs, chosen)
        answer = self._transport.call(request)
        return ProgramRun(
            self._transport,
            answer.job.id,
            known=answer.job,
            request_id=request.message.request_id,
            deduplicated=answer.deduplicated,
        )

    def job(self, job_id: int) -> ProgramRun:
        """Return a handle on a run, without a call."""
        return ProgramRun(self._transport, job_id)
