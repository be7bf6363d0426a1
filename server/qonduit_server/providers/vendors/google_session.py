# SPDX-License-Identifier: Apache-2.0
"""The calls of Quantum Engine, with Google's client: one request each, and an id of ours for each program and job."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cirq_google
import duet
import numpy as np
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.cloud.quantum_v1alpha1.services.quantum_engine_service.transports import (
    QuantumEngineServiceGrpcAsyncIOTransport as Transport,
)
from cirq_google.engine.asyncio_executor import AsyncioExecutor
from cirq_google.engine.engine_client import EngineClient, EngineException
from google.api_core import exceptions, grpc_helpers
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]

from qonduit.execution.v1.vendor_pb2 import NativeCircuit, Submission, VendorJob, VendorJobState
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import RunError
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    Fetched,
    NotSent,
    VendorBusy,
    VendorError,
    vendor_outcome,
)
from qonduit_server.providers.shapes.measured_errors import MeasuredErrors
from qonduit_server.providers.shapes.processor_compiler import ProcessorCompiler
from qonduit_server.providers.shapes.processor_programs import counts_of, from_text
from qonduit_server.providers.vendors import google_credential, google_processors

_STATE: Final = quantum.ExecutionStatus.State
_STATES: Final = {
    _STATE.SUCCESS: VendorJobState.VENDOR_JOB_STATE_DONE,
    _STATE.FAILURE: VendorJobState.VENDOR_JOB_STATE_FAILED,
    _STATE.CANCELLED: VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}
_ENDED_BADLY: Final = (_STATES[_STATE.FAILURE], _STATES[_STATE.CANCELLED])
_JOB: Final = re.compile(r"projects/([^/]+)/programs/([^/]+)/jobs/([^/]+)")
_RESULTS: Final = ("cirq.google.api.v2.Result", "cirq.api.google.v2.Result")
#: The time to connect: a call after it was not sent.
_CONNECT_SECONDS: Final = 20.0
#: The variable with the file of the authorities. gRPC itself reads it once, at the first connection of a process.
_ROOTS: Final = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"
_tls: Final[Any] = grpc_helpers.grpc  # type: ignore[attr-defined]
#: A processor and its calibration are read again after this time.
_TARGET_SECONDS: Final = 600.0


class GoogleSession:
    """The calls with one credential; see `VendorSession`.

    Args:
        credential: see `google_credential`.
        endpoint: host and port of the service; empty: Google's.
    """

    def __init__(self, credential: str, endpoint: str = "") -> None:
        self._project, own = google_credential.read(credential)
        options = {"api_endpoint": endpoint} if endpoint else {}
        # A delay of 0 makes the client raise an error instead of repeating the request.
        self._client = EngineClient(
            {"credentials": own, "transport": _transport, "client_options": options},
            verbose=False,
            max_retry_delay_seconds=0,
        )
        self._targets: dict[str, tuple[ProcessorCompiler, float]] = {}

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Create a program and its job, both with an id of ours; see `VendorSession`."""
        (circuit,) = submission.circuits
        program = from_text(circuit.text, _clbits(circuit))
        with self._calling():
            compiler = self._compiler(submission.device)
            try:
                if program.qubits > (width := len(compiler.numbers)):
                    raise CallRefused(f"{submission.device} has {width} qubits, got {program.qubits}", code="TOO_WIDE")
                native = compiler.compile(program, int(MessageToDict(circuit.layout)["optimization_level"]))
                code = _packed(cirq_google.CIRCUIT_SERIALIZER.serialize(_untagged(native.circuit)))
            except (RunError, ValueError) as error:
                raise CallRefused(f"the program cannot be compiled for {submission.device}: {error}") from error
            own = f"qonduit-{token}"
            try:
                self._client.create_program(self._project, own, code)
            except EngineException as error:
                # From an earlier submission with this token. Its measurements are the same.
                if not isinstance(error.__cause__, exceptions.AlreadyExists):
                    raise
            context = _packed(v2.run_context_to_proto(None, submission.shots))
            processor = google_processors.processor_id(submission.device)
            try:
                _, job = self._client.create_job(self._project, own, own, processor, context)
            except EngineException as error:
                if not isinstance(error.__cause__, exceptions.AlreadyExists):
                    raise
                job = self._client.get_job(self._project, own, own, False)
        return _found(job)

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return nothing: ids are the client's; see `VendorSession`."""
        return None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Read the states of jobs at once; see `VendorSession`."""
        with self._calling():
            found: list[VendorJob | EngineException] = duet.run(duet.pmap_async, self._look, vendor_ids)
            denied = [each for each in found if isinstance(each, EngineException)]
            if denied and len(denied) == len(found):
                raise denied[0]
        # A job of another project, which was adopted by a wrong id, does not stop the polls of the others.
        return [
            _missing(name) if isinstance(each, EngineException) else each
            for name, each in zip(vendor_ids, found, strict=True)
        ]

    async def _look(self, vendor_id: str) -> VendorJob | EngineException:
        """Return the state of a job; the error if the account has no access to it."""
        place = _JOB.fullmatch(vendor_id)
        if place is None:
            return _missing(vendor_id)
        try:
            return _found(await self._client.get_job_async(*place.groups(), return_run_context=False))
        except EngineException as error:
            if isinstance(error.__cause__, exceptions.NotFound):
                return _missing(vendor_id)
            if isinstance(error.__cause__, exceptions.PermissionDenied):
                return error
            raise

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Read the results of a job; see `VendorSession`."""
        place = _place(vendor_id)
        with self._calling():
            job = self._client.get_job(*place, False)
            found = self._client.get_job_results(*place)
        raw: bytes = quantum.QuantumResult.serialize(found)
        (circuit,) = submission.circuits
        try:
            counts = _counts(found, submission.shots, _clbits(circuit))
        except (ValueError, KeyError):
            # Without an outcome, the server reads again, and fails at last with this response on record.
            return Fetched([], raw)
        status = job.execution_status
        facts = {
            "sdk": "cirq-google",
            "sdk_version": cirq_google.__version__,
            "processor": status.processor_name.rpartition("/")[2],
            "calibration_id": status.calibration_name.rpartition("/")[2],
        }
        return Fetched([vendor_outcome(counts, **{name: value for name, value in facts.items() if value})], raw)

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a job that has not ended; see `VendorSession`."""
        place = _place(vendor_id)
        with self._calling():
            before = _found(self._client.get_job(*place, False))
            if before.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
                self._client.cancel_job(*place)
        return before

    def devices(self) -> ProviderDescription:
        """Return the processors of the project, with their schedules and calibrations; see `VendorSession`."""
        described = ProviderDescription()
        with self._calling():
            for found in self._client.list_processors(self._project):
                shape = google_processors.shape(found)
                name = google_processors.processor_id(shape.name)
                slots = self._client.list_time_slots(self._project, name, f"start_time >= {int(time.time())}")
                described.devices.append(google_processors.device(found, shape, slots))
                current = self._client.get_current_calibration(self._project, name)
                described.calibrations.add(device=shape.name, calibration=google_processors.calibration(shape, current))
        return described

    def _compiler(self, device: str) -> ProcessorCompiler:
        """Return a compiler for a device as it is now, or was some minutes ago."""
        known = self._targets.get(device)
        if known is not None and time.monotonic() - known[1] < _TARGET_SECONDS:
            return known[0]
        name = google_processors.processor_id(device)
        shape = google_processors.shape(self._client.get_processor(self._project, name))
        current = self._client.get_current_calibration(self._project, name)
        errors = MeasuredErrors(google_processors.calibration(shape, current))
        self._targets[device] = ProcessorCompiler(shape, errors), time.monotonic()
        return self._targets[device][0]

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Connect before calls, and translate their errors."""
        try:
            channel = self._client.grpc_client.transport.grpc_channel
            AsyncioExecutor.instance().submit(_connected, channel).result()
        except TimeoutError as error:
            raise NotSent(f"{self._client.grpc_client.transport.host} cannot be reached") from error
        try:
            yield
        except EngineException as error:
            raise _translated(error) from error
        except TimeoutError as error:
            # The client has no code for statuses that it would repeat otherwise: INTERNAL, UNAVAILABLE and UNKNOWN.
            raise VendorError(str(error).removeprefix("Reached max retry attempts for error: ")) from error


