# SPDX-License-Identifier: Apache-2.0
"""Send valid and odd calls to every RPC that a server lists, and compare each response with the contract.

`make fuzz-surface SECONDS=600` does so against a real server process until the time is over, with new seeds that it
prints; `SEED=...` does one of them again. The short form is tests/contract/test_fuzz_surface.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import hypothesis
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, Phase, given, settings

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import result_service_pb2 as result_service
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.error_reason_pb2 import ErrorReason
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from tests.fuzz.calls import PATIENCE, SHORT, Sent, calls, methods, path
from tests.fuzz.messages import Known

MOST_BYTES: Final = 3 * 1024**2
MOST_STATUS_BYTES: Final = 3 * 1024
REASONS: Final = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}
#: The details that an error of each code has besides ErrorInfo and RequestInfo; the server sends no other codes.
DETAILS: Final[dict[grpc.StatusCode, tuple[str, ...]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: ("BadRequest",),
    grpc.StatusCode.NOT_FOUND: ("ResourceInfo",),
    grpc.StatusCode.ALREADY_EXISTS: (),
    grpc.StatusCode.FAILED_PRECONDITION: ("PreconditionFailure",),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("QuotaFailure",),
    grpc.StatusCode.UNAVAILABLE: ("RetryInfo",),
    grpc.StatusCode.UNIMPLEMENTED: (),
}


@dataclass
class Answer:
    """The response: the messages read, and the status; no code where the stream was cancelled."""

    messages: list[bytes] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    message: str = ""
    trailer: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def send(channel: grpc.Channel, method: MethodDescriptor, sent: Sent) -> Answer:
    """Make a call; of an open stream, read the first message and cancel."""
    options: dict[str, Any] = {
        "timeout": sent.timeout,
        "metadata": sent.metadata,
        "compression": sent.compression,
    }
    answer = Answer()
    begun = time.monotonic()
    if len(sent.requests) == 1 and not method.client_streaming:
        call: Any = channel.unary_stream(sent.method)(sent.requests[0], **options)
    else:
        call = channel.stream_stream(sent.method)(iter(sent.requests), **options)
    try:
        for message in call:
            answer.messages.append(message)
            if method.server_streaming and not method.client_streaming:
                call.cancel()
                break
        else:
            answer.code = call.code()
    except grpc.RpcError as error:
        answer.code = error.code()  # type: ignore[attr-defined]
        answer.message = error.details() or ""  # type: ignore[attr-defined]
        answer.trailer = dict(error.trailing_metadata() or ())  # type: ignore[attr-defined]
    answer.seconds = time.monotonic() - begun
    return answer


def judge(method: MethodDescriptor, sent: Sent, answer: Answer, most_request_bytes: int) -> None:
    """Check the guarantees that hold for every response."""
    code = answer.code
    assert answer.seconds < PATIENCE, f"the answer took {answer.seconds:.1f} s"
    for data in answer.messages:
        assert len(data) <= MOST_BYTES, f"an answer of {len(data)} bytes"
        message = message_factory.GetMessageClass(method.output_type)()
        message.ParseFromString(data)
        if not method.client_streaming:  # reflection repeats the request
            json_format.MessageToJson(message)
    if code is None or code is grpc.StatusCode.OK:
        assert answer.messages or method.client_streaming or code is grpc.StatusCode.OK
        return
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and sent.timeout in SHORT:
        return
    # gRPC itself refuses these before they reach the server's code.
    if len(sent.requests) != 1 and not method.client_streaming and code is grpc.StatusCode.UNIMPLEMENTED:
        return
    if any(len(data) > most_request_bytes for data in sent.requests) and code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return
    assert code in DETAILS, f"{code.name}: {answer.message}"
    check_status(code, answer)


def check_status(code: grpc.StatusCode, answer: Answer) -> None:
    """Check the details of an error."""
    packed = answer.trailer.get("grpc-status-details-bin")
    assert packed is not None, f"{code.name} without details: {answer.message!r}"
    assert len(packed) + len(answer.message.encode()) <= MOST_STATUS_BYTES
    status = status_pb2.Status.FromString(packed)
    assert (status.code, status.message) == (code.value[0], answer.message)
    details: dict[str, Any] = {}
    for each in status.details:
        name = each.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        each.Unpack(details[name])
    info = details["ErrorInfo"]
    assert info.domain == "qonduit"
    assert info.reason in REASONS - {"UNSPECIFIED", "INTERNAL"}
    assert details["RequestInfo"].request_id == answer.trailer["x-request-id"]
    assert set(DETAILS[code]) <= details.keys(), f"{code.name} has {sorted(details)}"
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        assert details["BadRequest"].field_violations
        for violation in details["BadRequest"].field_violations:
            assert violation.field, violation
            assert violation.reason, violation
            assert violation.description, violation
    assert answer.message


def fuzz(
    channel: grpc.Channel,
    known: Known,
    *,
    examples: int,
    seed: int | None = None,
    most_request_bytes: int,
    only: Callable[[str], bool] = lambda name: True,
) -> Counter[tuple[str, str]]:
    """Send calls to every method and check the responses.

    Args:
        examples: how many calls a method gets; those with sound examples three times as many.
        seed: None for the same calls every time.
        only: which methods, by name.

    Returns:
        The number of responses by method and code.
    """
    seen: Counter[tuple[str, str]] = Counter()
    # Pauses last: jobs of the other calls would wait.
    for method in sorted(methods(channel), key=lambda each: each.name.startswith("Pause")):
        name = path(method)
        if only(name):
            _fuzz_method(channel, method, known, examples, seed, most_request_bytes, seen)
    return seen


def _fuzz_method(
    channel: grpc.Channel,
    method: MethodDescriptor,
    known: Known,
    examples: int,
    seed: int | None,
    most_request_bytes: int,
    seen: Counter[tuple[str, str]],
) -> None:
    name = path(method)

    @settings(
        max_examples=examples * (3 if name in known.examples else 1),
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(calls(method, known))
    def one(sent: Sent) -> None:
        answer = send(channel, method, sent)
        seen[name, answer.code.name if answer.code else "a first message"] += 1
        judge(method, sent, answer, most_request_bytes)

    (one if seed is None else hypothesis.seed(seed)(one))()


def sweep(channel: grpc.Channel) -> list[Job]:
    """Read every stored object by every method: accepted data must be readable. Return the jobs."""
    jobs, deployments, results = JobServiceStub(channel), DeploymentServiceStub(channel), ResultServiceStub(channel)
    options: dict[str, Any] = {"timeout": 6 * PATIENCE}

    def pages(call: Any, request: Message, items: str) -> Iterator[Any]:
        while True:
            page = call(request, **options)
            json_format.MessageToJson(page)
            yield from getattr(page, items)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token  # type: ignore[attr-defined]

    found = list(pages(jobs.ListJobs, job_service.ListJobsRequest(page_size=200), "jobs"))
    stored = list(
        pages(deployments.ListDeployments, deployment_service.ListDeploymentsRequest(page_size=200), "deployments")
    )
    for each in stored:
        deployments.GetDeployment(deployment_service.GetDeploymentRequest(id=each.id), **options)
    for job in found:
        jobs.GetJob(job_service.GetJobRequest(id=job.id), **options)
        events = list(pages(jobs.ListJobEvents, job_service.ListJobEventsRequest(job_id=job.id), "events"))
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        watched = jobs.WatchJob(job_service.WatchJobRequest(job_id=job.id), **options)
        for event in events[: job.last_sequence]:
            assert next(watched).event == event
        watched.cancel()
        for result in pages(results.ListResults, result_service.ListResultsRequest(job_id=job.id), "results"):
            assert results.GetResult(result_service.GetResultRequest(id=result.id), **options).result == result
    assert {job.deployment_id for job in found} <= {each.id for each in stored}
    return found


def faults(log: Iterator[str]) -> list[str]:
    """Return the lines of a log that no caller should be able to cause."""
    return [line[:2000] for line in log if "INTERNAL" in line or "Traceback" in line or '"error"' in line]
