# SPDX-License-Identifier: Apache-2.0
"""The context of one call: its request id, its principal, and its log line."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import grpc
import structlog

from qonduit_server.errors import CallError, QuotaExceeded, Unauthenticated
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.rpc.auth.principal import UNAUTHENTICATED, Metadata
from qonduit_server.store.memberships import NO_ONE
from qonduit_server.store.ownership import Scope, Visibility

REQUEST_ID_KEY = "x-request-id"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}").fullmatch

_log = structlog.get_logger("qonduit.rpc")


class RateLimitedLog:
    """Allows one log line per second, method and reason, and counts the suppressed lines.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}

    def allow(self, method: str, reason: str) -> int | None:
        """Return the number of lines suppressed since the last allowed one; None to suppress this line too."""
        key = (method, reason)
        with self._lock:
            logged_at, left_out = self._logged.get(key, (float("-inf"), 0))
            now = self._clock()
            if now - logged_at < 1.0:
                self._logged[key] = (logged_at, left_out + 1)
                return None
            self._logged[key] = (now, 0)
            return left_out


#: The reasons of errors while the server serves no client: all clients retry, and often.
_SERVER_WIDE = ("STORE_UNAVAILABLE", "DRAINING")
#: Errors of calls that a client can make in any number.
_REPEATED = (Unauthenticated, QuotaExceeded)
_rejections = RateLimitedLog()


class Child(NamedTuple):
    """What makes a new job the child of a server program.

    Attributes:
        parent_job_id: the job of the program.
        max_children: the maximum number of jobs of the program; 0 means no limit.
    """

    parent_job_id: int
    max_children: int


class CallContext:
    """Created when a call arrives, passed to its handler, logged when the call ends. Handlers set a known `job_id`."""

    __slots__ = (
        "_context",
        "_observer",
        "_started",
        "child",
        "job_id",
        "memberships",
        "method",
        "object",
        "peer",
        "principal",
        "request_id",
        "scope",
        "trace",
    )

    def __init__(
        self,
        method: str,
        metadata: Metadata,
        context: grpc.ServicerContext | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.method = method
        self.request_id = _request_id(metadata)
        self.principal = UNAUTHENTICATED
        #: The projects of the caller, for calls that concern objects of owners.
        self.memberships = NO_ONE
        #: The owners whose objects the call may read; None for all owners. Changes are checked by `check_change`.
        self.scope: Scope = NO_ONE.readable
        self.job_id = 0
        #: Set if a server program makes the call, to submit a job.
        self.child: Child | None = None
        #: The address of the caller, and the name of the object that the request names, for the audit log.
        self.peer = ""
        self.object = ""
        self._started = time.perf_counter()
        self._context = context
        self._observer = observer
        #: Its trace, if it is traced.
        self.trace = observer.call_began(method, metadata)

    @property
    def readable(self) -> Visibility:
        """The objects that a list of this call contains."""
        return Visibility(self.principal.name, self.memberships.readable, self.scope is None)

    @property
    def changeable(self) -> Visibility:
        """The objects that a change of all matching objects concerns."""
        return Visibility(self.principal.name, self.memberships.changeable, self.scope is None)

    def check_change(self, owner: str) -> None:
        """Check that the call may change an object in its scope.

        Raises:
            PermissionDenied: the object belongs to a project of which the caller is a viewer.
        """
        if self.scope is not None:
            self.memberships.check_change(owner)

    @property
    def traceparent(self) -> str:
        """The context of its trace for a job that it creates; empty if it is not traced."""
        return "" if self.trace is None else self.trace.traceparent

    def seconds_left(self) -> float:
        """Return the seconds until the call's deadline; infinity without a deadline."""
        left = self._context.time_remaining() if self._context is not None else None
        return float("inf") if left is None else left

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Register a callback for the end of the call, by a response, a cancellation or the deadline.

        Returns:
            Whether the callback is registered; False if the call has ended.
        """
        return self._context is None or self._context.add_callback(callback)

    @property
    def trailer(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata of every response."""
        return ((REQUEST_ID_KEY, self.request_id),)

    def ended(
        self, error: CallError | None = None, *, code: str = "OK", flood: bool = False, sent: int | None = None
    ) -> None:
        """Observe and log the call. The line contains only names, numbers and ids, never a program or a credential.

        While the server or its database serves no client, the log gets one line per second, method and reason. The same
        holds for calls without a valid token or above a quota.

        Args:
            error: why it failed.
            code: its gRPC code, without an error.
            flood: limit the lines of this rejection likewise, because there may be any number of them.
            sent: the number of messages that a stream sent.
        """
        seconds = time.perf_counter() - self._started
        if error is not None:
            code = error.status
        reason = error.reason if error is not None else ""
        self._observer.call_ended(
            self.method, code, reason, seconds, streamed=sent is not None, trace=self.trace, job_id=self.job_id
        )
        more: dict[str, object] = {} if sent is None else {"sent": sent}
        if error is not None and (flood or error.reason in _SERVER_WIDE or isinstance(error, _REPEATED)):
            left_out = _rejections.allow(self.method, error.reason)
            if left_out is None:
                return
            if left_out:
                more["left_out"] = left_out
        if self.job_id:
            more["job_id"] = self.job_id
        if self.trace is not None:
            more["trace_id"], more["span_id"] = self.trace.trace_id, self.trace.span_id
        if error is not None:
            more["reason"] = error.reason
            more["message"] = error.logged[:200]
        _log.info(
            "call",
            method=self.method,
            code=code,
            ms=round(seconds * 1e3, 3),
            request_id=self.request_id,
            caller=self.principal.name,
            **more,
        )


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _SANE_REQUEST_ID(value):
            return value
    # The id only identifies a log line, so it needs no secure random numbers.
    return f"{random.getrandbits(64):016x}"