def _transport(**arguments: Any) -> Transport:
    """Return Google's transport, without the retries of gRPC."""

    def channel(host: str, *, options: list[Any], **others: Any) -> Any:
        if not others.get("ssl_credentials") and (roots := os.environ.get(_ROOTS)):
            others["ssl_credentials"] = _tls.ssl_channel_credentials(Path(roots).read_bytes())
        return Transport.create_channel(host, options=[*options, ("grpc.enable_retries", 0)], **others)

    return Transport(channel=channel, **arguments)


async def _connected(channel: Any) -> None:
    """Wait until a channel is connected. Raises TimeoutError."""
    await asyncio.wait_for(channel.channel_ready(), _CONNECT_SECONDS)


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _untagged(circuit: Any) -> Any:
    """Return a circuit without the compiler's marks."""
    return circuit.map_operations(lambda operation: operation.untagged)


def _place(vendor_id: str) -> tuple[str, str, str]:
    place = _JOB.fullmatch(vendor_id)
    if place is None:
        raise CallRefused(f"{vendor_id} is no job of Quantum Engine: projects/PROJECT/programs/PROGRAM/jobs/JOB")
    return place[1], place[2], place[3]


def _missing(vendor_id: str) -> VendorJob:
    return VendorJob(vendor_id=vendor_id, state=VendorJobState.VENDOR_JOB_STATE_MISSING, word="missing")


