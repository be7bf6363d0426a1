# SPDX-License-Identifier: Apache-2.0
"""A submission of a job to a vendor, its changes, and the status that the submissions of a job have together."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Final, NamedTuple

from qonduit.execution.v1.vendor_pb2 import Idempotency, VendorJob, VendorJobState, VendorOutcomes
from qonduit.v1.job_pb2 import ProviderStatus, VendorCancellation, VendorPart
from qonduit_server.capabilities import VENDOR_MODES
from qonduit_server.store.jobs.job_sizes import truncate
from qonduit_server.store.usage_ledger import MILLION

#: The limits of what a job shows of its parts: it must take at most 16 KiB.
SHOWN_PARTS: Final = 16
#: The key of a submission of which the ledger contains only that it may exist.
LOST_KEY: Final = ""
#: The stage of the submission that opens the batch or the session of the others of a job.
GROUP_STAGE: Final = -1
#: The state of a submission that a user has settled by an id, until the vendor reports one.
ADOPTED_WORD: Final = "adopted"
_SHOWN_ID_BYTES: Final = 160
_SHOWN_WORD_BYTES: Final = 64
SHOWN_TEXT_BYTES: Final = 512


class State(IntEnum):
    """The states of a submission."""

    PLANNED = 1  #: it was not sent
    SUBMITTING = 2  #: a call may have reached the vendor, or may still do so
    SUBMITTED = 3  #: the vendor has it, and its id is known
    DONE = 4  #: its outcomes are stored
    UNKNOWN = 5  #: it cannot be found out whether the vendor has it
    NOT_SUBMITTED = 6  #: a user states that the vendor does not have it
    ADOPTED = 7  #: a user stated the vendor's id, and another job continues
    BARRED = 8  #: changes are lost in which it may have been planned and sent; nothing is submitted any more


#: The states of submissions that a vendor may have, and whose outcomes are not stored.
OPEN: Final = (State.SUBMITTING, State.SUBMITTED)


class Holder(NamedTuple):
    """The server that has the lease of an attempt. Without the lease, it changes nothing."""

    job_id: int
    attempt: int
    server: str


@dataclass(frozen=True)
class Entry:
    """A submission.

    Attributes:
        stage: the number of the call of the device in the job; `GROUP_STAGE` if it opens the group of the others.
        part: the number of the part of this call.
        key: of the call, as in `Submission`.
        state: its state.
        idempotency: how the vendor prevents double submissions.
        token: the id, token or tag of this server.
        vendor_id: the vendor's id; empty if it is not known.
        calls: the number of calls that submitted it.
        begun_at: the time of the last such call, in microseconds since 1970.
        deadline: the time until which that call may reach the vendor, in microseconds since 1970.
        status: what the vendor reported last.
        price: the estimated cost in millionths of the unit; None if it is not known.
        price_unit: the unit.
        reserved_on: the day for which the price is reserved, in days since 1970; None if it is not.
    """

    stage: int
    part: int
    key: str
    state: State
    idempotency: Idempotency
    token: str
    vendor_id: str = ""
    calls: int = 0
    begun_at: int = 0
    deadline: int = 0
    status: VendorJob = field(default_factory=VendorJob)
    price: int | None = None
    price_unit: str = ""
    reserved_on: int | None = None

    @property
    def computed_cost(self) -> int | None:
        """The cost by the prices, in millionths of their unit; None if the vendor reports its cost in that unit.

        Also None if the submission has no price, or is not charged.
        """
        status = self.status
        reported = status.HasField("cost") and math.isfinite(status.cost)
        if self.price is None or (reported and status.cost_unit == self.price_unit):
            return None
        ended_badly = status.state in (
            VendorJobState.VENDOR_JOB_STATE_FAILED,
            VendorJobState.VENDOR_JOB_STATE_CANCELLED,
        )
        charged = status.may_be_charged if ended_badly else bool(self.vendor_id) or self.state != State.DONE
        if not charged:
            return None
        return round(status.computed_cost * MILLION) if status.HasField("computed_cost") else self.price

    @property
    def is_group(self) -> bool:
        """Whether it is no job at the vendor, but the batch or the session of the others."""
        return self.stage == GROUP_STAGE


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of a submission; fields that are not set leave their values.

    Attributes:
        holder: the server that makes it.
        stage: of the submission.
        part: of the submission.
        expects: the states of which it must have one.
        state: its new state.
        begins: a call begins that may reach the vendor for so long.
        job: what the vendor reports; its id is kept if it has one.
        cancellation: what became of a request to cancel the job.
        message: a remark on the job.
        outcomes: the outcomes.
        raw: the vendor's response.
        shown: whether the job gets an event.
    """

    holder: Holder
    stage: int
    part: int
    expects: Collection[State] = ()
    state: State | None = None
    begins: timedelta | None = None
    job: VendorJob | None = None
    cancellation: VendorCancellation | None = None
    message: str | None = None
    outcomes: VendorOutcomes | None = None
    raw: bytes | None = None
    shown: bool = False


