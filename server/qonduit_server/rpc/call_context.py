# SPDX-License-Identifier: Apache-2.0
"""One call as the gRPC server knows it: its request id, its principal, and the one line the log gets about it."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable

import grpc
import structlog

from qonduit_server.errors import CallError
from qonduit_server.rpc.auth import UNAUTHENTICATED, Metadata

REQUEST_ID_KEY = "x-request-id"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}").fullmatch

_log = structlog.get_logger("qonduit.rpc")


class RateLimitedLog:
    """Lets one line a second about the same thing into the log, and counts the others.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def says(self, method: str, reason: str) -> int | None:
        """Return how many lines were left out since the last one; None: this one is to be left out, too."""
        key = (method, reason)
        with self._lock:
            said_at, left_out = self._said.get(key, (float("-inf"), 0))
            now = self._clock()
            if now - said_at < 1.0:
                self._said[key] = (said_at, left_out + 1)
                return None
            self._said[key] = (now, 0)
            return left_out


#: Why calls are refused when nobody can be served: clients try again, all of them, and often.
_FOR_EVERYBODY = ("STORE_UNAVAILABLE", "DRAINING")
_refused = RateLimitedLog()


class CallContext:
    """Made when a call arrives, passed to its handler, logged when it ended. Handlers set `job_id` if they know it."""

    __slots__ = ("_context", "_started", "job_id", "method", "principal", "request_id")

    def __init__(self, method: str, metadata: Metadata, context: grpc.ServicerContext | None = None) -> None:
        self.method = method
        self.request_id = _request_id(metadata)
        self.principal = UNAUTHENTICATED
        self.job_id = 0
        self._started = time.perf_counter()
        self._context = context

    def seconds_left(self) -> float:
        """How long the caller waits; infinity for ever."""
        left = self._context.time_remaining() if self._context is not None else None
        return float("inf") if left is None else left

    def add_callback(self, do: Callable[[], None]) -> bool:
        """Have something done when the call is over, because it was answered or because the caller waits no more.

        Returns:
            Whether it will be done; if not, the call is over already.
        """
        return self._context is None or self._context.add_callback(do)

    @property
    def trailer(self) -> tuple[tuple[str, str | bytes], ...]:
        """Metadata that every answer ends with."""
        return ((REQUEST_ID_KEY, self.request_id),)

    def ended(self, error: CallError | None = None, *, code: str = "OK", flood: bool = False, **more: object) -> None:
        """Write the call's line to the log. Never a program, never a credential: only names, numbers and ids.

        Of calls of one method that are refused for the same reason, because the server or its database is not there
        for anybody, one a second has its line.

        Args:
            flood: refusals like this one may come in any number, and are treated likewise.
        """
        if error is not None and (flood or error.reason in _FOR_EVERYBODY):
            left_out = _refused.says(self.method, error.reason)
            if left_out is None:
                return
            if left_out:
                more["left_out"] = left_out
        if self.job_id:
            more["job_id"] = self.job_id
        if error is not None:
            code = error.status
            more["reason"] = error.reason
            more["message"] = error.message[:200]
        _log.info(
            "call",
            method=self.method,
            code=code,
            ms=round((time.perf_counter() - self._started) * 1e3, 3),
            request_id=self.request_id,
            caller=self.principal.name,
            **more,
        )


def _request_id(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _SANE_REQUEST_ID(value):
            return value
    # It names a line in the log and guards nothing, so it is not worth a call to the operating system.
    return f"{random.getrandbits(64):016x}"
