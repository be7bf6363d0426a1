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
#: The names of the quotas that are one number, in the order of the contract; and those of all.
NUMBERS: Final = tuple(each.name for each in QuotaValues.DESCRIPTOR.fields if each.has_presence)
#: The quota of costs, which has a number for each unit, and the unit that stands for all others.
COSTS: Final = "cost_per_day"
OTHER_UNITS: Final = "*"
#: The largest unit of a cost.
MAX_UNIT_BYTES: Final = 64
#: The maximum number of units of an owner's limits.
MAX_UNITS: Final = 16
NAMES: Final = (*NUMBERS, COSTS)
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
    #: By unit; UNLIMITED means no limit.
    cost_per_day: Mapping[str, float] = field(default_factory=dict)

    @property
    def limits_submissions(self) -> bool:
        """Whether a new job or deployment may be refused."""
        return not self.queued_jobs is self.shots_per_day is self.stored_bytes is None

    @property
    def limits_claims(self) -> bool:
        """Whether a queued job may be held back."""
        return not self.running_jobs is self.worker_seconds_per_day is self.running_memory_bytes is None

    @property
    def limits_costs(self) -> bool:
        """Whether a submission to a vendor may be refused."""
        return any(value != UNLIMITED for value in self.cost_per_day.values())

    def cost_limit(self, unit: str) -> float | None:
        """Return the limit of costs in a unit; None if it has none."""
        value = self.cost_per_day.get(unit, self.cost_per_day.get(OTHER_UNITS, UNLIMITED))
        return None if value == UNLIMITED else value

    def message(self) -> QuotaValues:
        """Return the limits as a message; UNLIMITED stands for no limit."""
        values = {name: getattr(self, name) for name in NUMBERS}
        numbers = {name: UNLIMITED if value is None else value for name, value in values.items()}
        return QuotaValues(**numbers, cost_per_day=self.cost_per_day)


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

    costs = {**default.cost_per_day, **values.cost_per_day}
    return Allowance(**{name: limit(name) for name in NUMBERS}, cost_per_day=costs)


def read_setting(default_quotas: Mapping[str, str]) -> QuotaValues:
    """Return the quotas of owners without their own, from the setting. Raises StartError."""
    found = QuotaValues()
    for name, value in default_quotas.items():
        prefix, _, unit = name.partition(".")
        number = value.isascii() and value.isdigit() and int(value) < 2**63
        if name in NUMBERS and number:
            setattr(found, name, int(value))
        elif prefix == COSTS and unit and len(unit.encode()) <= MAX_UNIT_BYTES and (number or _is_decimal(value)):
            found.cost_per_day[unit] = float(value)
        else:
            raise StartError(
                f"default_quotas must be NAME=NUMBER,NAME=NUMBER with integers of at least 0, got {name}={value}; "
                f"names: {', '.join(NUMBERS)}, and {COSTS}.UNIT"
            )
    return found


def _is_decimal(value: str) -> bool:
    whole, _, fraction = value.partition(".")
    return value.isascii() and whole.isdigit() and fraction.isdigit() and len(value) < 20


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
