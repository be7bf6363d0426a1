# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket's devices under another name, with the times of tests. All calls are those of `BraketCloud`."""

from __future__ import annotations

import json
from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.braket_cloud import BraketCloud
from tests.vendor_cloud.provider import with_stated_terms

REGION: Final = "us-east-1"
BUCKET: Final = "amazon-braket-of-the-lab"
#: The prices of a task and of a shot on the processor of the contract, in US dollars.
TASK_FEE: Final = 0.3
SHOT: Final = 0.08


class AWSCloud(BraketCloud):
    """The devices of the service of the tests."""

    name = "AWS_CLOUD"

    def describe(self) -> ProviderDescription:
        return with_stated_terms(super().describe())

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=1, shots=1000, bytes=100_000)


def credential(token: str) -> str:
    """Return a credential whose keys the service knows by a token."""
    keys = {"aws_access_key_id": f"AKIA{token}", "aws_secret_access_key": f"secret of {token}"}
    return json.dumps({**keys, "region": REGION, "bucket": BUCKET})
