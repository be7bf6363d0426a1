# SPDX-License-Identifier: Apache-2.0
"""The devices of Amazon Braket's service. A worker writes circuits, and Braket compiles them for the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from qonduit.execution.v1.vendor_pb2 import Idempotency, NativeCircuit, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError, ProgramError
from qonduit_server.ir.braket_names import BRAKET_NAMES
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions, importing_sdk
from qonduit_server.providers.remote_provider import RemoteCircuit, SubmissionLimits, VendorSession, vendor_description
from qonduit_server.providers.vendors.measured_last import measured_last, omitted, refused

if TYPE_CHECKING:
    from qonduit_server.ir.visitor import GateStep

#: A task has one circuit, unless `Device.vendor_job` permits sets. The shots are those of the device, and an action has
#: at most 256 KiB.
_LIMITS: Final = SubmissionLimits(circuits=1, shots=100_000, bytes=240 * 1024)
_TERMS: Final = VendorTerms(
    idempotency=Idempotency.IDEMPOTENCY_CLIENT_TOKEN,
    submit_seconds=120.0,
    call_seconds=90.0,
    grace_seconds=60.0,
    # Amazon does not state how long Braket knows a token.
    recovery_seconds=600.0,
    poll_seconds=2.0,
    max_poll_seconds=60.0,
    # One request for each task.
    poll_batch=10,
    calls=4,
)
#: The gates that all devices take; others are replaced by these.
_NATIVE: Final = ("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "cx", "swap")
_KEPT: Final = frozenset({*_NATIVE, "id", "u"})


class BraketCloud:
    """The devices of Braket's service; see `RemoteProvider`. An account decides which exist."""

    name: str = "AWS"
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        """Describe the vendor."""
        return vendor_description(self.name, _TERMS, "amazon-braket-sdk", "aws")

    def load(self) -> None:
        """Import what `compile` needs."""
        import qonduit_server.ir.visitor  # noqa: F401

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of a task."""
        return _LIMITS

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Write a circuit as OpenQASM 3 in gates that all devices take."""
        from qonduit_server.ir.visitor import walk

        where = f"{self.name}/{device}"
        try:
            steps = walk(circuit.quantum, where, _KEPT)
        except ProgramError as error:
            raise DeviceError(error.reason, error.message) from error
        gates, by_bit = measured_last(steps, where)
        measured = _bits_of_qubits(by_bit, where)
        used = sorted({qubit for gate in gates for qubit in gate.qubits} | measured.keys())
        # Some devices require that qubits are numbered without gaps.
        places = {qubit: place for place, qubit in enumerate(used)}
        touched = {qubit for gate in gates for qubit in gate.qubits}
        bits = sorted(measured, key=places.__getitem__)
        lines = [
            "OPENQASM 3.0;",
            f"bit[{len(bits)}] b;",
            f"qubit[{len(used)}] q;",
            *(line for gate in gates for line in _written(gate, [places[qubit] for qubit in gate.qubits])),
            *(f"i q[{places[qubit]}];" for qubit in bits if qubit not in touched),
            *(f"b[{number}] = measure q[{places[qubit]}];" for number, qubit in enumerate(bits)),
        ]
        native = NativeCircuit(text="\n".join(lines) + "\n")
        native.layout.update({"bits": {str(places[qubit]): measured[qubit] for qubit in bits}})
        return RemoteCircuit(native, len(used), tuple(omitted(steps, "Amazon Braket's devices take")))

    def connect(self, credential: str) -> VendorSession:
        """Import Braket's SDK, and return a session."""
        with importing_sdk("aws"):
            from qonduit_server.providers.vendors.braket_session import BraketSession

        return BraketSession(credential)


def _written(gate: GateStep, qubits: Sequence[int]) -> Iterator[str]:
    """Yield a gate in Braket's OpenQASM."""
    if gate.name == "u":
        theta, phi, lam = gate.numbers
        for name, angle in (("rz", lam), ("ry", theta), ("rz", phi)):
            yield f"{name}({angle!r}) q[{qubits[0]}];"
        return
    angles = f"({', '.join(map(repr, gate.numbers))})" if gate.numbers else ""
    yield f"{BRAKET_NAMES[gate.name]}{angles} {', '.join(f'q[{qubit}]' for qubit in qubits)};"


def _bits_of_qubits(measured: Mapping[int, int], where: str) -> dict[int, int]:
    """Return the classical bit of each measured qubit; Braket measures a qubit into one bit alone."""
    bits: dict[int, int] = {}
    for bit, qubit in measured.items():
        if qubit in bits:
            raise refused(where, f"a second measurement of qubit {qubit}")
        bits[qubit] = bit
    return bits
