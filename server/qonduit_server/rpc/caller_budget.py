# SPDX-License-Identifier: Apache-2.0
"""The share of one caller in the processes that read and compile programs for waiting calls.

Translations, validations, comparisons and choices of devices occupy a worker and run no job. Each caller may have a
number of them at once, and a budget of worker seconds per minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from qonduit_server.errors import ResourceExhausted

#: Receives the seconds for which a call occupied a worker.
Charge = Callable[[float], None]

_MINUTE: Final = 60.0
#: With more callers than this, those that have their whole budget are forgotten.
_MANY: Final = 1000


@dataclass
class _Account:
    """One caller: its calls at present, and the seconds that it may still use, as of a time."""

    left: float
    at: float
    calls: int = 0


class CallerBudget:
    """The budgets of all callers. Thread-safe.

    Args:
        most_calls: the maximum number of calls of one caller at once; 0 means no limit.
        seconds_per_minute: the worker seconds that one caller may use per minute; 0 means no limit. A call that has
            begun is not interrupted: the caller then waits until the debt is paid.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self, most_calls: int = 0, seconds_per_minute: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_calls = most_calls
        self._seconds = seconds_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def set_limits(self, most_calls: int, seconds_per_minute: float) -> None:
        """Replace the limits of all callers, for calls that begin from now on."""
        with self._lock:
            # A caller that has used nothing has its whole budget, whatever that is.
            for account in self._accounts.values():
                account.left += seconds_per_minute - self._seconds
            self._most_calls, self._seconds = most_calls, seconds_per_minute

    @contextmanager
    def call(self, caller: str) -> Iterator[None]:
        """Hold a place of a caller for one call; raises as `acquire`."""
        self.acquire(caller)
        try:
            yield
        finally:
            self.release(caller)

    def acquire(self, caller: str) -> None:
        """Take a place of a caller, which any thread may release.

        Raises:
            ResourceExhausted: the caller has too many calls at once, or has used its budget.
        """
        with self._lock:
            account = self._account(caller)
            if 0 < self._most_calls <= account.calls:
                raise ResourceExhausted(
                    "limit of translations, validations and comparisons of one caller at once reached "
                    f"(max_caller_preparations = {self._most_calls}); retry later",
                    subject="max_caller_preparations",
                )
            if self._seconds and account.left <= 0:
                raise ResourceExhausted(
                    "the time of translations, validations and comparisons of one caller per minute is used "
                    f"(max_caller_preparation_seconds = {self._seconds:g}); retry later",
                    subject="max_caller_preparation_seconds",
                    retry_after=max(1.0, (0.1 - account.left) * _MINUTE / self._seconds),
                )
            account.calls += 1

    def release(self, caller: str) -> None:
        """Release a place."""
        with self._lock:
            self._account(caller).calls -= 1
            if len(self._accounts) > _MANY:
                self._forget()

    def charge(self, caller: str) -> Charge:
        """Return the function that charges worker seconds to a caller."""

        def charge(seconds: float) -> None:
            with self._lock:
                self._account(caller).left -= seconds

        return charge

    def _account(self, caller: str) -> _Account:
        now = self._clock()
        account = self._accounts.setdefault(caller, _Account(self._seconds, now))
        account.left = min(self._seconds, account.left + (now - account.at) * self._seconds / _MINUTE)
        account.at = now
        return account

    def _forget(self) -> None:
        for caller in list(self._accounts):
            account = self._account(caller)
            if not account.calls and account.left >= self._seconds:
                del self._accounts[caller]
