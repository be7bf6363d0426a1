# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as one tree of exceptions; imports neither gRPC nor protobuf.

QonduitError                                   everything below; `status`, `reason`, `message`, `violations` ...
+-- InvalidRequest        INVALID_ARGUMENT     a field breaks a rule; `violations` say which and what to do
+-- NotFound              NOT_FOUND            not there, or not yours
+-- AlreadyExists         ALREADY_EXISTS       the request id was used before, for another request
+-- PreconditionFailed    FAILED_PRECONDITION  the thing is in a state that does not allow this
+-- LimitExceeded         RESOURCE_EXHAUSTED   a limit of the server is reached
+-- Refused               UNAUTHENTICATED, PERMISSION_DENIED
+-- ServerUnavailable     UNAVAILABLE          no server there, or not now
+-- TimedOut              DEADLINE_EXCEEDED    it took longer than the timeout (a TimeoutError too); the job goes on
+-- ServerFault           all others           a fault of the server; `request_id` is in its log
+-- ClientClosed          (never sent)         the client was closed by then, by this thread or another one
+-- ProgramUnreadable     (never sent)         the language of a program is not known (a ValueError too)
+-- JobFailed             (the call was fine)  the job failed; `failure` and `job` say why
+-- JobCancelled          (the call was fine)  the job was cancelled; `job`
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
    """One broken rule: the field's path ("job.shots") or the subject, the rule's id, and what to do about it."""

    field: str
    rule_id: str
    description: str


class QonduitError(Exception):
    """Something went wrong; the classes below say what.

    Attributes:
        status: the gRPC status by name ("NOT_FOUND"); empty when no call was refused.
        reason: a stable word to act on: a value of `ErrorReason`, or a failure's reason; empty when none was given.
        message: what happened, for people.
        violations: the rules that were broken, or the state or quota that stands in the way.
        metadata: further facts the server gave (ErrorInfo.metadata); of what was not found, "resource_type" ("job") and
            "resource_name".
        retry_after: seconds to wait before trying again, when the server said so.
        request_id: where a fault is in the server's log; empty when not given.
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
    """A field breaks a rule, whatever state the server is in."""


class NotFound(QonduitError):
    """Not there, or not yours."""


class AlreadyExists(QonduitError):
    """The request id was used before, for another request."""


class PreconditionFailed(QonduitError):
    """The request is well formed, but the thing it is about is in the wrong state, or cannot do it."""


class LimitExceeded(QonduitError):
    """A limit told by `Client.info()` is reached now; later it may not be."""


class Refused(QonduitError):
    """The server wants to know who you are, or does not let you."""


class ServerUnavailable(QonduitError):
    """No server there, or it is stopping, or its database does not answer."""


class TimedOut(QonduitError, TimeoutError):
    """It took longer than the timeout. A job that was waited for goes on."""


class ServerFault(QonduitError):
    """A fault of the server; with `request_id` it can be found in its log."""


class ClientClosed(QonduitError):
    """The client was closed before this came to its end. Jobs go on."""


class ProgramUnreadable(QonduitError, ValueError):
    """The language of a program is not known, or a program is not what it was announced as."""


class JobFailed(QonduitError):
    """The job ended badly; `failure` says why. Programs that ran keep their results."""

    def __init__(self, failure: Failure, job: Job) -> None:
        super().__init__(failure.message or f"job {job.id} failed", reason=failure.reason)
        self.failure = failure
        self.job = job


class JobCancelled(QonduitError):
    """The job was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was cancelled", reason="CANCELLED")
        self.job = job


#: The class for each status; all others are `ServerFault`.
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
    "DEADLINE_EXCEEDED": TimedOut,
}
