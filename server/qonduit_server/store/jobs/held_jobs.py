# SPDX-License-Identifier: Apache-2.0
"""Jobs that wait for a device that is paused, or that no server offers, stand apart: no claim passes over them.

While a device is one of these, the `not_before` of its queued jobs is a number above all times that contains its id.
Jobs are moved there and back in transactions of bounded size. Until a job is moved, a claim that finds it leaves it.
A provider or a server that is paused needs no such moves: a claim skips its whole queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import and_, bindparam, exists, or_, select

from qonduit_server.store.bulk_statements import BulkUpdate
from qonduit_server.store.job_pools import MAIN_QUEUES, queues_of_device
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IS_ACTIVE, IS_QUEUED, devices, jobs, pauses
from qonduit_server.store.server_offers import NOT_OFFERED
from qonduit_server.store.writer import Transaction

#: Added to the id of the device; above all times in microseconds.
HELD: Final = 2**62
#: The maximum number of jobs of a device that one transaction moves in one direction.
_MOST: Final = 1000

_MUST_WAIT: Final = or_(exists().where(pauses.c.device_id == devices.c.id), devices.c.status_message == NOT_OFFERED)
# The first condition makes databases use the index by device.
_IS_CLAIMABLE: Final = (IS_ACTIVE, IS_QUEUED, jobs.c.not_before.in_(MAIN_QUEUES))
_IS_HELD: Final = (IS_QUEUED, jobs.c.provider_id == devices.c.provider_id, jobs.c.not_before == devices.c.id + HELD)
# Not the server programs of a device, which run while it is paused.
_TO_HOLD: Final = and_(
    _MUST_WAIT,
    exists().where(*_IS_CLAIMABLE, jobs.c.device_id == devices.c.id, jobs.c.provider_id == devices.c.provider_id),
)
_TO_RELEASE: Final = and_(~_MUST_WAIT, exists().where(*_IS_HELD))
#: Whether jobs must be moved because their device was paused or resumed, or is gone or back.
MUST_MOVE: Final = or_(exists().where(_TO_HOLD), exists().where(_TO_RELEASE))
_DEVICES_TO_HOLD: Final = Query(select(devices.c.id).where(_TO_HOLD))
_DEVICES_TO_RELEASE: Final = Query(select(devices.c.id, devices.c.is_local).where(_TO_RELEASE))
_PROVIDER_OF_DEVICE: Final = select(devices.c.provider_id).where(devices.c.id == bindparam("device")).scalar_subquery()
_SELECT_CLAIMABLE: Final = Query(
    select(jobs.c.id)
    .where(*_IS_CLAIMABLE, jobs.c.device_id == bindparam("device"))
    .where(jobs.c.provider_id == _PROVIDER_OF_DEVICE)
    .limit(_MOST)
    .with_for_update(skip_locked=True)
)
_SELECT_HELD: Final = Query(
    select(jobs.c.id)
    .where(
        IS_QUEUED,
        jobs.c.provider_id == _PROVIDER_OF_DEVICE,
        jobs.c.not_before == bindparam("held"),
    )
    .limit(_MOST)
    .with_for_update(skip_locked=True)
)
#: Sets the queues of jobs; each row has the queue and the id of the job.
SET_QUEUE: Final = BulkUpdate(jobs, ("not_before",))


def ask_moves(transaction: Transaction) -> Callable[[], bool]:
    """Ask for the devices whose jobs must be moved (queries.py).

    Returns:
        A function that moves them, as many as one transaction may, and returns whether there were any.
    """
    connection = transaction.connection
    to_hold = _DEVICES_TO_HOLD.ask(connection, {})
    to_release = _DEVICES_TO_RELEASE.ask(connection, {})

    def move() -> bool:
        moved = False
        for (device_id,) in to_hold():
            ids = _SELECT_CLAIMABLE(connection, {"device": device_id})
            moved |= _move(transaction, ids, HELD + device_id)
        for device_id, is_local in to_release():
            ids = _SELECT_HELD(connection, {"device": device_id, "held": HELD + device_id})
            moved |= _move(transaction, ids, queues_of_device(is_local=bool(is_local)).main)
        return moved

    return move


def _move(transaction: Transaction, ids: Sequence[tuple[int]], queue: int) -> bool:
    if ids:
        SET_QUEUE(transaction.connection, [(queue, job_id) for (job_id,) in ids])
        # The jobs behind those that were held can be claimed, too.
        transaction.queued.add(ANY_PROVIDER)
    return bool(ids)
