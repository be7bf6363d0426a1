# SPDX-License-Identifier: Apache-2.0
"""What owners use, as changes of one transaction, written with it in two statements.

The rows of an owner are locked from the end of a transaction to its commit, so that servers that share a database wait
for each other only that long.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Connection

from qonduit_server.store.bulk_statements import BulkUpsert
from qonduit_server.store.usage_tables import owner_totals, usage

#: Microseconds per day.
DAY: Final = 86_400_000_000


class UsageKey(NamedTuple):
    """Whose jobs ran, who executed them, and where: a device as "PROVIDER/device"."""

    owner: str
    executed_by: str
    device: str


@dataclass(slots=True)
class Used:
    """What jobs used, or the change of an owner's totals."""

    jobs: int = 0
    shots: int = 0
    seconds: float = 0.0
    stored_bytes: int = 0


class UsageLedger:
    """The changes of one transaction."""

    def __init__(self) -> None:
        self._ran: defaultdict[UsageKey, Used] = defaultdict(Used)
        self._totals: defaultdict[str, Used] = defaultdict(Used)

    def __bool__(self) -> bool:
        """Return whether anything changed."""
        return bool(self._totals or self._ran)

    def ran(self, key: UsageKey, *, jobs: int = 0, shots: int = 0, seconds: float = 0.0) -> None:
        """Add what jobs used when they ran."""
        used = self._ran[key]
        used.jobs += jobs
        used.shots += shots
        used.seconds += seconds
        if seconds:
            self._totals[key.owner].seconds += seconds

    def submitted(self, owner: str, shots: int) -> None:
        """Add the shots of a new job."""
        self._totals[owner].shots += shots

    def stored(self, owner: str, size: int) -> None:
        """Add bytes that an owner stores; negative if they were deleted."""
        self._totals[owner].stored_bytes += size

    def pending(self, owner: str) -> Used:
        """Return the changes of an owner's totals, which are not written yet."""
        return self._totals.get(owner, Used())

    def write(self, connection: Connection, now: int) -> None:
        """Write all changes.

        Args:
            connection: the connection of the transaction.
            now: the time of the transaction in microseconds since 1970.
        """
        day = now // DAY
        if self._totals:
            totals = [(owner, self._totals[owner]) for owner in sorted(self._totals)]
            rows = [(owner, day, used.stored_bytes, used.shots, used.seconds) for owner, used in totals]
            _ADD_TOTALS(connection, rows)
        if self._ran:
            ran = [(key, self._ran[key]) for key in sorted(self._ran)]
            _ADD_USAGE(
                connection, [(key.owner, day, *key[1:], used.jobs, used.shots, used.seconds) for key, used in ran]
            )


# A server whose clock is behind adds to the later day.
_ADD_TOTALS: Final = BulkUpsert(
    owner_totals,
    ("owner", "day", "stored_bytes", "shots", "seconds"),
    "stored_bytes = owner_totals.stored_bytes + excluded.stored_bytes, "
    "shots = excluded.shots + CASE WHEN owner_totals.day < excluded.day THEN 0 ELSE owner_totals.shots END, "
    "seconds = excluded.seconds + CASE WHEN owner_totals.day < excluded.day THEN 0 ELSE owner_totals.seconds END, "
    "day = CASE WHEN owner_totals.day < excluded.day THEN excluded.day ELSE owner_totals.day END",
)
_ADD_USAGE: Final = BulkUpsert(
    usage,
    ("owner", "day", "executed_by", "device", "jobs", "shots", "seconds"),
    "jobs = usage.jobs + excluded.jobs, shots = usage.shots + excluded.shots, "
    "seconds = usage.seconds + excluded.seconds",
)
