# SPDX-License-Identifier: Apache-2.0
"""The listings of devices by vendors: which account, a stored credential, has which devices, and when to ask again.

Servers that share a database ask for each account in turn: the one that takes a listing that is due postpones it. A
vendor that does not answer makes the devices of its accounts unavailable, until it does. No other devices change.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.encryption.sealing import Sealer, Unreadable
from qonduit_server.store import catalogue, catalogue_snapshot, credentials
from qonduit_server.store.bulk_statements import BulkUpsert, among
from qonduit_server.store.catalogue_rows import change_row
from qonduit_server.store.database import Database
from qonduit_server.store.schema import devices
from qonduit_server.store.vendor_tables import vendor_listings
from qonduit_server.store.writer import Operation, Transaction

#: A server that takes a listing has this time before another one does.
_LEASE: Final = timedelta(minutes=10)
#: Devices are unavailable after this number of failures in succession: one call may fail.
_FAILURES: Final = 2
_TEXT: Final = 300
_MICROSECOND: Final = timedelta(microseconds=1)

_UPSERT: Final = BulkUpsert(
    vendor_listings,
    ("credential_id", "provider_id", "due", "devices", "failures"),
    "provider_id = excluded.provider_id, due = excluded.due, devices = excluded.devices, failures = excluded.failures",
)
_DUE: Final = (
    select(vendor_listings)
    .where(vendor_listings.c.due <= bindparam("now"), among(vendor_listings.c.provider_id, "ids"))
    .order_by(vendor_listings.c.credential_id)
    .with_for_update(skip_locked=True)
)
_OF_PROVIDER: Final = (
    select(vendor_listings)
    .where(vendor_listings.c.provider_id == bindparam("provider"))
    .order_by(vendor_listings.c.credential_id)
    .with_for_update()
)
_POSTPONE: Final = (
    sa.update(vendor_listings).where(among(vendor_listings.c.credential_id, "ids")).values(due=bindparam("until"))
)
_DELETE: Final = sa.delete(vendor_listings).where(among(vendor_listings.c.credential_id, "ids"))


class Listing(NamedTuple):
    """An account whose devices are to be read, and its secret."""

    credential_id: int
    provider_id: int
    secret: str

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Listing({self.credential_id})"


class _Taking(NamedTuple):
    provider_ids: Collection[int]
    sealer: Sealer


class _Listed(NamedTuple):
    credential_id: int
    provider_id: int
    listed: ProviderDescription
    again: timedelta


class _Failed(NamedTuple):
    credential_id: int
    provider_id: int
    message: str
    again: timedelta


def take_due(db: Database, provider_ids: Collection[int]) -> list[Listing]:
    """Return the listings of providers that are due, for this server; others do not take them for a while."""
    return db.write(_TAKE, _Taking(provider_ids, db.sealer))


def store(db: Database, credential_id: int, provider_id: int, listed: ProviderDescription, again: timedelta) -> None:
    """Store the devices that a vendor has listed for an account; those that it listed before become unavailable.

    Args:
        db: the database.
        credential_id: the account.
        provider_id: the provider.
        listed: as of `catalogue.add_listed`.
        again: the time until the vendor is asked again.
    """
    db.write(_STORE, _Listed(credential_id, provider_id, listed, again))


def fail(db: Database, credential_id: int, provider_id: int, message: str, again: timedelta) -> None:
    """Record that a vendor has not listed the devices of an account, of which it listed some before."""
    db.write(_FAIL, _Failed(credential_id, provider_id, message, again))


def _take(transaction: Transaction, calls: Sequence[_Taking]) -> list[list[Listing]]:
    answers = []
    for call in calls:
        parameters = {"now": transaction.now, "ids": list(call.provider_ids)}
        rows = transaction.connection.execute(_DUE, parameters).all() if call.provider_ids else []
        stored = credentials.read_sealed(transaction.connection, [row.credential_id for row in rows]) if rows else {}
        found: list[Listing] = []
        gone: list[int] = []
        for row in rows:
            sealed = stored.get(row.credential_id)
            if sealed is None or sealed.provider_id != row.provider_id:
                gone.append(row.credential_id)
                continue
            try:
                secret = call.sealer.open(sealed.sealed, sealed.binding)
            except Unreadable:
                continue  # another server may have the key
            found.append(Listing(row.credential_id, row.provider_id, secret))
        if gone:
            transaction.connection.execute(_DELETE, {"ids": gone})
        if found:
            until = transaction.now + _LEASE // _MICROSECOND
            transaction.connection.execute(_POSTPONE, {"ids": [each.credential_id for each in found], "until": until})
        answers.append(found)
    return answers


def _store(transaction: Transaction, calls: Sequence[_Listed]) -> list[None]:
    for call in calls:
        rows = _rows(transaction, call.provider_id)
        names = [device.name for device in call.listed.devices]
        catalogue.store_listed(transaction, call.listed)
        before = rows.pop(call.credential_id, None)
        vanished = set(json.loads(before.devices) if before is not None else ()) - set(names)
        kept = {name for row in rows.values() for name in json.loads(row.devices)}
        _mark(transaction, call.provider_id, vanished - kept, "the vendor no longer lists it for a known account")
        due = transaction.now + call.again // _MICROSECOND
        _UPSERT(transaction.connection, [(call.credential_id, call.provider_id, due, json.dumps(names), 0)])
    return [None] * len(calls)


def _fail(transaction: Transaction, calls: Sequence[_Failed]) -> list[None]:
    for call in calls:
        rows = _rows(transaction, call.provider_id)
        own = rows.pop(call.credential_id, None)
        if own is None:
            continue
        failures, due = own.failures + 1, transaction.now + call.again // _MICROSECOND
        _UPSERT(transaction.connection, [(call.credential_id, call.provider_id, due, own.devices, failures)])
        if failures >= _FAILURES:
            reached = {name for row in rows.values() if row.failures < _FAILURES for name in json.loads(row.devices)}
            _mark(transaction, call.provider_id, set(json.loads(own.devices)) - reached, call.message)
    return [None] * len(calls)


def _rows(transaction: Transaction, provider_id: int) -> dict[int, Any]:
    """Lock and return the listings of a provider, by their accounts."""
    rows = transaction.connection.execute(_OF_PROVIDER, {"provider": provider_id})
    return {row.credential_id: row for row in rows}


def _mark(transaction: Transaction, provider_id: int, names: Iterable[str], message: str) -> None:
    """Make devices of a provider unavailable, with a message; devices that a server describes by itself stay."""
    wanted = set(names)
    if not wanted:
        return
    for device in catalogue_snapshot.read(transaction.connection).devices.values():
        if device.provider_id == provider_id and device.name in wanted and device.HasField("listed_at"):
            change_row(transaction, devices, device.id, {"available": False, "status_message": message[:_TEXT]})


_TAKE: Final = Operation(_take)
_STORE: Final = Operation(_store)
_FAIL: Final = Operation(_fail)
