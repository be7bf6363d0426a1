# SPDX-License-Identifier: Apache-2.0
"""The devices of a Qonduit server as a provider of qBraid's runtime."""

from __future__ import annotations

from typing import Any

from qbraid.programs import ExperimentType
from qbraid.runtime import QuantumProvider, ResourceNotFoundError, TargetProfile

from qonduit.v1.device_pb2 import Device
from qonduit_client.client import Client, connect
from qonduit_client.qbraid.device_names import devices
from qonduit_client.qbraid.program_specs import specs
from qonduit_client.qbraid.qbraid_device import QonduitDevice


class QonduitProvider(QuantumProvider):  # type: ignore[misc]
    """All devices of a server; qBraid finds it as `load_provider("qonduit")`.

    Args:
        client: the connection, or the server as "HOST:PORT" or by its name; by default that of `qonduit_client.Client`.
    """

    def __init__(self, client: Client | str | None = None) -> None:
        self.client = connect(client)

    def get_devices(self, *, filter: str = "", **wanted: Any) -> list[QonduitDevice]:
        """Return the devices of the server.

        Args:
            filter: of the server: 'is_simulator = true', for example.
            wanted: entries of a device's profile: `simulator=True`, `provider_name="IBM"`.
        """
        found = [_profile(name, device) for name, device in devices(self.client, filter).items()]
        return [
            QonduitDevice(profile, self.client)
            for profile in found
            if all(profile.get(key) == value for key, value in wanted.items())
        ]

    def get_device(self, device_id: str) -> QonduitDevice:
        """Return one device by its name, "PROVIDER/device".

        Raises:
            ResourceNotFoundError: the device does not exist; the message lists the devices.
        """
        found = devices(self.client)
        if device_id not in found:
            raise ResourceNotFoundError(f"device {device_id!r} does not exist; devices: {', '.join(sorted(found))}")
        return QonduitDevice(_profile(device_id, found[device_id]), self.client)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QonduitProvider) and self.client.target == other.client.target

    def __hash__(self) -> int:
        return hash(self.client.target)


def _profile(name: str, device: Device) -> TargetProfile:
    return TargetProfile(
        device_id=name,
        simulator=device.is_simulator,
        experiment_type=ExperimentType.GATE_MODEL,
        num_qubits=device.num_qubits or None,
        program_spec=specs(),
        provider_name=name.partition("/")[0],
        basis_gates=list(device.basis_gates) or None,
        max_shots=device.max_shots,
    )
