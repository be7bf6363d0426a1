# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server in this process that serves one scripted job and breaks streams on purpose."""

# ruff: noqa: N802 (handlers are named as the RPCs are)

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2
from grpc_status import rpc_status

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import (
    CompareDevicesRequest,
    CompareDevicesResponse,
    DeviceFit,
    GetDeviceCalibrationRequest,
    GetDeviceCalibrationResponse,
    ListDevicesRequest,
    ListDevicesResponse,
)
from qonduit.v1.device_service_pb2_grpc import DeviceServiceServicer, add_DeviceServiceServicer_to_server
from qonduit.v1.event_pb2 import FinalResults, Heartbeat, JobEvent, Progress, ResultReady, StateChange
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, ProgramRun
from qonduit.v1.job_service_pb2_grpc import JobServiceServicer, add_JobServiceServicer_to_server
from qonduit.v1.program_service_pb2 import (
    ListLanguagesRequest,
    ListLanguagesResponse,
    TranslateProgramRequest,
    TranslateProgramResponse,
)
from qonduit.v1.program_service_pb2_grpc import ProgramServiceServicer, add_ProgramServiceServicer_to_server
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider, ProviderAssemblerLanguage
from qonduit.v1.provider_service_pb2 import ListProvidersRequest, ListProvidersResponse
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceServicer, add_ProviderServiceServicer_to_server
from qonduit.v1.result_pb2 import CountsAndProbabilities, Register, Result, ResultType
from qonduit.v1.result_service_pb2 import (
    ListResultsRequest,
    ListResultsResponse,
    ReadBufferRequest,
    ReadBufferResponse,
)
from qonduit.v1.result_service_pb2_grpc import ResultServiceServicer, add_ResultServiceServicer_to_server

JOB = 7
START = 1_700_000_000
QUEUED = JobState.JOB_STATE_QUEUED
RUNNING = JobState.JOB_STATE_RUNNING
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
FAILED = JobState.JOB_STATE_FAILED
CANCELLED = JobState.JOB_STATE_CANCELLED
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'


