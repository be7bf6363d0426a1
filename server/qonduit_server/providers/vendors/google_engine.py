# SPDX-License-Identifier: Apache-2.0
"""Google's processors, by Quantum Engine. A worker lowers circuits; the process that calls Google compiles them."""

from __future__ import annotations

import os
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Idempotency, NativeCircuit, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions, importing_sdk
from qonduit_server.providers.remote_provider import RemoteCircuit, SubmissionLimits, VendorSession, vendor_description
from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector

#: The variable with host and port of the service, in place of quantum.googleapis.com. Always with TLS.
ENDPOINT: Final = "QONDUIT_GOOGLE_ENDPOINT"
#: Google accepts programs of 10 MB. Compilation to native gates makes them larger.
_LIMITS: Final = SubmissionLimits(circuits=1, shots=1_000_000, bytes=4 * 1024**2)
#: A submission reads the processor and its calibration, compiles, and creates a program and its job.
_TERMS: Final = VendorTerms(
    idempotency=Idempotency.IDEMPOTENCY_CLIENT_ID,
    submit_seconds=240.0,
    call_seconds=120.0,
    grace_seconds=30.0,
    # The names of programs and jobs are those of their resources: Google never assigns them again.
    recovery_seconds=7 * 86_400.0,
    poll_seconds=2.0,
    max_poll_seconds=60.0,
    poll_batch=50,
    calls=4,
)


class GoogleEngine:
    """The processors of Quantum Engine; see `RemoteProvider`. The project of the credential decides which they are."""

    name: Final = "GOOGLE"
    distributions: Final = ("cirq-core",)

    def __init__(self) -> None:
        self._gates = CirqStatevector()

    def describe(self) -> ProviderDescription:
        """Describe the vendor: it has no devices that exist for all accounts."""
        return vendor_description(self.name, _TERMS, "cirq-google", "shapes")

    def load(self) -> None:
        """Import what `compile` needs."""
        self._gates.load()

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of a job: one circuit, because a job has one program, and fails as a whole."""
        return _LIMITS

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Lower a circuit to gates for one and two qubits, on no particular qubits.

        The result does not depend on the processor, which may change while the job waits.
        """
        self.load()
        from qonduit_server.ir.noise import has_noise
        from qonduit_server.providers.shapes.processor_lowering import lower
        from qonduit_server.providers.shapes.processor_programs import to_text

        name = f"{self.name}/{device}"
        if has_noise(circuit.quantum):
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{name} is no simulator, and takes no noise")
        program = lower(circuit, name, self._gates.convert, self._gates.is_native)
        if not program.clbits:
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"{name} runs only programs that measure at least one qubit")
        native = NativeCircuit(text=to_text(program))
        native.layout.update(
            {
                "clbits": [-1 if clbit is None else clbit for clbit in program.clbits],
                "optimization_level": options.optimization_level,
            }
        )
        return RemoteCircuit(native, program.qubits)

    def connect(self, credential: str) -> VendorSession:
        """Import Google's SDK, and return a session."""
        with importing_sdk("shapes"):
            from qonduit_server.providers.vendors.google_session import GoogleSession

        return GoogleSession(credential, os.environ.get(ENDPOINT, ""))