def status_of(entries: Sequence[Entry], changed: Change | None = None) -> ProviderStatus:
    """Return the status that the submissions of a job have together."""
    group = next((entry for entry in entries if entry.is_group), None)
    known = [entry for entry in entries if entry.state != State.BARRED]
    entries = [entry for entry in known if not entry.is_group]
    last = entries[-1].status if entries else VendorJob()
    if changed is not None and changed.job is not None and changed.stage != GROUP_STAGE:
        last = changed.job
    status = ProviderStatus(state=truncate(last.word, _SHOWN_WORD_BYTES), part_count=len(entries))
    if last.HasField("queue_position"):
        status.queue_position = last.queue_position
    if last.HasField("started_at"):
        status.started_at.CopyFrom(last.started_at)
    if last.HasField("estimated_start"):
        status.estimated_start.CopyFrom(last.estimated_start)
    costs = [entry.status for entry in known if entry.status.HasField("cost")]
    if costs and len({each.cost_unit for each in costs}) == 1:
        status.cost.amount = sum(each.cost for each in costs)
        status.cost.unit = truncate(costs[0].cost_unit, _SHOWN_WORD_BYTES)
    show_reserved(status, known)
    computed = [
        (entry.computed_cost, entry.price_unit)
        for entry in known
        if entry.state == State.DONE and entry.computed_cost is not None
    ]
    if len({unit for _, unit in computed}) == 1:
        status.computed_cost.amount = sum(amount or 0 for amount, _ in computed) / MILLION
        status.computed_cost.unit = computed[0][1]
    if group is not None:
        status.group.mode = next(mode for mode, key in VENDOR_MODES.items() if key == group.key)
        status.group.id = truncate(group.vendor_id, _SHOWN_ID_BYTES)
        status.group.state = truncate(group.status.word, _SHOWN_WORD_BYTES)
    status.may_be_charged = any(entry.status.may_be_charged for entry in entries)
    status.parts.extend(
        VendorPart(
            stage=entry.stage,
            part=entry.part,
            vendor_id=truncate(entry.vendor_id, _SHOWN_ID_BYTES),
            state=truncate(entry.status.word, _SHOWN_WORD_BYTES),
        )
        for entry in entries[:SHOWN_PARTS]
    )
    return status


def show_reserved(status: ProviderStatus, entries: Sequence[Entry]) -> None:
    """Set the sum of reservations in the status of their job."""
    status.ClearField("reserved")
    reserved = [entry for entry in entries if entry.reserved_on is not None]
    if reserved:
        unit = reserved[0].price_unit  # a vendor has one
        status.reserved.amount = sum(each.price or 0 for each in reserved if each.price_unit == unit) / MILLION
        status.reserved.unit = unit
