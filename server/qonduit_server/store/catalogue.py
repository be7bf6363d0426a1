# SPDX-License-Identifier: Apache-2.0
"""Providers and their devices, as the workers describe them; cached in memory because every submit reads them.

Servers that share a database may offer different devices: the catalogue contains those of all (server_offers.py). A
server claims only jobs of devices that it offers itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, case, exists, func, select

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.pause_pb2 import Pause
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.errors import NotFound, Unavailable
from qonduit_server.store import calibrations, catalogue_snapshot, server_offers
from qonduit_server.store.catalogue_cache import DEFAULT_LEASE, CatalogueCache, cache_of, cached
from qonduit_server.store.catalogue_rows import change_row, copy_of, sync_device, sync_provider
from qonduit_server.store.catalogue_snapshot import Claimable
from qonduit_server.store.database import Database
from qonduit_server.store.device_rules import DISABLED, DeviceRules
from qonduit_server.store.filter_conditions import Field, boolean_field, filter_conditions, number_field, text_field
from qonduit_server.store.paging import Cursor, Page, sent_bytes
from qonduit_server.store.program_queue import PROGRAMS
from qonduit_server.store.schema import IS_ACTIVE, NO_DEVICE_ID, devices, jobs, providers
from qonduit_server.store.schema import pauses as pause_rows
from qonduit_server.store.server_offers import NOT_OFFERED
from qonduit_server.store.writer import Operation, Transaction
from qonduit_server.version_requirements import Versions


def sync(db: Database, descriptions: Sequence[ProviderDescription], lease: timedelta = DEFAULT_LEASE) -> None:
    """Store the workers' descriptions, by name. Devices that no server describes become unavailable.

    Args:
        db: the database.
        descriptions: of all providers of this server.
        lease: how long other servers show its devices unless `renew` is called.
    """
    cache = cache_of(db)
    cache.lease = lease
    cache.offer(descriptions, others=False)
    _store_offers(db, cache)


def refresh(db: Database, description: ProviderDescription) -> None:
    """Store the description of one provider. Its devices that no server describes become unavailable.

    Raises:
        Unavailable: the database does not answer; `renew` stores the description later.
    """
    cache = cache_of(db)
    cache.offer([description], others=True)
    _store_offers(db, cache)


def adopt_rules(db: Database, rules: DeviceRules) -> None:
    """Adopt what the operator decides about devices, at once for all known ones.

    Raises:
        Unavailable: the database does not answer; `renew` stores the offers later.
    """
    cache = cache_of(db)
    if (before := cache.rules) != rules:
        cache.adopt(rules)
        if before.disabled != rules.disabled and cache.own():
            _store_offers(db, cache)


def apply_rules(db: Database, listed: ProviderDescription) -> None:
    """Apply what the operator decides to the devices that a vendor has listed, before they are stored."""
    listed.CopyFrom(cache_of(db).rules.applied_to(listed))


def set_stated_price(db: Database, provider: str, device: Device) -> None:
    """Set the price that the operator states of a device that was read from the database, if there is one."""
    cache_of(db).rules.set_price(provider, device)


def add_listed(db: Database, listed: ProviderDescription) -> None:
    """Store the devices that a vendor has listed for an account; other devices stay as they are.

    Args:
        db: the database.
        listed: the provider's name, the devices with `listed_at`, and their calibrations.

    Raises:
        Unavailable: the database does not answer.
    """
    db.write(_ADD_LISTED, listed)


def _store_offers(db: Database, cache: CatalogueCache) -> None:
    cache.must_store = False
    try:
        db.write(_SYNC, cache)
    except Unavailable:
        cache.must_store = True
        raise


def renew(db: Database) -> None:
    """Renew what this server offers, and make devices unavailable whose last server is lost."""
    cache = cache_of(db)
    if cache.must_store:
        _store_offers(db, cache)
    elif db.kind == "postgresql" and cache.own():
        db.write(_RENEW, cache)


def withdraw(db: Database) -> None:
    """End what this server offers, because it stops. Other servers show it until it expires."""
    if db.kind == "postgresql" and (cache := cache_of(db)).own():
        db.write(_WITHDRAW, cache.server)


def claimable(db: Database) -> Claimable | None:
    """Return the devices whose jobs this server may claim, from memory; None if it offers none, and may claim all."""
    return cached(db).claimable


def environments(db: Database, provider: str) -> Sequence[Versions]:
    """Return the different environments of the workers of a provider at all servers, from memory."""
    return cached(db).environments.get(provider, ())


def provider(db: Database, provider_id: int) -> Provider:
    """Return one provider. Raises NotFound."""
    found = cached(db).providers.get(provider_id)
    if found is None or found.name == PROGRAMS:
        raise NotFound("provider", provider_id)
    return _copy_provider(found)


def provider_ids(db: Database) -> Mapping[str, int]:
    """Return the ids of all providers by name, from memory."""
    return {found.name: found.id for found in cached(db).providers.values()}


def list_providers(db: Database, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Provider]:
    """Return a page of providers, newest first. Filter fields: name, with_token."""
    filters = filter_conditions(filter, _PROVIDER_FIELDS)
    cursor = Cursor(("providers", filter), page_size, page_token)
    query = (
        select(providers.c.id)
        .where(providers.c.id > NO_DEVICE_ID, providers.c.name != PROGRAMS, *filters)
        .order_by(providers.c.id.desc())
        .limit(cursor.size + 1)
    )
    if after := cursor.after(int):
        query = query.where(providers.c.id < after[0])
    snapshot = cached(db)
    with db.read() as connection:
        ids = list(connection.execute(query).scalars())
    kept, token = cursor.cut(ids, lambda found: (found,), lambda found: 200)
    return Page([_copy_provider(snapshot.providers[found]) for found in kept if found in snapshot.providers], token)


def device(db: Database, device_id: int) -> Device:
    """Return one device, from memory; without `queue_depth` (see `queue_depth`). Raises NotFound."""
    found = cached(db).devices.get(device_id)
    if found is None:
        raise NotFound("device", device_id)
    return copy_of(found)


def device_by_name(db: Database, name: str) -> Device:
    """Return the device called "PROVIDER/device", from memory. Raises NotFound."""
    found = cached(db).by_name.get(name)
    if found is None:
        raise NotFound("device", name[:200])
    return copy_of(found)


def name_of(db: Database, device: Device) -> str:
    """Return a device's name as "PROVIDER/device", from memory."""
    return f"{cached(db).providers[device.provider_id].name}/{device.name}"


