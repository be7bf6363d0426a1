# SPDX-License-Identifier: Apache-2.0
"""Google's processors under another name, with the times of tests. All calls are those of `GoogleEngine`."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.google_engine import GoogleEngine
from tests.vendor_cloud.provider import with_stated_terms

#: The project to which each token has access.
PROJECT: Final = "lab-project"
#: A processor that is available, and one that is away.
MACHINE: Final = "machine"
AWAY: Final = "away"


class GoogleCloud(GoogleEngine):
    """The processors of the service of the tests."""

    name = "GOOGLE_CLOUD"

    def describe(self) -> ProviderDescription:
        return with_stated_terms(super().describe())

    def limits(self, device: str) -> SubmissionLimits:
        own = super().limits(device)
        return SubmissionLimits(circuits=own.circuits, shots=1000, bytes=own.bytes)
