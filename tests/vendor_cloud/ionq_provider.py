# SPDX-License-Identifier: Apache-2.0
"""IonQ's devices under another name, with the limits and the times of tests. All calls are those of `IonQ`."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.ionq import IonQ
from qonduit_server.providers.vendors.ionq_devices import described_device
from tests.vendor_cloud.provider import with_stated_terms

#: The characterization of the service's machines.
CALIBRATION: Final = "0197379a-c3b8-7548-9da4-bbb7067311c1"


class IonQCloudTwin(IonQ):
    """The devices of the service of the tests."""

    name = "IONQ_CLOUD"

    def describe(self) -> ProviderDescription:
        description = with_stated_terms(super().describe())
        description.devices.append(described_device("forte_1", 36))
        return description

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=1, shots=1000, bytes=100_000)