def _found(job: quantum.QuantumJob) -> VendorJob:
    """Return the state of a job."""
    status = job.execution_status
    state = _STATES.get(status.state, VendorJobState.VENDOR_JOB_STATE_ACTIVE)
    found = VendorJob(vendor_id=job.name, state=state, word=getattr(status.state, "name", str(status.state)))
    if status.timing.started_time:
        found.started_at.FromDatetime(status.timing.started_time)
        # Google bills for the time of the processor.
        found.may_be_charged = state in _ENDED_BADLY
    if status.failure:
        code = status.failure.error_code
        found.error_code, found.error = getattr(code, "name", str(code)), status.failure.error_message
    return found


def _clbits(circuit: NativeCircuit) -> list[int | None]:
    """Return the classical bit of each measurement, as `GoogleEngine.compile` wrote them."""
    return [None if clbit < 0 else int(clbit) for clbit in MessageToDict(circuit.layout)["clbits"]]


def _counts(found: quantum.QuantumResult, shots: int, clbits: Sequence[int | None]) -> dict[int, int]:
    """Return the counts of a result by classical bits. Raises ValueError or KeyError: it is not that of the program."""
    if found.result.type_url.rpartition("/")[2] not in _RESULTS:
        raise ValueError(f"unknown results: {found.result.type_url}")
    message = v2.result_pb2.Result.FromString(found.result.value)
    ((result,),) = v2.results_from_proto(message)
    measured = {key: np.asarray(rows, dtype=np.bool_) for key, rows in result.records.items()}
    if any(rows.shape != (shots, 1, 1) for rows in measured.values()) or len(measured) != len(clbits):
        raise ValueError("other shots or measurements than those of the program")
    return counts_of({key: rows[:, :, 0] for key, rows in measured.items()}, clbits)


def _translated(error: EngineException) -> VendorError:
    """Return the error of the server for a refused call, and for one of which it is not known what it changed."""
    cause, text = error.__cause__, str(error)
    code = cause.grpc_status_code.name if getattr(cause, "grpc_status_code", None) else ""
    match cause:
        case exceptions.Unauthenticated() | exceptions.PermissionDenied():
            return CredentialRefused(text, code=code)
        case exceptions.ResourceExhausted():
            return VendorBusy(text, code=code, retry_after=_retry_after(cause))
        case exceptions.Aborted() | exceptions.Cancelled():
            return VendorError(text, code=code)
        case exceptions.ClientError() | exceptions.MethodNotImplemented():
            return CallRefused(text, code=code)
    return VendorError(text, code=code)


def _retry_after(cause: exceptions.GoogleAPICallError) -> float:
    """Return the seconds for which Google asks to wait; 0 if it does not ask."""
    delays = [each.retry_delay for each in cause.details if isinstance(each, RetryInfo)]
    return max((delay.seconds + delay.nanos * 1e-9 for delay in delays), default=0.0)
