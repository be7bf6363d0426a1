# SPDX-License-Identifier: Apache-2.0
"""What each running server of a PostgreSQL database offers; the catalogue is the union.

A server renews its offers while it runs. Offers that are not renewed expire by the clock of the database, like leases,
so that the devices of a server that restarts in time stay available.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, cast, delete, func, insert, select, update

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Environment
from qonduit_server.store.server_tables import server_offers, servers
from qonduit_server.version_requirements import environments_of

#: The status of a device that no server offers.
NOT_OFFERED: Final = "no running server or worker machine offers it"
#: The different environments of a provider that are shown, and that jobs can require.
MAX_ENVIRONMENTS: Final = 16
_NOW: Final = cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
_UNTIL: Final = _NOW + bindparam("lease", type_=BigInteger)
_IS_EXPIRED: Final = servers.c.offers_until < _NOW
_RENEW: Final = update(servers).where(servers.c.id == bindparam("server")).values(offers_until=_UNTIL)
_ADD_SERVER: Final = insert(servers).values(id=bindparam("server"), offers_until=_UNTIL)
_ANY_EXPIRED: Final = select(servers.c.id).where(_IS_EXPIRED).limit(1)
# Without those that their servers renew now: their transactions may wait for the lock of this one.
_LOCK_EXPIRED: Final = select(servers.c.id).where(_IS_EXPIRED).with_for_update(skip_locked=True)
_ALIVE: Final = select(servers.c.id).where(~_IS_EXPIRED)
_DESCRIPTIONS: Final = select(server_offers.c.description).order_by(server_offers.c.server_id, server_offers.c.position)


def renew(connection: Connection, server: str, lease: timedelta) -> bool:
    """Renew the offers of a server from now on; return False if they had expired and were deleted."""
    return connection.execute(_RENEW, {"server": server, "lease": lease // timedelta(microseconds=1)}).rowcount > 0


def replace(
    connection: Connection, server: str, lease: timedelta, descriptions: Collection[ProviderDescription]
) -> None:
    """Store the offers of a server instead of its former ones."""
    if not renew(connection, server, lease):
        connection.execute(_ADD_SERVER, {"server": server, "lease": lease // timedelta(microseconds=1)})
    connection.execute(delete(server_offers).where(server_offers.c.server_id == server))
    rows = [
        {"server_id": server, "position": position, "description": _stored(each)}
        for position, each in enumerate(descriptions)
    ]
    if rows:
        connection.execute(insert(server_offers), rows)


def any_expired(connection: Connection) -> bool:
    """Return whether a server has not renewed its offers in time."""
    return connection.execute(_ANY_EXPIRED).first() is not None


def delete_expired(connection: Connection) -> None:
    """Delete the offers of servers that have not renewed them in time."""
    _delete(connection, connection.execute(_LOCK_EXPIRED).scalars().all())


def withdraw(connection: Connection, server: str) -> None:
    """Delete the offers of a server that stops, unless others run: then they expire, if it does not start again."""
    if set(connection.execute(_ALIVE).scalars()) <= {server}:
        _delete(connection, [server])


def descriptions(connection: Connection) -> list[ProviderDescription]:
    """Return the descriptions of all servers, in an order that is the same at each of them."""
    return [ProviderDescription.FromString(data) for data in connection.execute(_DESCRIPTIONS).scalars()]


def union(offers: Collection[ProviderDescription]) -> list[ProviderDescription]:
    """Return one description for each provider, with all devices that are offered.

    A device that several servers offer is described as the available one with the fewest qubits, so that each of the
    servers can run its jobs.
    """
    providers: dict[str, ProviderDescription] = {}
    devices: dict[tuple[str, str], Device] = {}
    for offer in offers:
        name = offer.provider.name
        merged = providers.setdefault(name, ProviderDescription(provider=offer.provider))
        merged.provider.with_token |= offer.provider.with_token
        if offer.HasField("vendor"):
            merged.vendor.CopyFrom(offer.vendor)
        known = {line.supported_language for line in merged.provider.supported_languages}
        merged.provider.supported_languages.extend(
            line for line in offer.provider.supported_languages if line.supported_language not in known
        )
        for device in offer.devices:
            new = _offered(device, offer.unavailable)
            best = devices.setdefault((name, device.name), new)
            if (not new.available, new.num_qubits) < (not best.available, best.num_qubits):
                devices[name, device.name] = new
    for (name, _), device in devices.items():
        providers[name].devices.append(device)
    return list(providers.values())


def environments(offers: Iterable[ProviderDescription]) -> dict[str, list[Environment]]:
    """Return the different environments of each provider, at most `MAX_ENVIRONMENTS`."""
    providers: dict[str, list[Environment]] = {}
    for offer in offers:
        known = providers.setdefault(offer.provider.name, [])
        for environment in environments_of(offer):
            if environment not in known and len(known) < MAX_ENVIRONMENTS:
                known.append(environment)
    return providers


def _offered(device: Device, unavailable: str) -> Device:
    """Return a device as its server offers it, which reports why the provider is unavailable, if it is."""
    offered = Device()
    offered.CopyFrom(device)
    if unavailable:
        offered.available, offered.status_message = False, unavailable
    return offered


def _stored(description: ProviderDescription) -> bytes:
    kept = ProviderDescription(
        provider=description.provider,
        devices=description.devices,
        unavailable=description.unavailable,
        vendor=description.vendor if description.HasField("vendor") else None,
        environments=environments_of(description),
    )
    return kept.SerializeToString()


def _delete(connection: Connection, ids: Collection[str]) -> None:
    connection.execute(delete(server_offers).where(server_offers.c.server_id.in_(ids)))
    connection.execute(delete(servers).where(servers.c.id.in_(ids)))
