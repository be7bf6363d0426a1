# SPDX-License-Identifier: Apache-2.0
"""Two calls of the controller service of Rigetti's processors over gRPC: the submission, and the state of a job.

pyQuil repeats a submission for up to five minutes while the answer is UNAVAILABLE, and this cannot be switched off. A
gateway may answer so after it has passed the job on. So the submission is made here, once. pyQuil has no call for the
state of a job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    NotSent,
    VendorBusy,
    VendorError,
)
from qonduit_server.providers.vendors.rigetti_messages import message_classes

_METHOD: Final = "/services.controller.Controller/"
_FIELDS: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "models.controller.JobEncryption": {"key_id": (1, "string"), "nonce": (2, "bytes")},
    "models.controller.EncryptedControllerJob": {
        "job": (1, "bytes"),
        "encryption": (2, "models.controller.JobEncryption"),
    },
    "models.controller.JobExecutionConfiguration": {},
    "services.controller.ExecuteControllerJobRequest": {
        "execution_configurations": (3, "repeated models.controller.JobExecutionConfiguration"),
        "quantum_processor_id": (101, "string"),
        "encrypted": (201, "models.controller.EncryptedControllerJob"),
    },
    "services.controller.ExecuteControllerJobResponse": {"job_execution_ids": (1, "repeated string")},
    "services.controller.GetControllerJobStatusRequest": {
        "job_id": (1, "string"),
        "quantum_processor_id": (101, "string"),
    },
    "services.controller.GetControllerJobStatusResponse": {"status": (1, "int32")},
}
_messages: Final = message_classes("qonduit/rigetti_controller.proto", _FIELDS)
#: The states of GetControllerJobStatusResponse.
STATES: Final = ("UNKNOWN", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "POST_PROCESSING")
#: Codes with which the service has certainly changed nothing.
_REFUSALS: Final = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
    )
)
_CONNECT_SECONDS: Final = 20.0
#: The largest program on its way to a processor, as in Rigetti's client.
_MAX_BYTES: Final = 250 * 1024**2


class Controller:
    """The controller service behind one gateway.

    Args:
        address: its URL; http only for this machine.
        seconds: the time limit of a call.
    """

    def __init__(self, address: str, seconds: float) -> None:
        self.address, self._seconds = address, seconds
        parts = urlsplit(address)
        options = [("grpc.enable_retries", 0), ("grpc.max_send_message_length", _MAX_BYTES)]
        target = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        if parts.scheme == "https":
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(target, options)

    def submit(self, processor: str, program: str, token: str) -> str:
        """Submit a translated program, with one request on the wire; return the id of its job.

        Args:
            processor: the name of the processor.
            program: what pyQuil translated.
            token: the access token.
        """
        request = _messages["services.controller.ExecuteControllerJobRequest"](quantum_processor_id=processor)
        json_format.Parse(program, request.encrypted)
        request.execution_configurations.add()
        with _translated():
            self.connect()
            call = self._call("ExecuteControllerJob", "services.controller.ExecuteControllerJobResponse")
            (job,) = call(request, timeout=self._seconds, metadata=_metadata(token)).job_execution_ids
        return str(job)

    def states(self, processor: str, jobs: Sequence[str], token: str) -> list[str]:
        """Return the states of jobs, which are read at once; "" for one that the processor does not know."""
        call = self._call("GetControllerJobStatus", "services.controller.GetControllerJobStatusResponse")
        request = _messages["services.controller.GetControllerJobStatusRequest"]
        with _translated():
            self.connect()
            futures = [
                call.future(
                    request(job_id=job, quantum_processor_id=processor),
                    timeout=self._seconds,
                    metadata=_metadata(token),
                )
                for job in jobs
            ]
            return [_state(future) for future in futures]

    def connect(self) -> None:
        """Wait until the channel is connected. Raises NotSent."""
        try:
            grpc.channel_ready_future(self._channel).result(_CONNECT_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise NotSent(f"{self.address} cannot be reached") from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, method: str, response: str) -> Any:
        return self._channel.unary_unary(
            _METHOD + method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=_messages[response].FromString,
        )


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def _state(future: Any) -> str:
    try:
        number = future.result().status
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return ""
        raise
    return STATES[number] if 0 <= number < len(STATES) else str(number)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise the errors of calls as those of the server."""
    try:
        yield
    except grpc.RpcError as error:
        code, text = error.code(), str(error.details())
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise CredentialRefused(text, code=code.name) from error
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise VendorBusy(text, code=code.name, retry_after=_retry_after(error)) from error
        raise (CallRefused if code in _REFUSALS else VendorError)(text, code=code.name) from error


def _retry_after(error: Any) -> float:
    """Return the seconds for which the service asks to wait; 0 if it does not ask."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.RetryInfo()
    delays = [
        info.retry_delay.ToTimedelta() for each in status_pb2.Status.FromString(details).details if each.Unpack(info)
    ]
    return max((delay.total_seconds() for delay in delays), default=0.0)
