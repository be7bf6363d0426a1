# SPDX-License-Identifier: Apache-2.0
"""The jobs that this server has claimed, shared by the claimer, the recorder and the lease keeper."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from qonduit_server.execution.executor import Key

#: The interval at which a wait for jobs to end checks its other condition.
_CHECK_SECONDS: Final = 0.1


class RunningJobs:
    """Claimed jobs whose ends are not recorded. Thread-safe.

    Every job is claimed under the name of an owner, which has its lease. The name changes after a claim whose response
    was lost: renewals must not keep jobs that this server does not know from other servers.

    One lock guards all changes; reading a single value needs no lock. No other component is called while it is held,
    so it may be acquired under any other lock.

    Args:
        owner: the first name for claims; unique for each start of a server.
    """

    def __init__(self, owner: str) -> None:
        self._server = self._claiming_owner = owner
        self._numbers = itertools.count(1)
        self._changed = threading.Condition(threading.Lock())
        self._owners: dict[Key, str] = {}
        self._returned: dict[Key, int] = {}
        #: The jobs whose ends have not arrived, and whether the executor has their tasks.
        self._expected: dict[Key, bool] = {}
        self._cancels: frozenset[Key] = frozenset()
        self._closed = False
        self._abandoned = False

    def __len__(self) -> int:
        """Return the number of running jobs."""
        return len(self._owners)

    def __contains__(self, key: Key) -> bool:
        """Return whether this attempt is running."""
        return key in self._owners

    def add(self, keys: Iterable[Key], owner: str, returned: Mapping[Key, int] = MappingProxyType({})) -> None:
        """Add jobs that were claimed under a name, with the numbers of their attempts that do not count, if any."""
        with self._changed:
            self._returned.update(returned)
            for key in keys:
                self._owners[key] = owner
                self._expected[key] = False

    def remove(self, keys: Iterable[Key]) -> None:
        """Remove jobs whose ends are recorded, that were requeued, or that belong to another server."""
        with self._changed:
            for key in keys:
                self._owners.pop(key, None)
                self._expected.pop(key, None)
                self._returned.pop(key, None)
            if not self._owners:
                self._changed.notify_all()

    def keys(self) -> list[Key]:
        """Return all running jobs."""
        with self._changed:
            return list(self._owners)

    def returned_attempts(self, key: Key) -> int:
        """Return the number of attempts of a job that do not count."""
        return self._returned.get(key, 0)

    def owner_of(self, key: Key) -> str | None:
        """Return the owner of a job; None if it is not running."""
        return self._owners.get(key)

    # The executor's tasks.

    def submitted(self, keys: Iterable[Key]) -> None:
        """Record that the executor has tasks. Some may have ended already."""
        with self._changed:
            self._expected.update((key, True) for key in keys if key in self._expected)

    def ended(self, keys: Iterable[Key]) -> None:
        """Record that the executor reported the ends of tasks."""
        with self._changed:
            for key in keys:
                self._expected.pop(key, None)

    def expected(self) -> set[Key]:
        """Return the jobs whose tasks the executor has: it must still report their ends."""
        with self._changed:
            return {key for key, submitted in self._expected.items() if submitted}

    # Owners.

    @property
    def claiming_owner(self) -> str:
        """The owner of the next claims."""
        return self._claiming_owner

    def change_owner(self) -> str:
        """Use a new owner for the next claims; return the previous one."""
        with self._changed:
            before = self._claiming_owner
            self._claiming_owner = f"{self._server}/{next(self._numbers)}"
        return before

    def owners(self) -> set[str]:
        """Return all owners whose leases must be renewed, including the owner of a current claim."""
        with self._changed:
            return {self._claiming_owner, *self._owners.values()}

    # Cancels.

    def request_cancels(self, keys: Iterable[Key]) -> None:
        """Set the jobs to cancel. The claimer may be about to submit some of them."""
        with self._changed:
            self._cancels = frozenset(keys)

    def cancel_requested(self, key: Key) -> bool:
        """Return whether the cancellation of a job was requested."""
        return key in self._cancels

    # The end.

    @property
    def closed(self) -> bool:
        """Whether claiming has stopped."""
        return self._closed

    @property
    def abandoned(self) -> bool:
        """Whether the jobs were abandoned after a fault."""
        return self._abandoned

    def close(self) -> None:
        """Claim no more jobs."""
        with self._changed:
            self._closed = True

    def abandon(self) -> None:
        """Abandon the jobs after a fault: their leases expire, and no job is claimed or waited for."""
        with self._changed:
            self._closed = self._abandoned = True
            self._changed.notify_all()

    def wait_until_empty(self, enough: Callable[[], bool]) -> bool:
        """Wait until no job runs or `enough` returns True; return whether no job runs."""
        with self._changed:
            while self._owners and not self._abandoned and not enough():
                self._changed.wait(_CHECK_SECONDS)
            return not self._owners
