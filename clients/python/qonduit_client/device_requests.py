# SPDX-License-Identifier: Apache-2.0
"""Build the requests about providers and devices of both clients, without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qonduit.v1 import device_service_pb2 as devices_rpc
from qonduit.v1 import provider_service_pb2 as providers_rpc
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit_client.input_values import Inputs
from qonduit_client.job_credential import JobCredential, set_credential
from qonduit_client.message_table import device_name
from qonduit_client.program_messages import Program
from qonduit_client.requests import Pages, Request, known_names, missing, submit
from qonduit_client.simulation_options import Noise, Simulation


def compare_devices(
    program: Program | Iterable[Program] | None,
    shots: int,
    language: str | None,
    *,
    deployment_id: int | None,
    inputs: Inputs | None,
    statevector: bool,
    simulation: Simulation | None,
    noise_model: Noise | None,
) -> Request[devices_rpc.CompareDevicesResponse]:
    """Compare devices for a job; raises as `submit`."""
    job = submit(
        *(program, "AUTO", shots, None, None, language),
        deployment_id=deployment_id,
        inputs=inputs,
        statevector=statevector,
        simulation=simulation,
        noise_model=noise_model,
        validate_only=True,
    ).message
    request = devices_rpc.CompareDevicesRequest(job=job.job)
    if job.HasField("deployment"):
        request.deployment.CopyFrom(job.deployment)
    return Request("DeviceService/CompareDevices", request, devices_rpc.CompareDevicesResponse)


def providers() -> Pages[Provider]:
    """List the providers."""
    request = providers_rpc.ListProvidersRequest()
    return Pages(Request("ProviderService/ListProviders", request, providers_rpc.ListProvidersResponse), "providers")


def devices(filter: str) -> Pages[Device]:
    """List the devices."""
    request = devices_rpc.ListDevicesRequest(filter=filter)
    return Pages(Request("DeviceService/ListDevices", request, devices_rpc.ListDevicesResponse), "devices")


def refresh(provider_id: int, credential: JobCredential) -> Request[devices_rpc.RefreshDevicesResponse]:
    """Read the devices of a provider again, or ask its vendor for them."""
    request = devices_rpc.RefreshDevicesRequest(provider_id=provider_id)
    set_credential(request, credential)
    return Request("DeviceService/RefreshDevices", request, devices_rpc.RefreshDevicesResponse)


def named(devices: Iterable[Device], providers: Iterable[Provider]) -> dict[str, Device]:
    """Return devices by their names, "PROVIDER/device"; "?" stands for an unlisted provider."""
    owners = {provider.id: provider.name for provider in providers}
    return {device_name(device, owners): device for device in devices}


def calibration(device_id: int) -> Request[devices_rpc.GetDeviceCalibrationResponse]:
    """Return the calibration of a device."""
    request = devices_rpc.GetDeviceCalibrationRequest(id=device_id)
    return Request("DeviceService/GetDeviceCalibration", request, devices_rpc.GetDeviceCalibrationResponse)


def id_of(name: str, known: Mapping[str, Device]) -> int:
    """Return the id of the device called "PROVIDER/device". Raises NotFound."""
    if name not in known:
        raise missing("device", name, known_names("devices", known))
    return known[name].id


def provider_id_of(name: str, providers: Iterable[Provider]) -> int:
    """Return the id of the provider of a name. Raises NotFound."""
    ids = {provider.name: provider.id for provider in providers}
    if name not in ids:
        raise missing("provider", name, known_names("providers", ids))
    return ids[name]
