# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the client; imports neither gRPC nor protobuf.

QonduitError                                   base class; `status`, `reason`, `message`, `violations` ...
+-- InvalidRequest        INVALID_ARGUMENT     a field is invalid; see `violations`
+-- NotFound              NOT_FOUND            the resource does not exist or belongs to another user
+-- AlreadyExists         ALREADY_EXISTS       the request id was used for another request
+-- PreconditionFailed    FAILED_PRECONDITION  the resource is in a state that does not allow this
+-- LimitExceeded         RESOURCE_EXHAUSTED   a limit of the server is reached
+-- Refused               UNAUTHENTICATED, PERMISSION_DENIED
|   +-- LoginRequired     (client only)        there is no valid login: run `qonduit login NAME`
+-- ServerUnavailable     UNAVAILABLE,         the server is unreachable or unavailable
|                         CANCELLED            or it ended the call because it stopped
+-- TimedOut              DEADLINE_EXCEEDED    the timeout expired (also a TimeoutError); the job continues
+-- ServerFault           all others           an internal error; the server's log contains `request_id`
+-- ClientClosed          (client only)        the client was closed
+-- ConfigInvalid         (client only)        the configuration file is not valid (also a ValueError)
+-- LoginFailed           (client only)        the login failed; see the message
+-- ProgramUnreadable     (client only)        the language of a program is unknown (also a ValueError)
+-- JobFailed             (call succeeded)     the job failed; see `failure` and `job`
+-- JobCancelled          (call succeeded)     the job was cancelled; see `job`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qonduit.v1.failure_pb2 import Failure
    from qonduit.v1.job_pb2 import Job


@dataclass(frozen=True)
class Violation:
    """One violated rule: the field's path ("job.shots") or the subject, the rule's id, and a description."""

    field: str
    rule_id: str
    description: str


class QonduitError(Exception):
    """Base class of the client's exceptions.

    Attributes:
        status: the name of the gRPC status ("NOT_FOUND"); empty if no call failed.
        reason: a stable identifier for programs: a value of `ErrorReason` or a failure's reason; may be empty.
        message: the error message.
        violations: the violated rules, preconditions or quotas.
        metadata: further details of the server (ErrorInfo.metadata); for missing resources, "resource_type" ("job")
            and "resource_name".
        retry_after: seconds to wait before a retry, if the server sent them.
        request_id: identifies the error in the server's log; may be empty.
    """

    def __init__(
        self,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidRequest(QonduitError):
    """A field is invalid, independent of the server's state."""


class NotFound(QonduitError):
    """The resource does not exist or belongs to another user."""


class AlreadyExists(QonduitError):
    """The request id was used for another request."""


class PreconditionFailed(QonduitError):
    """The request is valid, but the resource is in the wrong state or does not support it."""


class LimitExceeded(QonduitError):
    """A limit of `Client.info()` is reached; a retry may succeed later."""


class Refused(QonduitError):
    """Authentication is required, or permission is denied."""


class LoginRequired(Refused):
    """There is no valid login to the server."""


class ServerUnavailable(QonduitError):
    """The server is unreachable or shutting down, or its database or the identity provider is unavailable."""


class TimedOut(QonduitError, TimeoutError):
    """The timeout expired. A job continues."""


class ServerFault(QonduitError):
    """An internal error of the server; its log contains `request_id`."""


class ClientClosed(QonduitError):
    """The client was closed during the call. Jobs continue."""


class ConfigInvalid(QonduitError, ValueError):
    """The configuration file is not valid, or lacks the requested server."""


class LoginFailed(QonduitError):
    """The login was denied or not confirmed, or the identity provider or the stored login is faulty."""


class ProgramUnreadable(QonduitError, ValueError):
    """The language of a program is unknown, or the program does not match its declared language."""


class JobFailed(QonduitError):
    """The job failed; see `failure`. Results of programs that ran are kept."""

    def __init__(self, failure: Failure, job: Job) -> None:
        super().__init__(failure.message or f"job {job.id} failed", reason=failure.reason)
        self.failure = failure
        self.job = job


class JobCancelled(QonduitError):
    """The job was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was cancelled", reason="CANCELLED")
        self.job = job


#: The exception of each status; `ServerFault` for all others.
BY_STATUS: Final[dict[str, type[QonduitError]]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": PreconditionFailed,
    "ABORTED": PreconditionFailed,
    "RESOURCE_EXHAUSTED": LimitExceeded,
    "UNAUTHENTICATED": Refused,
    "PERMISSION_DENIED": Refused,
    "UNAVAILABLE": ServerUnavailable,
    # A server that stops cancels its calls when the grace ends. Calls that the client cancels do not get here.
    "CANCELLED": ServerUnavailable,
    "DEADLINE_EXCEEDED": TimedOut,
}
