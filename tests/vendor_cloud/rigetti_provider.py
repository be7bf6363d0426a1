# SPDX-License-Identifier: Apache-2.0
"""Rigetti's devices under another name, with the limits and the times of tests. All calls are those of `Rigetti`."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.rigetti import Rigetti
from tests.vendor_cloud.provider import with_stated_terms

#: The processor of the service, and one that is away.
MACHINE: Final = "Ankaa-9Q-1"
AWAY: Final = "Aspen-X"
#: The time of each job on the machine, in microseconds.
MICROSECONDS: Final = 2345


class RigettiCloud(Rigetti):
    """The devices of the service of the tests."""

    name = "RIGETTI_CLOUD"

    def describe(self) -> ProviderDescription:
        return with_stated_terms(super().describe())

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=1, shots=1000, bytes=100_000)
