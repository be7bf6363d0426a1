# SPDX-License-Identifier: Apache-2.0
"""Look up devices of a server by name."""

from __future__ import annotations

from dataclasses import dataclass

from qiskit.providers import QiskitBackendNotFoundError

from qonduit.v1.device_pb2 import Device
from qonduit_client.client import Client
from qonduit_client.qiskit.qiskit_errors import as_qiskit_has_it


@dataclass(frozen=True)
class NamedDevice:
    """A device and its full name, "PROVIDER/device"."""

    path: str
    device: Device

    def is_called(self, name: str) -> bool:
        """Return whether a name, with or without the provider, is that of the device."""
        return name in (self.path, self.device.name)


def devices_of(client: Client) -> list[NamedDevice]:
    """Return the devices of the server.

    Raises:
        QiskitError: the server is unreachable.
    """
    with as_qiskit_has_it():
        return [NamedDevice(name, device) for name, device in client.named_devices().items()]


def find_device(client: Client, name: str) -> NamedDevice:
    """Return the device of this name, with or without the provider.

    Raises:
        QiskitBackendNotFoundError: the name is unknown or ambiguous; the message lists the candidates.
        QiskitError: the server is unreachable.
    """
    known = devices_of(client)
    found = [each for each in known if each.is_called(name)]
    if len(found) != 1:
        there = ", ".join(each.path for each in (found or known))
        wrong = f"several backends are called {name!r}" if found else f"there is no backend {name!r}"
        raise QiskitBackendNotFoundError(f"{wrong}; {client.target} has {there}")
    return found[0]
