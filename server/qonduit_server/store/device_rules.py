# SPDX-License-Identifier: Apache-2.0
"""What the operator of a server decides about devices, whatever providers and vendors describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DevicePrice

#: The status message of a disabled device.
DISABLED: Final = "disabled (disabled_devices)"


@dataclass(frozen=True)
class DeviceRules:
    """The rules.

    Attributes:
        disabled: the devices that accept no jobs, as "PROVIDER/device".
        prices: the stated prices of devices at vendors, by "PROVIDER/device", or "PROVIDER" for the others of one.
    """

    disabled: frozenset[str] = frozenset()
    prices: Mapping[str, DevicePrice] = field(default_factory=lambda: MappingProxyType({}))

    def applied_to(self, description: ProviderDescription) -> ProviderDescription:
        """Return a description in which the disabled devices are unavailable."""
        provider = description.provider.name
        if not any(name.startswith(f"{provider}/") for name in self.disabled):
            return description
        found = ProviderDescription()
        found.CopyFrom(description)
        for device in found.devices:
            if f"{provider}/{device.name}" in self.disabled:
                device.available, device.status_message = False, DISABLED
        return found

    def set_price(self, provider: str, device: Device) -> None:
        """Set the stated price of a device at a vendor, if there is one."""
        stated = self.prices.get(f"{provider}/{device.name}") or self.prices.get(provider)
        if stated is not None and not device.is_local:
            device.price.CopyFrom(stated)
