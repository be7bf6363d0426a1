# SPDX-License-Identifier: Apache-2.0
"""IBM's machines under another name, with the limits and the times of tests. All calls are those of `IBMMachines`."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType, VendorMode
from qonduit_server.providers.remote_provider import SubmissionLimits
from qonduit_server.providers.vendors.ibm_machines import IBMMachines
from tests.vendor_cloud.provider import with_stated_terms

#: The instance to which every API key has access.
INSTANCE: Final = "crn:v1:bluemix:public:quantum-computing:us-east:a/0123:4567::"
#: A machine that runs operations conditioned on measured bits, and one that does not.
MACHINE: Final = "machine"
STATIC: Final = "static"


class IBMCloud(IBMMachines):
    """The machines of the service of the tests."""

    name = "IBM_CLOUD"

    def describe(self) -> ProviderDescription:
        description = with_stated_terms(super().describe())
        for name in (MACHINE, STATIC):
            capabilities = DeviceCapabilities(
                mid_circuit_measurement=True,
                conditionals=True,
                loops=True,
                parameters=True,
                job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR],
                vendor_modes=[VendorMode.VENDOR_MODE_BATCH, VendorMode.VENDOR_MODE_SESSION],
                vendor_estimator=True,
            )
            description.devices.append(
                Device(
                    name=name,
                    num_qubits=5,
                    is_simulator=False,
                    is_local=False,
                    available=True,
                    max_shots=10_000,
                    capabilities=capabilities,
                )
            )
        return description

    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=3, shots=1000, bytes=100_000)
