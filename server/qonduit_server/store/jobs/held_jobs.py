# SPDX-License-Identifier: Apache-2.0
"""Jobs that wait for a device that is paused, or that no server offers, stand apart: no claim passes over them.

While a device is one of these, the `not_before` of its queued jobs is a number above all times that contains its id.
Jobs are moved there and back in transactions of bounded size. Until a job is moved, a claim that finds it leaves it.
A provider or a server that is paused needs no such moves: a claim skips its whole queue.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, exists, or_, select, update

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.job_pools import MAIN_QUEUES, queues_of_device
from qonduit_server.store.notification_bus import ANY_PROVIDER
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
_DEVICES_TO_HOLD: Final = select(devices.c.id).where(
    _MUST_WAIT,
    exists().where(*_IS_CLAIMABLE, jobs.c.device_id == devices.c.id, jobs.c.provider_id == devices.c.provider_id),
)
_DEVICES_TO_RELEASE: Final = select(devices.c.id, devices.c.is_local).where(~_MUST_WAIT, exists().where(*_IS_HELD))
_PROVIDER_OF_DEVICE: Final = select(devices.c.provider_id).where(devices.c.id == bindparam("device")).scalar_subquery()
_SELECT_CLAIMABLE: Final = (
    select(jobs.c.id)
    .where(*_IS_CLAIMABLE, jobs.c.device_id == bindparam("device"))
    .where(jobs.c.provider_id == _PROVIDER_OF_DEVICE)
    .limit(_MOST)
    .with_for_update(skip_locked=True)
)
_SELECT_HELD: Final = (
    select(jobs.c.id)
    .where(
        IS_QUEUED,
        jobs.c.provider_id == _PROVIDER_OF_DEVICE,
        jobs.c.not_before == bindparam("held"),
    )
    .limit(_MOST)
    .with_for_update(skip_locked=True)
)
_MOVE: Final = update(jobs).where(among(jobs.c.id, "ids")).values(not_before=bindparam("value"))


def must_move(connection: Connection) -> bool:
    """Return whether jobs must be moved because their device was paused or resumed, or is gone or back."""
    return any(connection.execute(query.limit(1)).first() for query in (_DEVICES_TO_HOLD, _DEVICES_TO_RELEASE))


def move(transaction: Transaction) -> None:
    """Move the jobs of such devices and of others, as many as one transaction may."""
    connection = transaction.connection
    for device_id in connection.execute(_DEVICES_TO_HOLD).scalars().all():
        ids = connection.execute(_SELECT_CLAIMABLE, {"device": device_id}).scalars().all()
        _move(transaction, list(ids), HELD + device_id)
    for device_id, is_local in connection.execute(_DEVICES_TO_RELEASE).all():
        ids = connection.execute(_SELECT_HELD, {"device": device_id, "held": HELD + device_id}).scalars().all()
        _move(transaction, list(ids), queues_of_device(is_local=is_local).main)


def _move(transaction: Transaction, ids: list[int], value: int) -> None:
    if ids:
        transaction.connection.execute(_MOVE, {"ids": ids, "value": value})
        # The jobs behind those that were held can be claimed, too.
        transaction.queued.add(ANY_PROVIDER)
