# SPDX-License-Identifier: Apache-2.0
"""Pauses of devices, of providers and of all servers: their jobs are accepted and wait, running jobs continue.

A claim reads the pauses in its own transaction (claim_selection.py), so that no server starts a job after a pause was
stored. The catalogue adds them to devices and providers for callers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select, text

from qonduit.v1.device_pb2 import Device
from qonduit.v1.pause_pb2 import Pause
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.schema import IS_LEASED, devices, jobs, pauses, providers
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.writer import Operation, Transaction

#: The subject of a pause of all servers.
SERVER: Final = "server"
#: Of one list.
_MOST_LISTED: Final = 500
#: A claim that began before a pause was stored has ended after this time, in microseconds.
_CLAIM: Final = 1_000_000


class Paused(NamedTuple):
    """The subject of a pause: a device, a provider (device 0), or all servers (provider 0 too)."""

    provider_id: int = 0
    device_id: int = 0


class _NewPause(NamedTuple):
    subject: Paused
    message: str
    by: str


_SELECT: Final = (
    select(pauses, providers.c.name.label("provider"), devices.c.name.label("device"))
    .outerjoin(providers, providers.c.id == pauses.c.provider_id)
    .outerjoin(devices, devices.c.id == pauses.c.device_id)
    .order_by(pauses.c.provider_id, pauses.c.device_id)
)
# Ordered like the index of leased jobs, so that the database uses that index.
_LEASED: Final = select(jobs.c.provider_id, jobs.c.device_id).where(IS_LEASED).order_by(jobs.c.owner, jobs.c.state)
_COUNT_OF_DEVICE: Final = (
    select(func.count()).select_from(jobs).where(IS_LEASED, jobs.c.device_id == bindparam("device"))
)
_STORE: Final = text(
    "INSERT INTO pauses (provider_id, device_id, message, paused_at, paused_by) "
    "VALUES (:provider_id, :device_id, :message, :paused_at, :paused_by) "
    "ON CONFLICT (provider_id, device_id) DO UPDATE SET message = :message"
)
_DELETE: Final = delete(pauses).where(
    pauses.c.provider_id == bindparam("provider_id"), pauses.c.device_id == bindparam("device_id")
)


def pause(db: Database, subject: Paused, message: str, by: str) -> Pause:
    """Pause a subject, or replace the message of its pause; return the pause as operators see it."""
    db.write(_PAUSE, _NewPause(subject, checked_text("message", message), checked_text("caller", by)))
    with db.read() as connection:
        rows = connection.execute(_SELECT).all()
        found = [row for row in rows if (row.provider_id, row.device_id) == subject]
        # Another operator may have ended the pause since.
        return _for_operators(connection, found, db.now())[0] if found else Pause(message=message)


def resume(db: Database, subject: Paused) -> None:
    """End the pause of a subject, if it is paused."""
    db.write(_RESUME, subject)


def for_operators(db: Database) -> list[Pause]:
    """Return the pauses with the numbers of their running jobs."""
    with db.read() as connection:
        return _for_operators(connection, connection.execute(_SELECT.limit(_MOST_LISTED)).all(), db.now())


def running_jobs(db: Database, device_id: int) -> int:
    """Return the number of jobs that run on a device, on any server."""
    with db.read() as connection:
        return int(connection.execute(_COUNT_OF_DEVICE, {"device": device_id}).scalar_one())


def for_callers(connection: Connection) -> dict[Paused, Pause]:
    """Return the pauses as every caller sees them."""
    return {Paused(row.provider_id, row.device_id): _message(row) for row in connection.execute(_SELECT)}


def pause_of(found: Mapping[Paused, Pause], provider_id: int, device_id: int = 0) -> Pause | None:
    """Return the pause of a device or a provider: its own one, or else that of its provider or the server."""
    own = Paused(provider_id, device_id)
    return found.get(own) or found.get(Paused(provider_id)) or found.get(Paused())


def describe(paused: Pause) -> str:
    """Return the paused subject and the operator's text."""
    what = "the server" if paused.subject == SERVER else paused.subject
    return f"{what} is paused" + (f": {paused.message}" if paused.message else "")


def is_paused_itself(device: Device, name: str) -> bool:
    """Return whether a device of the catalogue, called "PROVIDER/device", is paused itself."""
    return device.pause.subject == name


def _message(row: Any) -> Pause:
    subject = "/".join(filter(None, (row.provider, row.device))) or SERVER
    message = Pause(subject=subject, message=row.message)
    set_time(message.paused_at, row.paused_at)
    return message


def _for_operators(connection: Connection, rows: Sequence[Any], now: int) -> list[Pause]:
    running = [Paused(*row) for row in connection.execute(_LEASED)] if rows else []
    found = []
    for row in rows:
        message = _message(row)
        message.paused_by = row.paused_by
        subject = Paused(row.provider_id, row.device_id)
        message.running_jobs = sum(_contains(subject, job) for job in running)
        message.drained = not message.running_jobs and now - row.paused_at >= _CLAIM
        found.append(message)
    return found


def _contains(subject: Paused, job: Paused) -> bool:
    return all(wanted in (0, got) for wanted, got in zip(subject, job, strict=True))


def _pause(transaction: Transaction, calls: Sequence[_NewPause]) -> list[None]:
    for subject, message, by in calls:
        values = {**subject._asdict(), "message": message, "paused_at": transaction.now, "paused_by": by}
        transaction.connection.execute(_STORE, values)
    transaction.catalogue = transaction.times = True
    return [None] * len(calls)


def _resume(transaction: Transaction, calls: Sequence[Paused]) -> list[None]:
    for subject in calls:
        transaction.connection.execute(_DELETE, subject._asdict())
    transaction.catalogue = transaction.times = True
    transaction.queued.add(ANY_PROVIDER)
    return [None] * len(calls)


_PAUSE: Final = Operation(_pause)
_RESUME: Final = Operation(_resume)