def pause_of(db: Database, device_id: int) -> Pause | None:
    """Return the pause of a device, of its provider or of the server, from memory; None if it is not paused."""
    found = cached(db).devices.get(device_id)
    return found.pause if found is not None and found.HasField("pause") else None


def devices_by_name(db: Database) -> Mapping[str, Device]:
    """Return all devices by "PROVIDER/device", from memory; callers must not change them."""
    return cached(db).by_name


def device_of_job(db: Database, job_id: int) -> Device | None:
    """Return the device of a job; None if the job does not exist."""
    with db.read() as connection:
        device_id = connection.execute(_DEVICE_OF_JOB, {"job": job_id}).scalar_one_or_none()
    return None if device_id is None else cached(db).devices.get(device_id)


def list_devices(db: Database, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Device]:
    """Return a page of devices, newest first, without `queue_depth` (see `queue_depths`).

    Filter fields: name, provider_id, available, paused, is_simulator, is_local, num_qubits.
    """
    filters = filter_conditions(filter, _DEVICE_FIELDS)
    cursor = Cursor(("devices", filter), page_size, page_token)
    query = (
        select(devices.c.id)
        .where(devices.c.id > NO_DEVICE_ID, *filters)
        .order_by(devices.c.id.desc())
        .limit(cursor.size + 1)
    )
    if after := cursor.after(int):
        query = query.where(devices.c.id < after[0])
    snapshot = cached(db)
    with db.read() as connection:
        ids = list(connection.execute(query).scalars())
    found = [snapshot.devices[device_id] for device_id in ids if device_id in snapshot.devices]
    kept, token = cursor.cut(found, lambda item: (item.id,), sent_bytes)
    return Page([copy_of(item) for item in kept], token)


def queue_depth(db: Database, device_id: int) -> int:
    """Return the number of queued and running jobs of a device."""
    with db.read() as connection:
        return int(connection.execute(_DEPTH, {"device": device_id}).scalar_one())


def queue_depths(db: Database) -> dict[int, int]:
    """Return the number of queued and running jobs by device id; devices without jobs are left out."""
    with db.read() as connection:
        return {row[0]: row[1] for row in connection.execute(_DEPTHS)}


_PROVIDER_FIELDS: Final[Mapping[str, Field]] = {
    "name": text_field(providers.c.name),
    "with_token": boolean_field(providers.c.with_token),
}
_DEVICE_FIELDS: Final[Mapping[str, Field]] = {
    "name": text_field(devices.c.name),
    "provider_id": number_field(devices.c.provider_id),
    "available": boolean_field(devices.c.available),
    "paused": boolean_field(
        case(
            (
                exists().where(
                    pause_rows.c.provider_id.in_((0, devices.c.provider_id)),
                    pause_rows.c.device_id.in_((0, devices.c.id)),
                ),
                True,
            ),
            else_=False,
        )
    ),
    "is_simulator": boolean_field(devices.c.is_simulator),
    "is_local": boolean_field(devices.c.is_local),
    "num_qubits": number_field(devices.c.num_qubits),
}
_DEPTH: Final = select(func.count()).select_from(jobs).where(IS_ACTIVE, jobs.c.device_id == bindparam("device"))
_DEVICE_OF_JOB: Final = select(jobs.c.device_id).where(jobs.c.id == bindparam("job"))
_DEPTHS: Final = select(jobs.c.device_id, func.count()).where(IS_ACTIVE).group_by(jobs.c.device_id)


