# SPDX-License-Identifier: Apache-2.0
"""The client's transport inside a program: calls cross the socket to the server in place of a network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any, Final

import grpc
from google.rpc import status_pb2  # type: ignore[import-untyped,unused-ignore]

from qonduit.execution.v1.program_pb2 import ProgramReply
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_service_pb2 import (
    CreateJobRequest,
    CreateJobResponse,
    RunJobRequest,
    RunJobResponse,
    WatchJobRequest,
)
from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit_client.requests import Request, Response
from qonduit_client.retry import Attempts, Retry, may_repeat
from qonduit_client.transport import Transport
from qonduit_server.program_sandbox.channel import Channel

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_TIMEOUT_SECONDS: Final = 60.0


class ChannelTransport(Transport):
    """Calls the server of this program.

    Args:
        channel: the socket.
        before: called before each call: sends what the program has printed.
    """

    def __init__(self, channel: Channel, before: Callable[[], None]) -> None:
        # Not that of the base class, which reads the configuration of a user and opens a connection.
        self._channel = channel
        self._before = before
        #: The job whose end the server sends without a further call, and whether the program has waited since the last
        #: submission: a program that submits many jobs at once waits for none of them.
        self._followed_job = 0
        self._waited = True
        self._closed = threading.Event()
        self._token = self.credentials = self.server = None
        self._project = self._unnamed = ""
        self._reachable = True
        self._connect_timeout = self.timeout = _TIMEOUT_SECONDS
        self.retry = Retry()
        self.target = "the server of this program"

    def call(self, request: Request[Response], *, timeout: float | None = None) -> Response:
        """See `Transport`. A call that waits for a device has no other limit than that of the program."""
        deadline = self.retry.clock() + (self.timeout if timeout is None else min(timeout, self.timeout))
        attempts = Attempts(self.retry)
        while True:
            try:
                (response,) = self._made(request.method, self.message_of(request).SerializeToString(), deadline)
                return request.response.FromString(response)
            except grpc.RpcError as cause:
                error = self.error(cause)
                if not (request.safe and may_repeat(error)):
                    raise error from None
                self.pause(attempts.pause(error, self.max_outage, deadline))

    def stream(self, request: Request[Response], *, timeout: float | None) -> Generator[Response, None, None]:
        """See `Transport`. A job is submitted and watched in two steps, and a buffer is read in parts."""
        until = None if timeout is None else self.retry.clock() + timeout
        message = self.message_of(request)
        try:
            if isinstance(message, RunJobRequest):
                yield from self._run(message, until)  # type: ignore[misc]
            elif isinstance(message, ReadBufferRequest):
                yield from self._read(message, until)  # type: ignore[misc]
            elif isinstance(message, WatchJobRequest):
                for each in self._ended(message, until):
                    yield request.response.FromString(each)
            else:
                for each in self._made(request.method, message.SerializeToString(), until):
                    yield request.response.FromString(each)
        except grpc.RpcError as cause:
            raise self.error(cause) from None

    def pause(self, seconds: float) -> None:
        """See `Transport`."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing: all clients of a program share this transport."""

    def check_process(self) -> None:
        """Do nothing: a program has one process."""

    def _run(self, message: RunJobRequest, until: float | None) -> Generator[RunJobResponse, None, None]:
        # The fields of both requests have the same numbers.
        create = CreateJobRequest.FromString(message.SerializeToString())
        create.DiscardUnknownFields()
        (response,) = self._made("JobService/CreateJob", create.SerializeToString(), until)
        job = CreateJobResponse.FromString(response).job
        created = JobEvent(job_id=job.id, sequence=1, log_epoch=job.log_epoch, created=job)
        yield RunJobResponse(event=created)
        watch = WatchJobRequest(job_id=job.id, final_results=True, omit_intermediate=True)
        for each in self._ended(watch, until):
            yield RunJobResponse.FromString(each)

    def _ended(self, watch: WatchJobRequest, until: float | None) -> list[bytes]:
        """Wait for the end of a job and return its last event, with its results. Raises grpc.RpcError."""
        self._waited = True
        if watch.job_id != self._followed_job or not self._channel.has_second():
            return self._made("JobService/WatchJob", watch.SerializeToString(), until)
        self._before()
        return _responses(self._channel.second(self._left(until)))

    def _read(self, message: ReadBufferRequest, until: float | None) -> Generator[ReadBufferResponse, None, None]:
        offset = message.offset
        while True:
            part = ReadBufferRequest(name=message.name, offset=offset)
            (found,) = self._made("ResultService/ReadBuffer", part.SerializeToString(), until)
            response = ReadBufferResponse.FromString(found)
            if not response.data:
                return
            offset += len(response.data)
            yield response

    def _made(self, method: str, request: bytes, until: float | None) -> list[bytes]:
        """Make a call and return the responses. Raises grpc.RpcError."""
        self._before()
        submits = method == "JobService/CreateJob"
        follow = submits and self._waited
        responses = _responses(self._channel.call(method, request, self._left(until), follow=follow))
        if submits:
            self._waited = False
        if follow:
            self._followed_job = CreateJobResponse.FromString(responses[0]).job.id
        return responses

    def _left(self, until: float | None) -> float | None:
        return None if until is None else max(0.0, until - self.retry.clock())


class _Failed(grpc.RpcError):
    """A status, as grpcio reports it."""

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes) -> None:
        super().__init__(message)
        self._found = SimpleNamespace(code=code, message=message, details=details)

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._found.code  # type: ignore[no-any-return]

    def details(self) -> str:
        """Return the message."""
        return str(self._found.message)

    def trailing_metadata(self) -> Any:
        """Return the details of the status."""
        return (("grpc-status-details-bin", self._found.details),)


def _responses(reply: ProgramReply | None) -> list[bytes]:
    """Return the responses of a reply. Raises grpc.RpcError."""
    if reply is None:
        raise _Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "the server did not answer in time", b"")
    if reply.status:
        status = status_pb2.Status.FromString(reply.status)
        raise _Failed(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, reply.status)
    return list(reply.responses)
