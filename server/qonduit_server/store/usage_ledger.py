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
from qonduit_server.store.usage_tables import owner_totals, usage, usage_costs

#: Microseconds per day.
DAY: Final = 86_400_000_000
#: Costs are stored in millionths of their unit.
MILLION: Final = 1_000_000


class UsageKey(NamedTuple):
    """Whose jobs ran, who executed them, and where: a device as "PROVIDER/device"."""

    owner: str
    executed_by: str
    device: str


class CostKey(NamedTuple):
    """Whose jobs a vendor charges for, where they run, the day since 1970 of their submission, and the unit."""

    used: UsageKey
    day: int
    unit: str


@dataclass(slots=True)
class Cost:
    """Costs, or their change, in millionths of the unit: reserved estimates, and charges."""

    reserved: int = 0
    spent: int = 0


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
        self._costs: defaultdict[CostKey, Cost] = defaultdict(Cost)

    def __bool__(self) -> bool:
        """Return whether anything changed."""
        return bool(self._totals or self._ran or self._costs)

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

    def cost(self, key: CostKey, *, reserved: int = 0, spent: int = 0) -> None:
        """Add what a vendor charges; negative if a reservation ends."""
        found = self._costs[key]
        found.reserved += reserved
        found.spent += spent

    def pending_cost(self, owner: str, day: int) -> dict[str, int]:
        """Return the changes of what an owner spends on a day, reserved or not, by unit; they are not written yet."""
        found: defaultdict[str, int] = defaultdict(int)
        for key, cost in self._costs.items():
            if (key.used.owner, key.day) == (owner, day):
                found[key.unit] += cost.reserved + cost.spent
        return found

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
        ran = {(key.owner, day, *key[1:]): used for key, used in self._ran.items()}
        for key in self._costs:
            # A list of usage begins with these rows.
            ran.setdefault((key.used.owner, key.day, *key.used[1:]), Used())
        if ran:
            _ADD_USAGE(connection, [(*key, ran[key].jobs, ran[key].shots, ran[key].seconds) for key in sorted(ran)])
        if self._costs:
            costs = [(key, self._costs[key]) for key in sorted(self._costs)]
            _ADD_COSTS(
                connection,
                [(key.used.owner, key.day, *key.used[1:], key.unit, cost.reserved, cost.spent) for key, cost in costs],
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
_ADD_COSTS: Final = BulkUpsert(
    usage_costs,
    ("owner", "day", "executed_by", "device", "unit", "reserved", "spent"),
    "reserved = usage_costs.reserved + excluded.reserved, spent = usage_costs.spent + excluded.spent",
)
