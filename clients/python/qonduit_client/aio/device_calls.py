# SPDX-License-Identifier: Apache-2.0
"""The calls of the asyncio client about providers and devices."""

from __future__ import annotations

from collections.abc import Iterable

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import DeviceFit
from qonduit.v1.provider_pb2 import Provider
from qonduit_client import device_requests
from qonduit_client.aio.transport import Transport
from qonduit_client.input_values import Inputs
from qonduit_client.job_credential import JobCredential
from qonduit_client.listing import AsyncListing, Table
from qonduit_client.program_messages import Program
from qonduit_client.simulation_options import Noise, Simulation


class DeviceCalls:
    """The base class of the asyncio client with the calls about providers and devices."""

    _transport: Transport

    async def providers(self) -> Table[Provider]:
        """Return the providers, as a list with a table as its text."""
        return await AsyncListing(lambda: self._transport.items(device_requests.providers()), "Provider")

    async def devices(self, filter: str = "") -> Table[Device]:
        """Return the devices, as a list with a table as its text; a filter is, for example, 'is_simulator = true'."""
        devices = [each async for each in self._transport.items(device_requests.devices(filter))]
        return Table(devices, "Device", {each.id: each.name for each in await self.providers()})

    async def named_devices(self, filter: str = "") -> dict[str, Device]:
        """Return the devices by the names that `run` accepts, "PROVIDER/device"."""
        devices = [each async for each in self._transport.items(device_requests.devices(filter))]
        return device_requests.named(devices, await self.providers())

    async def refresh_devices(self, provider: str, *, credential: JobCredential = "") -> Table[Device]:
        """Let the server read the devices of a provider again; see `qonduit_client.Client.refresh_devices`."""
        provider_id = device_requests.provider_id_of(provider, await self.providers())
        found = (await self._transport.call(device_requests.refresh(provider_id, credential))).devices
        return Table(list(found), "Device", {provider_id: provider})

    async def calibration(self, device: str | int | Device) -> DeviceCalibration:
        """Return the measured properties of a device; see `qonduit_client.Client.calibration`."""
        if isinstance(device, str):
            device = device_requests.id_of(device, await self.named_devices())
        device_id = device.id if isinstance(device, Device) else device
        return (await self._transport.call(device_requests.calibration(device_id))).calibration

    async def compare_devices(
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
        """Return how each device would run a job; see `qonduit_client.Client.compare_devices`."""
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
        return list((await self._transport.call(request)).fits)