@dataclass(frozen=True)
class Refusal:
    """A status with details."""

    code: grpc.StatusCode
    message: str = "no"
    reason: str = ""
    retry_after: float | None = None
    further: Sequence[Message] = ()

    def abort(self, context: grpc.ServicerContext) -> NoReturn:
        """Abort the call with it."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        packed: list[Message] = list(self.further)
        if self.reason:
            packed.append(details.ErrorInfo(reason=self.reason, domain="qonduit"))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromMilliseconds(int(self.retry_after * 1000))
            packed.append(details.RetryInfo(retry_delay=delay))
        for detail in packed:
            wrapped = Any()
            wrapped.Pack(detail)
            status.details.append(wrapped)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort returned")


AWAY = Refusal(grpc.StatusCode.UNAVAILABLE, "draining", "DRAINING", retry_after=0.001)


@dataclass(frozen=True)
class Stream:
    """The script of one WatchJob: the number of events to send (None: all), repeated ones first, and how it ends.

    A rejected one begins with the refusal.
    """

    send: int | None = None
    again: int = 0
    refusal: Refusal | None = None
    hang: bool = False
    rejected: bool = False


def job_at(state: JobState, *, sequence: int = 0, progress: float = 0.0, failure: Failure | None = None) -> Job:
    """Return the job in this state."""
    job = Job(
        id=JOB,
        name="bell",
        state=state,
        shots=1000,
        progress=progress,
        executed_on_id=1,
        device="IBM/aer_simulator",
        deployment_id=3,
        created_at=Timestamp(seconds=START),
        last_sequence=sequence,
        failure=failure,
        attempt=1,
    )
    if state in (SUCCEEDED, FAILED, CANCELLED):
        job.finished_at.CopyFrom(Timestamp(seconds=START, nanos=250_000_000))
        run = ProgramRun(program_id=5, index=0, state=state, failure=failure)
        if state == SUCCEEDED:
            run.result_ids.append(11)
        job.program_runs.append(run)
    return job


def history(end: JobState = SUCCEEDED) -> list[JobEvent]:
    """Return the events of a small job with this final state."""
    failure = None
    if end == FAILED:
        failure = Failure(
            category=FailureCategory.FAILURE_CATEGORY_PROGRAM,
            reason="SYNTAX_ERROR",
            message="no gate foo",
            line=4,
            column=1,
        )
    events: list[JobEvent] = [
        JobEvent(created=job_at(QUEUED)),
        JobEvent(state_change=StateChange(from_state=QUEUED, to_state=RUNNING, job=job_at(RUNNING))),
    ]
    if end == SUCCEEDED:
        events += [
            JobEvent(program_run=ProgramRun(program_id=5, index=0, state=SUCCEEDED, result_ids=[11])),
            JobEvent(result_ready=ResultReady(result_id=11, program_id=5)),
            JobEvent(progress=Progress(progress=1.0, message="1 of 1 programs")),
        ]
    last = len(events) + 1
    progress = 1.0 if end == SUCCEEDED else 0.0
    final = job_at(end, sequence=last, progress=progress, failure=failure)
    events.append(JobEvent(state_change=StateChange(from_state=RUNNING, to_state=end, job=final)))
    for index, event in enumerate(events):
        event.job_id = JOB
        event.sequence = index + 1
        event.event_time.CopyFrom(Timestamp(seconds=START, nanos=index * 50_000_000))
    return events


def counted(counts: dict[str, int], *, job_id: int = JOB, result_id: int = 11) -> Result:
    """Return a result with these counts of a register of two bits."""
    shots = sum(counts.values())
    return Result(
        id=result_id,
        job_id=job_id,
        program_id=5,
        result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
        counts_and_probabilities=CountsAndProbabilities(
            counts=counts, probabilities={key: count / shots for key, count in counts.items()}
        ),
        shots=shots,
        registers=[Register(name="c", size=2)],
    )


@dataclass
class Peer(
    JobServiceServicer, ResultServiceServicer, DeviceServiceServicer, ProviderServiceServicer, ProgramServiceServicer
):
    """The scripted server.

    It records requests in `created`, `ran`, `watches`, `cancelled`, `listed` and `translated`, and every call with its
    authorization in `called`. Watchers that request events that are not stored receive `unstored`.
    With `brings_results` those that request final results receive them.
    """

    events: list[JobEvent] = field(default_factory=history)
    results: list[Result] = field(default_factory=lambda: [counted({"0x0": 507, "0x3": 493})])
    refusals: deque[Refusal | None] = field(default_factory=deque)
    streams: deque[Stream] = field(default_factory=deque)
    created: list[calls.CreateJobRequest] = field(default_factory=list)
    ran: list[calls.RunJobRequest] = field(default_factory=list)
    brings_results: bool = False
    watches: list[calls.WatchJobRequest] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    translated: list[TranslateProgramRequest] = field(default_factory=list)
    translation: TranslateProgramResponse = field(default_factory=TranslateProgramResponse)
    languages: ListLanguagesResponse = field(default_factory=ListLanguagesResponse)
    calibration: DeviceCalibration = field(default_factory=DeviceCalibration)
    fits: list[DeviceFit] = field(default_factory=list)
    compared: list[CompareDevicesRequest] = field(default_factory=list)
    page: int = 1
    listed_jobs: list[Job] = field(default_factory=lambda: [job_at(SUCCEEDED, sequence=6, progress=1.0)])
    hanging: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    pieces: list[bytes] = field(default_factory=list)
    unstored: list[JobEvent] = field(default_factory=list)
    listed: list[ListResultsRequest] = field(default_factory=list)
    called: list[tuple[str, object]] = field(default_factory=list)
    target: str = ""

    @property
    def watched(self) -> list[int]:
        """The sequences after which watchers continued."""
        return [request.after_sequence for request in self.watches]

    def _maybe_refuse(self, context: grpc.ServicerContext) -> None:
        if self.refusals and (refusal := self.refusals.popleft()) is not None:
            refusal.abort(context)

    def CreateJob(self, request: calls.CreateJobRequest, context: grpc.ServicerContext) -> calls.CreateJobResponse:
        known = any(request.request_id == other.request_id for other in self.created)
        self.created.append(request)
        self._maybe_refuse(context)
        return calls.CreateJobResponse(job=job_at(QUEUED, sequence=1), deduplicated=known)

    def RerunJob(self, request: calls.RerunJobRequest, context: grpc.ServicerContext) -> calls.RerunJobResponse:
        self._maybe_refuse(context)
        return calls.RerunJobResponse(job=job_at(QUEUED, sequence=1))

    def GetJob(self, request: calls.GetJobRequest, context: grpc.ServicerContext) -> calls.GetJobResponse:
        self._maybe_refuse(context)
        if request.id != JOB:
            Refusal(grpc.StatusCode.NOT_FOUND, f"job {request.id} does not exist", "NOT_FOUND").abort(context)
        return calls.GetJobResponse(job=self.events[-1].state_change.job)

    def CancelJob(self, request: calls.CancelJobRequest, context: grpc.ServicerContext) -> calls.CancelJobResponse:
        self.cancelled.append(request.id)
        self._maybe_refuse(context)
        return calls.CancelJobResponse(job=job_at(JobState.JOB_STATE_CANCELLING, sequence=3))

    def DeleteJob(self, request: calls.DeleteJobRequest, context: grpc.ServicerContext) -> calls.DeleteJobResponse:
        self._maybe_refuse(context)
        return calls.DeleteJobResponse()

    def ListJobs(self, request: calls.ListJobsRequest, context: grpc.ServicerContext) -> calls.ListJobsResponse:
        self._maybe_refuse(context)
        number = int(request.page_token or 0)
        token = str(number + 1) if number + 1 < self.page else ""
        return calls.ListJobsResponse(jobs=self.listed_jobs, next_page_token=token)

    def RunJob(self, request: calls.RunJobRequest, context: grpc.ServicerContext) -> Iterator[calls.RunJobResponse]:
        self.ran.append(request)
        self._maybe_refuse(context)
        for response in self._sent(request, context):
            yield calls.RunJobResponse.FromString(response.SerializeToString())

    def WatchJob(
        self, request: calls.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[calls.WatchJobResponse]:
        self.watches.append(request)
        yield from self._sent(request, context)

    def _sent(
        self, request: calls.RunJobRequest | calls.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[calls.WatchJobResponse]:
        how = self.streams.popleft() if self.streams else Stream()
        if how.rejected and how.refusal is not None:
            how.refusal.abort(context)
        first = max(0, request.after_sequence - how.again)
        left = [event for event in self.events if event.sequence > first]
        if how.hang and not context.add_callback(self.let_go.set):
            self.let_go.set()
        if isinstance(request, calls.WatchJobRequest):
            yield calls.WatchJobResponse(
                event=JobEvent(job_id=JOB, heartbeat=Heartbeat(last_sequence=request.after_sequence))
            )
        if request.partial_results or request.queue_updates:
            for event in self.unstored:
                yield calls.WatchJobResponse(event=event)
        for event in left if how.send is None else left[: how.send]:
            if event is self.events[-1] and request.final_results and self.brings_results:
                final = FinalResults(results=self.results)
                yield calls.WatchJobResponse(event=JobEvent(job_id=JOB, final_results=final))
            yield calls.WatchJobResponse(event=event)
        if how.hang:
            self.hanging.set()
            self.let_go.wait(100)
        if how.refusal is not None:
            how.refusal.abort(context)

    def ListResults(self, request: ListResultsRequest, context: grpc.ServicerContext) -> ListResultsResponse:
        self.listed.append(request)
        self._maybe_refuse(context)
        return self._page_of_results(int(request.page_token or 0))

    def _page_of_results(self, number: int) -> ListResultsResponse:
        token = str(number + 1) if number + 1 < len(self.results) else ""
        return ListResultsResponse(results=self.results[number : number + 1], next_page_token=token)

    def ReadBuffer(self, request: ReadBufferRequest, context: grpc.ServicerContext) -> Iterator[ReadBufferResponse]:
        self._maybe_refuse(context)
        offset = 0
        for piece in self.pieces:
            if offset >= request.offset:
                yield ReadBufferResponse(offset=offset, data=piece)
            offset += len(piece)

    def TranslateProgram(
        self, request: TranslateProgramRequest, context: grpc.ServicerContext
    ) -> TranslateProgramResponse:
        self.translated.append(request)
        self._maybe_refuse(context)
        return self.translation

    def ListLanguages(self, request: ListLanguagesRequest, context: grpc.ServicerContext) -> ListLanguagesResponse:
        self._maybe_refuse(context)
        return self.languages

    def ListDevices(self, request: ListDevicesRequest, context: grpc.ServicerContext) -> ListDevicesResponse:
        self._maybe_refuse(context)
        device = Device(
            id=1, name="aer_simulator", num_qubits=30, is_simulator=True, is_local=True, provider_id=2, available=True
        )
        return ListDevicesResponse(devices=[device])

    def CompareDevices(self, request: CompareDevicesRequest, context: grpc.ServicerContext) -> CompareDevicesResponse:
        self._maybe_refuse(context)
        self.compared.append(request)
        return CompareDevicesResponse(fits=self.fits)

    def GetDeviceCalibration(
        self, request: GetDeviceCalibrationRequest, context: grpc.ServicerContext
    ) -> GetDeviceCalibrationResponse:
        self._maybe_refuse(context)
        return GetDeviceCalibrationResponse(calibration=self.calibration)

    def ListProviders(self, request: ListProvidersRequest, context: grpc.ServicerContext) -> ListProvidersResponse:
        self._maybe_refuse(context)
        taken = ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
        return ListProvidersResponse(providers=[Provider(id=2, name="IBM", supported_languages=[taken])])


class _Listening(grpc.ServerInterceptor):
    """Record every call and its authorization."""

    def __init__(self, called: list[tuple[str, object]]) -> None:
        self._called = called

    def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        self._called.append((details.method, dict(details.invocation_metadata).get("authorization")))
        return continuation(details)


@contextmanager
def serving_peer(credentials: grpc.ServerCredentials | None = None) -> Iterator[Peer]:
    """Serve the peer on a free port; end every stream on exit."""
    peer = Peer()
    server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[_Listening(peer.called)])
    add_JobServiceServicer_to_server(peer, server)
    add_ResultServiceServicer_to_server(peer, server)
    add_DeviceServiceServicer_to_server(peer, server)
    add_ProviderServiceServicer_to_server(peer, server)
    add_ProgramServiceServicer_to_server(peer, server)
    free = "127.0.0.1:0"
    port = server.add_insecure_port(free) if credentials is None else server.add_secure_port(free, credentials)
    peer.target = f"127.0.0.1:{port}"
    server.start()
    try:
        yield peer
    finally:
        peer.let_go.set()
        server.stop(None).wait(100)
