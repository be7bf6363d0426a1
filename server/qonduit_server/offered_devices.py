# SPDX-License-Identifier: Apache-2.0
"""The devices that a server offers: described by its providers, or listed by vendors, and stored in the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from qonduit_server import device_prices
from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.execution.executor import Executor
from qonduit_server.executor_settings import remote_providers
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit.execution.v1.worker_pb2 import ProviderDescription
    from qonduit_server.execution.local.translator import Translator
    from qonduit_server.execution.remote.device_listing import DeviceListing
    from qonduit_server.execution.remote.remote_executor import RemoteExecutor
    from qonduit_server.store.database import Database
    from qonduit_server.store.device_rules import DeviceRules

#: How long a provider may take to describe itself; a slower one is unavailable until the next start.
DESCRIBE_SECONDS: Final = 20.0
#: The same for RefreshDevices, whose caller waits; after it, the refresh fails.
_REFRESH_SECONDS: Final = 5.0


def sync_catalogue(settings: Settings, database: Database, executor: Executor) -> list[ProviderDescription]:
    """Store the descriptions of the providers, once their processes have returned them."""
    import structlog

    from qonduit_server.store import catalogue

    descriptions = executor.descriptions(DESCRIBE_SECONDS)
    adopt_rules(settings, database)
    if unknown := unknown_backends(descriptions, settings.fake_backends):
        structlog.get_logger("qonduit.app").warning("unknown backends in fake_backends", backends=unknown)
    catalogue.sync(database, descriptions, timedelta(seconds=settings.lease_seconds))
    if unknown := sorted(set(settings.disabled_devices) - catalogue.devices_by_name(database).keys()):
        structlog.get_logger("qonduit.app").warning("unknown devices in disabled_devices", devices=unknown)
    return descriptions


def rules_of(settings: Settings) -> DeviceRules:
    """Return what the settings decide about devices. Raises StartError."""
    from qonduit_server.store.device_rules import DeviceRules

    return DeviceRules(frozenset(settings.disabled_devices), device_prices.read_setting(settings.vendor_prices))


def adopt_rules(settings: Settings, database: Database) -> None:
    """Adopt what the settings decide about devices. Raises StartError."""
    from qonduit_server.store import catalogue

    with suppress(Unavailable):  # stored when leases are renewed
        catalogue.adopt_rules(database, rules_of(settings))


def withdraw_offers(database: Database) -> None:
    """End what this server offers, because it stops."""
    from qonduit_server.store import catalogue

    with suppress(Unavailable):  # the offers expire
        catalogue.withdraw(database)


def refresh_provider(
    database: Database,
    executor: Executor,
    translator: Translator,
    listing: DeviceListing | None,
    name: str,
    credential: str,
    credential_id: int,
) -> None:
    """Read the description of a provider again, for the catalogue and all processes that run or compile jobs.

    With a credential, read the devices that the vendor lists for it, for the catalogue alone.
    """
    if credential:
        if listing is None:
            raise FailedPrecondition(f"{name} has no devices at a vendor", subject=name, kind="PROVIDER")
        listing.refresh(name, credential, credential_id)
        return
    description = executor.describe(name, _REFRESH_SECONDS)
    translator.adopt(description)
    store_description(database, description)


def store_description(database: Database, description: ProviderDescription) -> None:
    """Store the description of one provider. Raises Unavailable."""
    from qonduit_server.store import catalogue

    catalogue.refresh(database, description)


def unknown_backends(descriptions: Sequence[ProviderDescription], names: Sequence[str]) -> list[str]:
    """Return the names that the setting `fake_backends` contains and IBM's description does not."""
    offered = {device.name for each in descriptions if each.provider.name == "IBM" for device in each.devices}
    return [name for name in names if name not in offered and name not in ("default", "all")] if offered else []


def device_listing(settings: Settings, database: Database, remote: RemoteExecutor | None) -> DeviceListing | None:
    """Return what asks vendors for the devices of accounts; None if no provider has devices at one."""
    if remote is None:
        return None
    from qonduit_server.execution.remote.device_listing import DeviceListing
    from qonduit_server.store import catalogue

    names = remote_providers(settings)
    return DeviceListing(
        database,
        remote.accounts.devices,
        timedelta(seconds=settings.vendor_refresh_seconds),
        lambda: {name: number for name, number in catalogue.provider_ids(database).items() if name in names},
        lambda device: (
            not device.is_local
            and (settings.vendor_probes == "all" or (settings.vendor_probes == "simulators" and device.is_simulator))
        ),
    )
