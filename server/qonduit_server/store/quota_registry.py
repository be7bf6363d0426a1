# SPDX-License-Identifier: Apache-2.0
"""The quotas in force: the default of the settings, and the stored quotas of owners, cached in memory.

A stored quota is rare and a call is not, so all stored quotas are read at once, and again after a change on any server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, select

from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_server.errors import StartError, Unavailable
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.usage_tables import quotas

#: The value of a quota without a limit.
UNLIMITED: Final = -1
#: The names of all quotas, in the order of the contract.
NAMES: Final = tuple(each.name for each in QuotaValues.DESCRIPTOR.fields)
_ALL: Final = select(quotas.c.owner, quotas.c.limits)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """The limits of one owner; None means no limit. The names are those of `QuotaValues`."""

    queued_jobs: int | None = None
    running_jobs: int | None = None
    shots_per_day: int | None = None
    worker_seconds_per_day: int | None = None
    running_memory_bytes: int | None = None
    stored_bytes: int | None = None
    open_streams: int | None = None
    calls_per_second: int | None = None
    open_buffers: int | None = None
    upload_bytes_per_minute: int | None = None

    @property
    def limits_submissions(self) -> bool:
        """Whether a new job or deployment may be refused."""
        return not self.queued_jobs is self.shots_per_day is self.stored_bytes is None

    @property
    def limits_claims(self) -> bool:
        """Whether a queued job may be held back."""
        return not self.running_jobs is self.worker_seconds_per_day is self.running_memory_bytes is None

    def message(self) -> QuotaValues:
        """Return the limits as a message; UNLIMITED stands for no limit."""
        values = {name: getattr(self, name) for name in NAMES}
        return QuotaValues(**{name: UNLIMITED if value is None else value for name, value in values.items()})


#: The allowance of every owner on a server without quotas.
EVERYTHING: Final = Allowance()


def allowance(values: QuotaValues, default: Allowance = EVERYTHING) -> Allowance:
    """Return the limits of an owner: those that are set in `values`, otherwise those of the default."""

    def limit(name: str) -> int | None:
        if not values.HasField(name):
            found: int | None = getattr(default, name)
            return found
        value: int = getattr(values, name)
        return None if value == UNLIMITED else value

    return Allowance(**{name: limit(name) for name in NAMES})


def read_setting(default_quotas: Mapping[str, str]) -> QuotaValues:
    """Return the quotas of owners without their own, from the setting. Raises StartError."""
    for name, value in default_quotas.items():
        if name not in NAMES or not (value.isascii() and value.isdigit()) or int(value) >= 2**63:
            raise StartError(
                f"default_quotas must be NAME=NUMBER,NAME=NUMBER with integers of at least 0, got {name}={value}; "
                f"names: {', '.join(NAMES)}"
            )
    return QuotaValues(**{name: int(value) for name, value in default_quotas.items()})


@dataclass(frozen=True)
class QuotaSnapshot:
    """The quotas at one time.

    Attributes:
        default: the allowance of owners without a quota of their own.
        owners: the allowances of the others.
    """

    default: Allowance = EVERYTHING
    owners: Mapping[str, Allowance] = field(default_factory=dict)

    def of(self, owner: str) -> Allowance:
        """Return the allowance of an owner."""
        return self.owners.get(owner, self.default)

    @property
    def limits_days(self) -> bool:
        """Whether the seconds of a day are limited for any owner: their jobs start again at midnight."""
        return any(each.worker_seconds_per_day is not None for each in (self.default, *self.owners.values()))


class QuotaRegistry:
    """Caches the stored quotas. Thread-safe.

    Args:
        connect: returns a connection for reading.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        #: The limits of owners without a quota of their own.
        self.default = EVERYTHING
        self._snapshot = QuotaSnapshot()
        self._stale = True
        self._day = 0

    def is_new_day(self, day: int) -> bool:
        """Return whether a day has not been seen before; one thread calls this."""
        seen, self._day = self._day, max(day, self._day)
        return day > seen

    def set_default(self, default: QuotaValues) -> None:
        """Set the limits of owners without a quota of their own."""
        self.default = allowance(default)
        self._stale = True

    def on_notification(self, notification: Notification) -> None:
        """Read the quotas again before they are used, if they changed; called by the store."""
        if notification.quotas:
            self._stale = True

    def of(self, owner: str) -> Allowance:
        """Return the allowance of an owner; while the database is unavailable, as it was before."""
        if self._stale:
            with suppress(Unavailable), self._connect() as connection:
                self.snapshot(connection)
        return self._snapshot.of(owner)

    def changed(self) -> None:
        """Read the quotas again before they are used."""
        self._stale = True

    def snapshot(self, connection: Connection) -> QuotaSnapshot:
        """Return the quotas; read them with this connection if they changed."""
        if self._stale:
            with self._lock:
                # Before the read: a change during it makes the quotas stale again.
                self._stale = False
                try:
                    rows = connection.execute(_ALL).all()
                except BaseException:
                    self._stale = True
                    raise
                default = self.default
                owners = {row.owner: allowance(QuotaValues.FromString(row.limits), default) for row in rows}
                self._snapshot = QuotaSnapshot(default, owners)
        return self._snapshot
