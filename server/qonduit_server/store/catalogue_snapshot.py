# SPDX-License-Identifier: Apache-2.0
"""A snapshot of the catalogue: all providers and devices, with their pauses, and the devices of this server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.pause_pb2 import Pause
from qonduit.v1.provider_pb2 import Environment, Provider, ProviderAssemblerLanguage
from qonduit_server.store import pauses
from qonduit_server.store.schema import NO_DEVICE_ID, devices, provider_languages, providers
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.vendor_tables import ProbeState, device_probes
from qonduit_server.version_requirements import Versions

_PROBED: Final = select(device_probes).where(device_probes.c.state.in_((ProbeState.PASSED, ProbeState.FAILED)))


class Claimable(NamedTuple):
    """The devices whose jobs a server claims, by id.

    Attributes:
        here: the devices that the server offers, without those that are available at other servers only.
        elsewhere: all others that it knows.
        offered_elsewhere: those of them that are available, at other servers.
    """

    here: frozenset[int]
    elsewhere: frozenset[int]
    offered_elsewhere: frozenset[int]


@dataclass
class Snapshot:
    """All providers and devices, in the order of their ids."""

    providers: dict[int, Provider] = field(default_factory=dict)
    devices: dict[int, Device] = field(default_factory=dict)
    by_name: dict[str, Device] = field(default_factory=dict)
    claimable: Claimable | None = None
    #: The environments of the workers, by the name of their provider.
    environments: dict[str, list[Versions]] = field(default_factory=dict)


def read(connection: Connection) -> Snapshot:
    """Return the stored providers and devices."""
    snapshot = Snapshot()
    for row in connection.execute(select(providers).where(providers.c.id > NO_DEVICE_ID).order_by(providers.c.id)):
        snapshot.providers[row.id] = Provider(id=row.id, name=row.name, with_token=row.with_token)
    for row in connection.execute(select(provider_languages).order_by(provider_languages.c.id)):
        snapshot.providers[row.provider_id].supported_languages.append(
            ProviderAssemblerLanguage(id=row.id, provider_id=row.provider_id, supported_language=row.language)
        )
    for row in connection.execute(select(devices).where(devices.c.id > NO_DEVICE_ID).order_by(devices.c.id)):
        found = _device(row)
        snapshot.devices[found.id] = found
        snapshot.by_name[f"{snapshot.providers[found.provider_id].name}/{found.name}"] = found
    return snapshot


def add_pauses(snapshot: Snapshot, found: Mapping[pauses.Paused, Pause]) -> None:
    """Add pauses to the devices and providers that they concern."""
    for device in snapshot.devices.values():
        if (paused := pauses.pause_of(found, device.provider_id, device.id)) is not None:
            device.pause.CopyFrom(paused)
    for provider in snapshot.providers.values():
        if (paused := pauses.pause_of(found, provider.id)) is not None:
            provider.pause.CopyFrom(paused)


def add_probes(snapshot: Snapshot, connection: Connection) -> None:
    """Add the outcomes of probes to the devices that they concern."""
    for row in connection.execute(_PROBED):
        device = snapshot.devices.get(row.device_id)
        if device is None:
            continue
        if row.state == ProbeState.PASSED:
            set_time(device.verified_at, row.ended_at)
        else:
            device.available, device.status_message = False, row.message


def add_environments(snapshot: Snapshot, found: Mapping[str, Sequence[Environment]]) -> None:
    """Add the environments of workers, which are given by the names of their providers."""
    providers = {each.name: each for each in snapshot.providers.values()}
    for name, environments in found.items():
        snapshot.environments[name] = [dict(each.versions) for each in environments]
        if (known := providers.get(name)) is not None:
            known.environments.extend(environments)


def _device(row: Any) -> Device:
    found = Device.FromString(row.description)
    found.id = row.id
    found.provider_id = row.provider_id
    # Set even if false: JSON output omits fields that were never set.
    found.available = row.available
    found.is_simulator = row.is_simulator
    found.is_local = row.is_local
    found.status_message = row.status_message
    return found


def listed_of(snapshot: Snapshot, offers: Sequence[ProviderDescription]) -> dict[str, Device]:
    """Return the devices that vendors have listed, of the providers in offers that have a vendor, by name."""
    vendors = {each.provider.name for each in offers if each.HasField("vendor") and not each.unavailable}
    return {
        name: device
        for name, device in snapshot.by_name.items()
        if device.HasField("listed_at") and snapshot.providers[device.provider_id].name in vendors
    }


def claimable(snapshot: Snapshot, own: Sequence[ProviderDescription]) -> Claimable:
    """Return the devices whose jobs a server claims that offers these providers.

    A device that is unavailable at all servers stays one of its own: the jobs that wait for it still run. If another
    server has an available one, the jobs are made for that.
    """
    offered = {
        f"{each.provider.name}/{device.name}": device.available
        for each in own
        if not each.unavailable
        for device in each.devices
    }
    for name in listed_of(snapshot, own):
        offered.setdefault(name, True)
    here = frozenset(
        device.id
        for name, device in snapshot.by_name.items()
        if name in offered and (offered[name] or not device.available)
    )
    elsewhere = frozenset(snapshot.devices) - here
    return Claimable(here, elsewhere, frozenset(each for each in elsewhere if snapshot.devices[each].available))
