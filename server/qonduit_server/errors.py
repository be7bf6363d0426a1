# SPDX-License-Identifier: Apache-2.0
"""The error classes, in two families; this module imports nothing of the project.

- `CallError`: a call cannot be served. `rpc` converts it, and no other exception, to a gRPC status with details.
- `RunError`: a job or one of its programs failed. The runner converts it to a `Failure`; the call that returns the
  failure succeeds.

    CallError
    +-- InvalidArgument      INVALID_ARGUMENT      BadRequest: field, rule id, description
    +-- Unauthenticated      UNAUTHENTICATED
    +-- PermissionDenied     PERMISSION_DENIED
    +-- NotFound             NOT_FOUND             ResourceInfo
    +-- AlreadyExists        ALREADY_EXISTS
    +-- FailedPrecondition   FAILED_PRECONDITION   PreconditionFailure
    +-- ResourceExhausted    RESOURCE_EXHAUSTED    QuotaFailure, RetryInfo
    |   +-- QuotaExceeded    RESOURCE_EXHAUSTED    a quota of the owner
    +-- Unavailable          UNAVAILABLE           RetryInfo
    +-- Abandoned            CANCELLED             the client cancelled the call; only logged
    +-- StoreFault           INTERNAL              the store cannot make a change; a retry cannot succeed
    StartError               the server cannot start (bad settings, database newer than the code)
    RunError
    +-- ProgramError         the program is at fault
    +-- DeviceError          the device cannot run this program
    +-- LimitError           a limit of the server was reached
    +-- ProviderError        the vendor or its SDK failed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class CallError(Exception):
    """A call cannot be served. `status` names the gRPC code, `reason` a value of `ErrorReason` without its prefix."""

    status: ClassVar[str] = "INTERNAL"
    reason: str = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason

    @property
    def logged(self) -> str:
        """The message for the log, which contains no text of programs."""
        return self.message


@dataclass(frozen=True)
class Violation:
    """A violated rule: the path of the field ("job.shots"), the id of the rule, and the allowed values."""

    field: str
    rule_id: str
    description: str


class InvalidArgument(CallError):
    """The request violates a rule, independent of the state of the server."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"

    def __init__(self, violations: list[Violation], *, reason: str | None = None) -> None:
        super().__init__("; ".join(v.description for v in violations[:3]), reason=reason)
        self.violations = violations

    @property
    def logged(self) -> str:
        """The rules instead of the message if a program violates one: the message quotes the program."""
        if not any(violation.rule_id.startswith("program.") for violation in self.violations):
            return self.message
        return "; ".join(f"{violation.field}: {violation.rule_id}" for violation in self.violations[:3])

    @classmethod
    def of(cls, field: str, rule_id: str, description: str, *, reason: str | None = None) -> InvalidArgument:
        """Return the error of a single violation."""
        return cls([Violation(field, rule_id, description)], reason=reason)


class Unauthenticated(CallError):
    """The call has no valid token or client certificate. The message never contains the token."""

    status = "UNAUTHENTICATED"
    reason = "INVALID_TOKEN"


class PermissionDenied(CallError):
    """The caller lacks the role that the method requires. Objects of other callers are NotFound instead."""

    status = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"


class NotFound(CallError):
    """The object does not exist, or belongs to another caller; clients cannot distinguish the two."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str | int, hint: str = "") -> None:
        super().__init__(f"{kind} {name} does not exist{hint}")
        self.kind = kind
        self.name = str(name)


class AlreadyExists(CallError):
    """The request id was used for another request."""

    status = "ALREADY_EXISTS"
    reason = "REQUEST_ID_REUSED"


class FailedPrecondition(CallError):
    """The request is valid, but the state or the features of its object do not allow it."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, subject: str, kind: str = "STATE", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.subject = subject
        self.kind = kind


class ResourceExhausted(CallError):
    """A limit is reached. If a retry cannot succeed, `retry_after` is None."""

    status = "RESOURCE_EXHAUSTED"
    reason = "LIMIT_EXCEEDED"

    def __init__(self, message: str, *, subject: str, retry_after: float | None = 1.0) -> None:
        super().__init__(message)
        self.subject = subject
        self.retry_after = retry_after


class QuotaExceeded(ResourceExhausted):
    """A quota of the owner is used up; others are still served."""

    reason = "QUOTA_EXCEEDED"


class Unavailable(CallError):
    """The server is stopping, or its database is unavailable. A client can retry after `retry_after` seconds."""

    status = "UNAVAILABLE"
    reason = "STORE_UNAVAILABLE"

    def __init__(self, message: str, *, reason: str = "STORE_UNAVAILABLE", retry_after: float = 1.0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class Abandoned(CallError):
    """The client cancelled the call, and the server stopped its work. The error is logged and not sent."""

    status = "CANCELLED"
    reason = "CANCELLED"


class StoreFault(CallError):
    """The store cannot make a change, now or later: a fault of the server. The database is unchanged."""


class StartError(Exception):
    """The server cannot start; the message contains the cause and the fix."""


class RunError(Exception):
    """A job or program failed. `category` names a value of `FailureCategory` without its prefix.

    Args:
        reason: a stable identifier, for example "SYNTAX_ERROR".
        message: the cause and the fix.
        line: 1-based line of the program, 0 if unknown.
        column: 1-based column, 0 if unknown.
        retryable: whether a rerun of the same job can succeed.
        provider_code: the error code of the vendor, if there is one.
    """

    category: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        line: int = 0,
        column: int = 0,
        retryable: bool = False,
        provider_code: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.line = line
        self.column = column
        self.retryable = retryable
        self.provider_code = provider_code


class ProgramError(RunError):
    """The program is at fault: it cannot be parsed, or uses an unsupported construct."""

    category = "PROGRAM"


class DeviceError(RunError):
    """The device cannot run this program; another device may."""

    category = "DEVICE"


class LimitError(RunError):
    """A limit of the server was exceeded: time, memory, size."""

    category = "LIMIT"


class ProviderError(RunError):
    """The vendor or its SDK failed."""

    category = "PROVIDER"
