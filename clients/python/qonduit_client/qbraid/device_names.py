# SPDX-License-Identifier: Apache-2.0
"""The devices of a server by their names, "PROVIDER/device"."""

from __future__ import annotations

from qonduit.v1.device_pb2 import Device
from qonduit_client.client import Client
from qonduit_client.qbraid.qbraid_errors import as_qbraid_has_it


def devices(client: Client, filter: str = "") -> dict[str, Device]:
    """Return the current devices of a server.

    Raises:
        ProgramValidationError: the filter is invalid.
        QbraidRuntimeError: the server is unreachable, or reported an internal error.
    """
    with as_qbraid_has_it():
        return client.named_devices(filter)
