# SPDX-License-Identifier: Apache-2.0
"""Build the requests of operators, without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from qonduit.v1 import device_service_pb2 as devices_rpc
from qonduit.v1 import provider_service_pb2 as providers_rpc
from qonduit.v1 import system_service_pb2 as system_rpc
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit_client.device_requests import id_of, provider_id_of
from qonduit_client.requests import Pages, Request

#: What pauses all servers of a database.
SERVER: Final = "server"


def pause(subject: str, subject_id: int, message: str) -> Request[Any]:
    """Pause a device, a provider or the server; a repetition replaces the message.

    Args:
        subject: "PROVIDER/device", "PROVIDER" or "server".
        subject_id: the id of the device or the provider; 0 for the server.
        message: a text for callers.
    """
    if subject == SERVER:
        server = system_rpc.PauseServerRequest(message=message)
        return Request("SystemService/PauseServer", server, system_rpc.PauseServerResponse)
    if "/" in subject:
        device = devices_rpc.PauseDeviceRequest(id=subject_id, message=message)
        return Request("DeviceService/PauseDevice", device, devices_rpc.PauseDeviceResponse)
    provider = providers_rpc.PauseProviderRequest(id=subject_id, message=message)
    return Request("ProviderService/PauseProvider", provider, providers_rpc.PauseProviderResponse)


def resume(subject: str, subject_id: int) -> Request[Any]:
    """End a pause; arguments as of `pause`."""
    if subject == SERVER:
        return Request("SystemService/ResumeServer", system_rpc.ResumeServerRequest(), system_rpc.ResumeServerResponse)
    if "/" in subject:
        device = devices_rpc.ResumeDeviceRequest(id=subject_id)
        return Request("DeviceService/ResumeDevice", device, devices_rpc.ResumeDeviceResponse)
    provider = providers_rpc.ResumeProviderRequest(id=subject_id)
    return Request("ProviderService/ResumeProvider", provider, providers_rpc.ResumeProviderResponse)


def pauses() -> Request[system_rpc.ListPausesResponse]:
    """List the pauses."""
    return Request("SystemService/ListPauses", system_rpc.ListPausesRequest(), system_rpc.ListPausesResponse)


def shares(provider: int) -> Pages[system_rpc.Share]:
    """List the shares of owners; of all providers with 0."""
    request = system_rpc.ListSharesRequest(provider_id=provider)
    first = Request("SystemService/ListShares", request, system_rpc.ListSharesResponse)
    return Pages(first, "shares", size=100)


def set_share(provider: int, owner: str, weight: float) -> Request[system_rpc.SetShareResponse]:
    """Set the weight of an owner."""
    request = system_rpc.SetShareRequest(provider_id=provider, owner=owner, weight=weight)
    return Request("SystemService/SetShare", request, system_rpc.SetShareResponse)


def id_of_subject(subject: str, devices: Mapping[str, Device], providers: Iterable[Provider]) -> int:
    """Return the id of a device or a provider; 0 for the server. Raises NotFound."""
    if subject == SERVER:
        return 0
    return id_of(subject, devices) if "/" in subject else provider_id_of(subject, providers)
