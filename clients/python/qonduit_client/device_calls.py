# SPDX-License-Identifier: Apache-2.0
"""The calls of the client about providers and devices."""

from __future__ import annotations

from collections.abc import Iterable

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import DeviceFit
from qonduit.v1.provider_pb2 import Provider
from qonduit_client import device_requests
from qonduit_client.input_values import Inputs
from qonduit_client.job_credential import JobCredential
from qonduit_client.listing import Table
from qonduit_client.program_messages import Program
from qonduit_client.simulation_options import Noise, Simulation
from qonduit_client.transport import Transport


class DeviceCalls:
    """The base class of the client with the calls about providers and devices."""

    _transport: Transport

    def providers(self) -> Table[Provider]:
        """Return the providers, as a list with a table as its text."""
        return Table(self._transport.items(device_requests.providers()), "Provider")

    def devices(self, filter: str = "") -> Table[Device]:
        """Return the devices, as a list with a table as its text; a filter is, for example, 'is_simulator = true'."""
        devices = list(self._transport.items(device_requests.devices(filter)))
        return Table(devices, "Device", {each.id: each.name for each in self.providers()})

    def named_devices(self, filter: str = "") -> dict[str, Device]:
        """Return the devices by the names that `run` accepts, "PROVIDER/device"."""
        return device_requests.named(self._transport.items(device_requests.devices(filter)), self.providers())

    def refresh_devices(self, provider: str, *, credential: JobCredential = "") -> Table[Device]:
        """Let the server read the devices of a provider again; return them. Operators can do so.

        Args:
            provider: its name.
            credential: the vendor of the provider is asked for the devices of this account: the id of a stored
                credential, or one of `credentials`; or the secret itself.

        Raises:
            NotFound: the provider does not exist.
            PreconditionFailed: the vendor does not accept the credential, or the provider has none.
            Unavailable: the provider or its vendor does not answer.
        """
        provider_id = device_requests.provider_id_of(provider, self.providers())
        found = self._transport.call(device_requests.refresh(provider_id, credential)).devices
        return Table(list(found), "Device", {provider_id: provider})

    def calibration(self, device: str | int | Device) -> DeviceCalibration:
        """Return the measured properties of a device: of its qubits, of its gates, and the coupled pairs.

        Args:
            device: "PROVIDER/device", its id, or one of `devices()`.

        Raises:
            NotFound: the device does not exist.
            PreconditionFailed: the device has no calibration, as an ideal simulator.
        """
        if isinstance(device, str):
            device = device_requests.id_of(device, self.named_devices())
        device_id = device.id if isinstance(device, Device) else device
        return self._transport.call(device_requests.calibration(device_id)).calibration

    def compare_devices(
        self,
        program: Program | Iterable[Program] | None = None,
        shots: int = 1000,
        language: str | None = None,
        *,
        deployment_id: int | None = None,
        inputs: Inputs | None = None,
        statevector: bool = False,
        simulation: Simulation | None = None,
        noise_model: Noise | None = None,
    ) -> list[DeviceFit]:
        """Return how each device would run a job: whether it can, by which method, in how much memory and time.

        Arguments are those of `run`. The devices that "AUTO" may choose come first, the fastest of them at the top.

        Raises:
            InvalidRequest: a program is invalid; the error names the program and the position.
        """
        request = device_requests.compare_devices(
            program,
            shots,
            language,
            deployment_id=deployment_id,
            inputs=inputs,
            statevector=statevector,
            simulation=simulation,
            noise_model=noise_model,
        )
        return list(self._transport.call(request).fits)
