# SPDX-License-Identifier: Apache-2.0
"""IBM's machines. A worker writes circuits; the process that calls IBM compiles them for the machine as it is then."""

from __future__ import annotations

import os
import zlib
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Idempotency, NativeCircuit, Submission, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.job_pb2 import VendorCost
from qonduit_server.errors import DeviceError, ProgramError
from qonduit_server.ir.circuit import Circuit, contains
from qonduit_server.providers.provider import CompileOptions, importing_sdk
from qonduit_server.providers.remote_provider import RemoteCircuit, SubmissionLimits, VendorSession, vendor_description
from qonduit_server.providers.vendors.ibm_costs import UNIT, highest_cost
from qonduit_server.providers.vendors.measured_last import nothing_measured

#: The variable with the URL of the service, in place of that of the instance's region.
URL: Final = "QONDUIT_IBM_URL"
#: IBM accepts 10 million shots of all circuits of a job, and charges for what it runs.
_LIMITS: Final = SubmissionLimits(circuits=100, shots=100_000, bytes=10 * 1024**2)
#: A submission reads the configuration and the calibration of a machine, and compiles all circuits.
_TERMS: Final = VendorTerms(
    idempotency=Idempotency.IDEMPOTENCY_TAG,
    submit_seconds=300.0,
    call_seconds=120.0,
    grace_seconds=60.0,
    recovery_seconds=1800.0,
    poll_seconds=5.0,
    max_poll_seconds=60.0,
    poll_batch=10,
    calls=2,
)


class IBMMachines:
    """The machines of IBM; see `RemoteProvider`. Its account decides which, so none is described without one."""

    name: Final = "IBM"
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        """Describe the vendor."""
        return vendor_description(self.name, _TERMS, "qiskit-ibm-runtime", "shapes")

    def load(self) -> None:
        """Import what `compile` needs."""
        with importing_sdk("shapes"):
            import qiskit.qpy  # noqa: F401

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of a job."""
        return _LIMITS

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Write a circuit in standard gates, which does not depend on the calibration: a repetition is the same."""
        from qiskit.circuit import Measure

        from qonduit_server.languages.writing.qpy_writer import write_bits

        # Without measurements, it is for IBM's own estimator.
        if not options.statevector and not contains(circuit.quantum, {"measure": Measure}):
            raise nothing_measured(f"{self.name}/{device}")
        try:
            data = write_bits(circuit.quantum, f"{self.name}/{device}")
        except ProgramError as error:
            raise DeviceError(error.reason, error.message) from error
        native = NativeCircuit(binary=zlib.compress(data))
        native.layout.update({"optimization_level": options.optimization_level})
        return RemoteCircuit(native, circuit.quantum.num_qubits)

    def price(self, submission: Submission) -> VendorCost:
        """Return the highest cost of a job, a batch or a session."""
        return VendorCost(amount=self.most_seconds(submission), unit=UNIT)

    def most_seconds(self, submission: Submission) -> float:
        """Return the time for which IBM charges at most."""
        return highest_cost(submission)

    def connect(self, credential: str) -> VendorSession:
        """Import IBM's SDK, and return a session."""
        with importing_sdk("shapes"):
            from qonduit_server.providers.vendors.ibm_session import IBMSession

        return IBMSession(credential, os.environ.get(URL, ""))
