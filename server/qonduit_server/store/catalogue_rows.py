# SPDX-License-Identifier: Apache-2.0
"""The rows of providers and devices: write those that differ from what a server or a vendor reports."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, update

from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.store.schema import devices, provider_languages, providers
from qonduit_server.store.writer import Transaction


def copy_of(found: Device) -> Device:
    """Return a copy of a device."""
    copy = Device()
    copy.CopyFrom(found)
    return copy


def sync_provider(transaction: Transaction, new: Provider, old: Provider | None) -> int:
    """Store a provider and its languages, as far as they differ from the stored ones; return its id."""
    connection = transaction.connection
    values = {"name": new.name, "with_token": new.with_token}
    if old is None:
        transaction.catalogue = True
        provider_id = int(connection.execute(insert(providers).values(values).returning(providers.c.id)).scalar_one())
    else:
        provider_id = old.id
        if old.with_token != new.with_token:
            change_row(transaction, providers, provider_id, values)
    wanted = [line.supported_language for line in new.supported_languages]
    stored = {line.supported_language: line.id for line in old.supported_languages} if old else {}
    for language in dict.fromkeys(wanted):
        if language not in stored:
            transaction.catalogue = True
            connection.execute(insert(provider_languages).values(provider_id=provider_id, language=language))
    for language, line_id in stored.items():
        if language not in wanted:
            transaction.catalogue = True
            connection.execute(provider_languages.delete().where(provider_languages.c.id == line_id))
    return provider_id


def sync_device(transaction: Transaction, provider_id: int, wanted: Device, old: Device | None) -> int:
    """Store a device, if it differs from the stored one; return its id."""
    new = copy_of(wanted)
    new.provider_id = provider_id
    new.ClearField("queue_depth")
    if old is not None:
        new.id = old.id
        if new == old:
            return old.id
    new.ClearField("id")
    values = {
        "provider_id": provider_id,
        "name": new.name,
        "available": new.available,
        "status_message": new.status_message.replace("\0", " "),
        "is_simulator": new.is_simulator,
        "is_local": new.is_local,
        "num_qubits": new.num_qubits,
        "description": new.SerializeToString(),
    }
    if old is not None:
        change_row(transaction, devices, old.id, values)
        return old.id
    transaction.catalogue = True
    return int(transaction.connection.execute(insert(devices).values(values).returning(devices.c.id)).scalar_one())


def change_row(transaction: Transaction, table: Any, row_id: int, values: dict[str, Any]) -> None:
    """Change a row of the catalogue."""
    transaction.catalogue = True
    transaction.connection.execute(update(table).where(table.c.id == row_id).values(values))