def _copy_provider(found: Provider) -> Provider:
    copy = Provider()
    copy.CopyFrom(found)
    return copy


def _sync(transaction: Transaction, calls: Sequence[CatalogueCache]) -> list[None]:
    # Of calls in the same transaction, each stores the newest offers.
    _store(transaction, calls[-1])
    return [None] * len(calls)


def _renew(transaction: Transaction, calls: Sequence[CatalogueCache]) -> list[None]:
    cache, connection = calls[-1], transaction.connection
    if not server_offers.renew(connection, cache.server, cache.lease) or server_offers.any_expired(connection):
        _store(transaction, cache)
    return [None] * len(calls)


def _withdraw(transaction: Transaction, calls: Sequence[str]) -> list[None]:
    for server in calls:
        server_offers.withdraw(transaction.connection, server)
    return [None] * len(calls)


def _store(transaction: Transaction, cache: CatalogueCache) -> None:
    """Store what this server offers, and the catalogue of all; devices that no server offers become unavailable."""
    connection, own = transaction.connection, cache.own()
    offers = own
    if transaction.kind == "postgresql":
        # Servers that start at the same time would insert the same names.
        connection.exec_driver_sql("LOCK TABLE providers IN SHARE ROW EXCLUSIVE MODE")
        former = server_offers.environments(server_offers.descriptions(connection))
        server_offers.delete_expired(connection)
        server_offers.replace(connection, cache.server, cache.lease, own)
        offers = server_offers.descriptions(connection)
        # No row of the catalogue contains them.
        transaction.catalogue |= server_offers.environments(offers) != former
    before = catalogue_snapshot.read(connection)
    known = {found.name: found for found in before.providers.values()}
    stored: dict[str, int] = {}
    for offer in server_offers.union(offers):
        new = offer.provider
        provider_id = sync_provider(transaction, new, known.get(new.name))
        for wanted in offer.devices:
            name = f"{new.name}/{wanted.name}"
            stored[name] = sync_device(transaction, provider_id, wanted, before.by_name.get(name))
    calibrations.replace(connection, _calibrations(own, stored))
    kept = catalogue_snapshot.listed_of(before, offers)
    for name, old in before.by_name.items():
        if name in kept:
            if name in cache.rules.disabled:
                if old.status_message != DISABLED:
                    change_row(transaction, devices, old.id, {"available": False, "status_message": DISABLED})
            elif old.status_message in (NOT_OFFERED, DISABLED):
                change_row(transaction, devices, old.id, {"available": True, "status_message": ""})
        elif name not in stored and (old.available or old.status_message != NOT_OFFERED):
            change_row(transaction, devices, old.id, {"available": False, "status_message": NOT_OFFERED})


def _add_listed(transaction: Transaction, calls: Sequence[ProviderDescription]) -> list[None]:
    for listed in calls:
        store_listed(transaction, listed)
    return [None] * len(calls)


def store_listed(transaction: Transaction, listed: ProviderDescription) -> None:
    """Store the devices that a vendor has listed for an account; see `add_listed`."""
    before = catalogue_snapshot.read(transaction.connection)
    ids = {found.name: found.id for found in before.providers.values()}
    provider = listed.provider.name
    stored = {
        f"{provider}/{wanted.name}": sync_device(
            transaction, ids[provider], wanted, before.by_name.get(f"{provider}/{wanted.name}")
        )
        for wanted in listed.devices
    }
    calibrations.replace(transaction.connection, _calibrations([listed], stored))


def _calibrations(own: Sequence[ProviderDescription], ids: Mapping[str, int]) -> dict[int, DeviceCalibration | None]:
    """Return the calibrations of the devices that this server describes, by their ids."""
    found: dict[int, DeviceCalibration | None] = {}
    for description in own:
        measured = {entry.device: entry.calibration for entry in description.calibrations}
        for device in description.devices:
            found[ids[f"{description.provider.name}/{device.name}"]] = measured.get(device.name)
    return found


_SYNC: Final = Operation(_sync)
_ADD_LISTED: Final = Operation(_add_listed)
_RENEW: Final = Operation(_renew, durable=False)
_WITHDRAW: Final = Operation(_withdraw, durable=False)
