# SPDX-License-Identifier: Apache-2.0
"""IQM's machines under another name, with the limits and the times of tests. All calls are those of `IQM`."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.iqm import IQM
from tests.vendor_cloud.provider import with_stated_terms

#: The calibration set of the service's machines.
CALIBRATION: Final = "cd4dd889-b88b-4370-ba01-eb8262ad9c53"


class IQMCloud(IQM):
    """The machines of the service of the tests."""

    name = "IQM_CLOUD"

    def describe(self) -> ProviderDescription:
        return with_stated_terms(super().describe())

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=3, shots=1000, bytes=100_000)
