# SPDX-License-Identifier: Apache-2.0
"""The devices of IonQ: its machines and its simulators, by the API v0.4.

Workers write circuits as IonQ's JSON in the gateset "qis"; IonQ compiles them to the gates of its machines. The calls
are in `ionq_cloud`, and run in an environment with IonQ's own client.
"""

from __future__ import annotations

import json
import os
from typing import Final

from qonduit.execution.v1.vendor_pb2 import IDEMPOTENCY_TAG, NativeCircuit, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import (
    RemoteCircuit,
    SubmissionLimits,
    VendorSession,
    vendor_description,
)
from qonduit_server.providers.vendors.ionq_cloud import IonQCloud
from qonduit_server.providers.vendors.ionq_devices import backend_of
from qonduit_server.providers.vendors.measured_last import measured_last, omitted
from qonduit_server.providers.vendors.own_client import check_token, importing_client, is_safe

#: The variable with the URL of another endpoint of the API.
URL_VARIABLE: Final = "IONQ_API_URL"
#: IonQ refuses bodies of more than 10 MB; the rest is for what surrounds the circuit.
_MAX_BYTES: Final = 9_000_000


class IonQ:
    """The provider of IonQ's devices; see `RemoteProvider`."""

    name: str = "IONQ"
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        """Describe no device: IonQ lists them, with their states."""
        # No field of a job prevents a second one. Each entry of the list of jobs contains the metadata of its job.
        terms = VendorTerms(idempotency=IDEMPOTENCY_TAG, submit_seconds=90.0, call_seconds=60.0, calls=4)
        terms.estimates_costs = True
        return vendor_description(self.name, terms)

    def load(self) -> None:
        """See `RemoteProvider`."""
        import qonduit_server.languages.writing.ionq_writer  # noqa: F401

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of one job: one circuit, because IonQ does not state which result is of which circuit."""
        return SubmissionLimits(circuits=1, shots=backend_of(device).shots, bytes=_MAX_BYTES)

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """See `RemoteProvider`."""
        from qonduit_server.ir.visitor import walk
        from qonduit_server.languages.writing import ionq_writer

        where, backend = f"{self.name}/{device}", backend_of(device)
        steps = walk(circuit.quantum, where, ionq_writer.GATES)
        gates, measured = measured_last(steps, where)
        used = sorted({qubit for gate in gates for qubit in gate.qubits} | set(measured.values()))
        if backend.qubits and len(used) > backend.qubits:
            raise DeviceError(
                "TOO_MANY_QUBITS", f"{where} has {backend.qubits} qubits, and the program uses {len(used)}"
            )
        places = {qubit: place for place, qubit in enumerate(used)}
        text = {"qubits": len(used), "gateset": "qis", "circuit": list(ionq_writer.gates(gates, places))}
        native = NativeCircuit(text=json.dumps(text))
        # Bit `place` of IonQ's outcomes is classical bit `clbit`.
        native.layout.update({"places": [[clbit, places[qubit]] for clbit, qubit in sorted(measured.items())]})
        return RemoteCircuit(native, len(used), tuple(omitted(steps, "IonQ has")))

    def connect(self, credential: str) -> VendorSession:
        """See `RemoteProvider`. Raises CredentialRefused: the API key cannot be one."""
        check_token(credential, "an API key of IonQ")
        with importing_client("IonQ's client", "IONQ"):
            return IonQCloud(credential, endpoint())


def endpoint() -> str | None:
    """Return the URL of another endpoint; None for IonQ's own.

    Raises:
        ValueError: an API key would cross a network in plain text.
    """
    url = os.environ.get(URL_VARIABLE, "")
    if url and not is_safe(url):
        raise ValueError(f"{URL_VARIABLE} must be an https URL, or an http URL of this machine, got {url!r:.200}")
    return url.rstrip("/") or None
