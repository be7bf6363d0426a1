# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, in two families; imports nothing of ours.

- `CallError`: a call cannot be served. The front door turns it, and nothing else, into a gRPC status with details.
- `RunError`: a job or one of its programs ended badly. The runner turns it into a `Failure`; the call that reads it
  succeeds.

    CallError
    +-- InvalidArgument      INVALID_ARGUMENT      BadRequest: field, rule id, what to do
    +-- NotFound             NOT_FOUND             ResourceInfo
    +-- AlreadyExists        ALREADY_EXISTS
    +-- FailedPrecondition   FAILED_PRECONDITION   PreconditionFailure
    +-- ResourceExhausted    RESOURCE_EXHAUSTED    QuotaFailure, RetryInfo
    +-- Unavailable          UNAVAILABLE           RetryInfo
    +-- Abandoned            CANCELLED             the caller waits no more; nobody reads it
    +-- StoreFault           INTERNAL              the store cannot carry out a change, and never will
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


@dataclass(frozen=True)
class Violation:
    """One broken rule: the field's path ("job.shots"), the rule's id, and what to do about it."""

    field: str
    rule_id: str
    description: str


class InvalidArgument(CallError):
    """The request breaks a rule, whatever state the server is in."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_FIELD"

    def __init__(self, violations: list[Violation], *, reason: str | None = None) -> None:
        super().__init__("; ".join(v.description for v in violations[:3]), reason=reason)
        self.violations = violations

    @classmethod
    def of(cls, field: str, rule_id: str, description: str, *, reason: str | None = None) -> InvalidArgument:
        return cls([Violation(field, rule_id, description)], reason=reason)


class NotFound(CallError):
    """Not there, or not the caller's: the two cannot be told apart from outside."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str | int) -> None:
        super().__init__(f"{kind} {name} does not exist")
        self.kind = kind
        self.name = str(name)


class AlreadyExists(CallError):
    """The request id was used before, for another request."""

    status = "ALREADY_EXISTS"
    reason = "REQUEST_ID_REUSED"


class FailedPrecondition(CallError):
    """The request is well formed, but the thing it is about is in the wrong state, or cannot do it."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"

    def __init__(self, message: str, *, subject: str, kind: str = "STATE", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.subject = subject
        self.kind = kind


class ResourceExhausted(CallError):
    """A limit is reached now; later it may not be. Where it always will be, `retry_after` is None."""

    status = "RESOURCE_EXHAUSTED"
    reason = "LIMIT_EXCEEDED"

    def __init__(self, message: str, *, subject: str, retry_after: float | None = 1.0) -> None:
        super().__init__(message)
        self.subject = subject
        self.retry_after = retry_after


class Unavailable(CallError):
    """Not now: the server is stopping, or its database does not answer. Try again after `retry_after` seconds."""

    status = "UNAVAILABLE"
    reason = "STORE_UNAVAILABLE"

    def __init__(self, message: str, *, reason: str = "STORE_UNAVAILABLE", retry_after: float = 1.0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


class Abandoned(CallError):
    """The caller waits no more, and what was done for it was stopped. It is written to the log; nobody reads it."""

    status = "CANCELLED"
    reason = "CANCELLED"


class StoreFault(CallError):
    """The store cannot carry out a change, now or later: a fault of the server. Nothing was changed."""


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


class RunError(Exception):
    """A job or program ended badly. `category` names a value of `FailureCategory` without its prefix.

    Args:
        reason: a stable word, for example "SYNTAX_ERROR".
        message: what happened and what to do.
        line: 1-based line of the program, 0 when not known.
        column: 1-based column, 0 when not known.
        retryable: whether the same job may succeed if it is run again.
        provider_code: the vendor's own code, where there is one.
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
    """The program is at fault: it does not parse, or asks for what its language does not have."""

    category = "PROGRAM"


class DeviceError(RunError):
    """The device cannot run this program; another one may."""

    category = "DEVICE"


class LimitError(RunError):
    """A limit of the server was reached: time, memory, size."""

    category = "LIMIT"


class ProviderError(RunError):
    """The vendor or its SDK failed."""

    category = "PROVIDER"
