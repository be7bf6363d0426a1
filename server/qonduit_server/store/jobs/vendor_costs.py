# SPDX-License-Identifier: Apache-2.0
"""The costs of submissions: reserved by their estimates before they are sent, and settled by what the vendor charges.

A reservation is made in the transaction that plans the submissions, so nothing is sent without one. It ends in the
transaction that stores the outcome. A submission of which it is not known whether the vendor has it stays reserved.

Each unit is an account of its own: currencies, seconds and credits cannot be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import ARRAY, Text, bindparam, text

from qonduit.execution.v1.vendor_pb2 import Idempotency, VendorJob
from qonduit.v1.job_pb2 import Job, VendorCost
from qonduit_server.errors import CallError, FailedPrecondition, QuotaExceeded
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.job_sizes import truncate
from qonduit_server.store.jobs.submission_entries import Entry, State
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.quota_registry import MAX_UNIT_BYTES, Allowance
from qonduit_server.store.usage_ledger import DAY, MILLION, CostKey, UsageKey
from qonduit_server.store.users.quota_checks import exceeded, read_costs, seconds_to_midnight
from qonduit_server.store.writer import Transaction

#: A cost that a vendor reports is not stored above this amount: sums must fit in the column.
_MOST: Final = 10**9

# As the locks of quota_checks.py, with a class of its own: a claim must not wait for the plan of a job.
_LOCK: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(owner, 1904)) FROM unnest(:owners) AS owner"
).bindparams(bindparam("owners", type_=ARRAY(Text)))


def priced(entry: Entry, cost: VendorCost | None) -> Entry:
    """Return a submission with its estimated cost; None if that is not known."""
    if cost is None:
        return entry
    return replace(entry, price=millionths(cost.amount, up=True), price_unit=_unit(cost.unit))


def millionths(amount: float, *, up: bool = False) -> int:
    """Return an amount in millionths of its unit; `up` rounds up, as estimates are."""
    if not amount > 0:  # also NaN
        return 0
    return math.ceil(min(amount, _MOST) * MILLION - 1e-6) if up else round(min(amount, _MOST) * MILLION)


class CostLimits:
    """The limits of the costs of jobs in one transaction, which it holds until its commit.

    Args:
        transaction: the transaction.
        jobs: those whose submissions are planned.
    """

    def __init__(self, transaction: Transaction, jobs: Iterable[Job]) -> None:
        self._transaction = transaction
        self._day = transaction.now // DAY
        snapshot = transaction.quotas()
        found = {owner: snapshot.of(owner) for owner in map(owner_of, jobs)}
        self._allowances = {owner: each for owner, each in found.items() if each.limits_costs}
        self._spent: dict[str, dict[str, int]] = {}
        if self._allowances:
            if transaction.kind == "postgresql":
                transaction.connection.execute(_LOCK, {"owners": sorted(self._allowances)})
            # A separate statement, which sees what others committed before they released the locks.
            self._spent = read_costs(transaction.connection, self._allowances, self._day)
            for owner, units in self._spent.items():
                for unit, amount in transaction.usage.pending_cost(owner, self._day).items():
                    units[unit] = units.get(unit, 0) + amount

    def reserve(
        self, job: Job, known: Sequence[Entry], wanted: Sequence[Entry], why_unpriced: str = ""
    ) -> CallError | list[Entry]:
        """Reserve the prices of new submissions of a job.

        Args:
            job: the job.
            known: its earlier submissions.
            wanted: the new ones.
            why_unpriced: why the vendor has not estimated the cost of those without a price, if that is known.

        Returns:
            The new submissions, reserved; or why they are refused, and nothing is reserved.
        """
        prices = _sums(wanted)
        owner = owner_of(job)
        limited = self._allowances.get(owner)
        unknown = _unknown_cost(job.device, wanted, why_unpriced)
        refusal = _over_maximum(job, known, prices, unknown)
        if refusal is None and limited is not None:
            refusal = _over_quota(owner, limited, prices, self._spent[owner], unknown, self._transaction.now)
        if refusal is not None:
            return refusal
        for unit, amount in prices.items():
            self._transaction.usage.cost(CostKey(_used(job), self._day, unit), reserved=amount)
            if limited is not None:
                self._spent[owner][unit] = self._spent[owner].get(unit, 0) + amount
        return [each if each.price is None else replace(each, reserved_on=self._day) for each in wanted]


def check_estimate(db: Database, owner: str, job: Job, cost: VendorCost | None, why_unpriced: str) -> None:
    """Check the estimated cost of a job that is not submitted, for `validate_only`.

    Args:
        db: has the quotas.
        owner: of the job.
        job: its device, and its maximum cost.
        cost: the estimate; None if it is not known.
        why_unpriced: as in `CostLimits.reserve`.

    Raises:
        FailedPrecondition: reason COST_LIMIT, it exceeds the maximum of the job, or is not known.
        QuotaExceeded: it exceeds the quota of the owner.
    """
    estimate = priced(Entry(0, 0, "", State.PLANNED, Idempotency.IDEMPOTENCY_NOTHING, ""), cost)
    unknown = _unknown_cost(job.device, [estimate], why_unpriced)
    refusal = _over_maximum(job, (), _sums([estimate]), unknown)
    allowed, now = db.quotas.of(owner), db.now()
    if refusal is None and allowed.limits_costs:
        with db.read() as connection:
            used = read_costs(connection, [owner], now // DAY)[owner]
        refusal = _over_quota(owner, allowed, _sums([estimate]), used, unknown, now)
    if refusal is not None:
        raise refusal


def settle(transaction: Transaction, job: Job, before: Entry, after: Entry) -> Entry:
    """Record the cost of a submission whose outcome is stored, and end its reservation; return it as it is then."""
    day = transaction.now // DAY if before.reserved_on is None else before.reserved_on
    spent = dict(each for each in (_computed(after), _actual(after.status)) if each is not None)
    for unit, amount in spent.items():
        if amount:
            transaction.usage.cost(CostKey(_used(job), day, unit), spent=amount)
    return release(transaction, job, after)


def release(transaction: Transaction, job: Job, entry: Entry) -> Entry:
    """End the reservation of a submission; return it without one."""
    if entry.reserved_on is None:
        return entry
    key = CostKey(_used(job), entry.reserved_on, entry.price_unit)
    transaction.usage.cost(key, reserved=-(entry.price or 0))
    return replace(entry, reserved_on=None)


def moved(transaction: Transaction, before: Job, after: Job, entry: Entry) -> Entry:
    """Move the reservation of a submission to the job that continues it; return the submission of that job."""
    if entry.reserved_on is not None:
        release(transaction, before, entry)
        key = CostKey(_used(after), entry.reserved_on, entry.price_unit)
        transaction.usage.cost(key, reserved=entry.price or 0)
    return entry


def end(transaction: Transaction, job: Job, entries: Sequence[Entry]) -> list[Entry]:
    """End the reservations of a job that ends; return the changed submissions.

    Those that were not sent cost nothing, and of those that the vendor has, the estimates count. While a submission is
    unknown, all stay reserved: what settles it may continue the others.
    """
    if any(entry.state == State.UNKNOWN for entry in entries):
        return []
    changed = []
    for entry in entries:
        if entry.reserved_on is not None:
            if entry.is_group and entry.state == State.SUBMITTED:
                continue  # it is open, and settled once it is closed
            if entry.state in (State.SUBMITTING, State.SUBMITTED):
                changed.append(settle(transaction, job, entry, entry))
            else:
                changed.append(release(transaction, job, entry))
    return changed


def _actual(status: VendorJob) -> tuple[str, int] | None:
    """Return the unit and the amount that the vendor reports, if it reports a number."""
    if not status.HasField("cost") or not math.isfinite(status.cost):
        return None
    return _unit(status.cost_unit), millionths(status.cost)


def _computed(entry: Entry) -> tuple[str, int] | None:
    """Return the unit and the amount by the prices, unless the vendor reports its cost in that unit."""
    amount = entry.computed_cost
    return None if amount is None else (entry.price_unit, amount)


def _unit(text: str) -> str:
    return truncate(text.replace("\0", ""), MAX_UNIT_BYTES)


def _sums(entries: Iterable[Entry]) -> dict[str, int]:
    """Return the sums of prices by unit."""
    sums: dict[str, int] = {}
    for entry in entries:
        if entry.price is not None:
            sums[entry.price_unit] = sums.get(entry.price_unit, 0) + entry.price
    return sums


def _over_maximum(job: Job, known: Sequence[Entry], prices: Mapping[str, int], unknown: str) -> CallError | None:
    """Return why new submissions exceed the maximum cost of their job, if they do."""
    if not job.HasField("max_cost"):
        return None
    unit, most = job.max_cost.unit, millionths(job.max_cost.amount)
    if unknown:
        return _refused(f"max_cost is {_show(most, unit)}, and {unknown}")
    if others := sorted(other for other, price in prices.items() if price and other != unit):
        return _refused(
            f"the estimated cost of the job is {_show(prices[others[0]], others[0])}, and max_cost is "
            f"{_show(most, unit)}: max_cost must have the unit of the vendor"
        )
    before = 0
    for entry in known:
        actual = _actual(entry.status)
        if actual is not None and actual[0] == unit:
            before += actual[1]
        elif entry.price_unit == unit:
            done = entry.computed_cost if entry.state == State.DONE else None
            before += (entry.price or 0) if done is None else done
    if before + prices.get(unit, 0) > most:
        already = f", of which {_show(before, unit)} is for its earlier calls" if before else ""
        total = _show(before + prices.get(unit, 0), unit)
        return _refused(f"the estimated cost of the job is {total}{already}, and max_cost is {_show(most, unit)}")
    return None


def _over_quota(
    owner: str,
    allowed: Allowance,
    prices: Mapping[str, int],
    used: Mapping[str, int],
    unknown: str,
    now: int,
) -> QuotaExceeded | None:
    """Return why submissions exceed the quota of their owner, if they do."""
    if unknown:
        return exceeded("cost_per_day", owner, unknown, None)
    for unit, price in sorted(prices.items()):
        limit = allowed.cost_limit(unit)
        if limit is None:
            continue
        most = millionths(limit)
        if used.get(unit, 0) + price > most:
            hint = f"the estimated cost is {_show(price, unit)}, {_show(used.get(unit, 0), unit)} of "
            hint += f"{_show(most, unit)} are spent or reserved today"
            if price > most:
                return exceeded("cost_per_day", owner, hint, None)
            return exceeded("cost_per_day", owner, f"{hint}; retry after midnight UTC", seconds_to_midnight(now))
    return None


def _unknown_cost(device: str, wanted: Sequence[Entry], why: str) -> str:
    """Return why the cost of submissions is not known; empty if it is known."""
    if all(each.price is not None for each in wanted):
        return ""
    why = why or "the vendor states none"
    return (
        f"the cost of the job is not known before it is submitted: {why}, and the operator states no price of "
        f"{device or 'the device'} in vendor_prices"
    )


def _refused(message: str) -> FailedPrecondition:
    return FailedPrecondition(message, subject="job.max_cost", kind="COST", reason="COST_LIMIT")


def _show(amount: int, unit: str) -> str:
    return f"{amount / MILLION:.6f}".rstrip("0").rstrip(".") + f" {unit}"


def _used(job: Job) -> UsageKey:
    return UsageKey(owner_of(job), job.executed_by, job.device)
