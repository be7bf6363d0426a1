# SPDX-License-Identifier: Apache-2.0
"""The devices of a server by the names that jobs take, "PROVIDER/device"."""

from __future__ import annotations

from qonduit.v1.device_pb2 import Device
from qonduit_client.client import Client
from qonduit_client.qbraid.qbraid_errors import as_qbraid_has_it


def devices(client: Client, filter: str = "") -> dict[str, Device]:
    """Asks a server for its devices, as they are now.

    Raises:
        ProgramValidationError: the filter is none.
        QbraidRuntimeError: the server is not there, or at fault.
    """
    with as_qbraid_has_it():
        return client.named_devices(filter)
