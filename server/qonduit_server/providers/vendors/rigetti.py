# SPDX-License-Identifier: Apache-2.0
"""The devices of Rigetti's Quantum Cloud Services (QCS).

Workers write circuits as Quil. quilc compiles them for the processor, and QCS translates and runs them. The calls are
in `rigetti_session`, and run in an environment with pyQuil.
"""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.vendor_pb2 import IDEMPOTENCY_NOTHING, NativeCircuit, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import (
    RemoteCircuit,
    SubmissionLimits,
    VendorSession,
    vendor_description,
)
from qonduit_server.providers.vendors.measured_last import measured_last, omitted
from qonduit_server.providers.vendors.own_client import importing_client
from qonduit_server.providers.vendors.rigetti_access import endpoints, read_credential

#: The memory region of the measured bits.
_REGION: Final = "ro"
#: Rigetti states no limits; these are of this server.
_MAX_SHOTS: Final = 100_000
_MAX_BYTES: Final = 4 * 1024**2


class Rigetti:
    """The provider of Rigetti's devices; see `RemoteProvider`."""

    name: str = "RIGETTI"
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        """Describe no device: QCS lists them."""
        # A submission has neither an id of the client's nor a token or tag, and QCS does not list jobs.
        terms = VendorTerms(idempotency=IDEMPOTENCY_NOTHING, submit_seconds=240.0, call_seconds=60.0, calls=4)
        return vendor_description(self.name, terms)

    def load(self) -> None:
        """See `RemoteProvider`."""
        import qonduit_server.languages.writing.quil_writer  # noqa: F401

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of one job: one program."""
        return SubmissionLimits(circuits=1, shots=_MAX_SHOTS, bytes=_MAX_BYTES)

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Write a circuit as Quil. Each measured qubit has one bit of the region; see `RemoteProvider`."""
        from qonduit_server.ir.visitor import walk
        from qonduit_server.languages.writing import quil_writer

        where = f"{self.name}/{device}"
        steps = walk(circuit.quantum, where, quil_writer.GATES)
        gates, measured = measured_last(steps, where)
        used = sorted({qubit for gate in gates for qubit in gate.qubits} | set(measured.values()))
        places = {qubit: place for place, qubit in enumerate(used)}
        bits = {qubit: bit for bit, qubit in enumerate(sorted(set(measured.values())))}
        lines = [f"DECLARE {_REGION} BIT[{len(bits)}]"]
        for gate in gates:
            lines += quil_writer.gate(gate, [places[qubit] for qubit in gate.qubits])
        lines += [f"MEASURE {places[qubit]} {_REGION}[{bit}]" for qubit, bit in bits.items()]
        native = NativeCircuit(text="\n".join(lines) + "\n")
        # The bit of the region that is each classical bit of the circuit.
        native.layout.update({"bits": [[clbit, bits[qubit]] for clbit, qubit in sorted(measured.items())]})
        return RemoteCircuit(native, len(used), tuple(omitted(steps, "Rigetti has")))

    def connect(self, credential: str) -> VendorSession:
        """See `RemoteProvider`. Raises CredentialRefused: the credential cannot be one."""
        access, addresses = read_credential(credential), endpoints()
        with importing_client("pyQuil", "RIGETTI"):
            from qonduit_server.providers.vendors.rigetti_session import RigettiSession

        return RigettiSession(access, addresses)
