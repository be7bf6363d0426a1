# SPDX-License-Identifier: Apache-2.0
"""Providers and their devices, as the workers described them; kept in memory because every submit asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider

from qonduit_server.store.database import Database
from qonduit_server.store.paging import Page


def sync(db: Database, descriptions: Sequence[ProviderDescription]) -> None:
    """Store what the workers described, by name. Devices described no longer become unavailable, never deleted."""
    raise NotImplementedError


def provider(db: Database, provider_id: int) -> Provider:
    """Return one provider. Raises NotFound."""
    raise NotImplementedError


def list_providers(db: Database, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Provider]:
    """Return a page of providers, newest first. Filter fields: name, with_token."""
    raise NotImplementedError


def device(db: Database, device_id: int) -> Device:
    """Return one device, from memory; `queue_depth` is left unset (see `queue_depth`). Raises NotFound."""
    raise NotImplementedError


def device_by_name(db: Database, name: str) -> Device:
    """Return the device called "PROVIDER/device", from memory. Raises NotFound."""
    raise NotImplementedError


def list_devices(db: Database, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Device]:
    """Return a page of devices, newest first, `queue_depth` unset (see `queue_depths`).

    Filter fields: name, provider_id, is_simulator, is_local, available, num_qubits.
    """
    raise NotImplementedError


def queue_depth(db: Database, device_id: int) -> int:
    """Return how many jobs wait for a device or run on it."""
    raise NotImplementedError


def queue_depths(db: Database) -> dict[int, int]:
    """Return how many jobs wait for each device or run on it, by device id; devices without any are left out."""
    raise NotImplementedError
