# SPDX-License-Identifier: Apache-2.0
"""IQM's machines. A worker writes circuits; the process that calls IQM compiles them for the machine as it is then."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.vendor_pb2 import IDEMPOTENCY_NOTHING, NativeCircuit, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import DeviceError, ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import (
    RemoteCircuit,
    SubmissionLimits,
    VendorSession,
    vendor_description,
)
from qonduit_server.providers.vendors.measured_last import nothing_measured
from qonduit_server.providers.vendors.own_client import check_token, importing_client, is_safe

if TYPE_CHECKING:
    from qonduit_server.ir.visitor import DelayStep, Plain

#: IQM's own variable with the URL of the server, in place of that of IQM Resonance.
URL_VARIABLE: Final = "IQM_SERVER_URL"
_RESONANCE: Final = "https://resonance.iqm.tech"
#: IQM states its limits in the errors of refused jobs only.
_LIMITS: Final = SubmissionLimits(circuits=100, shots=20_000, bytes=8_000_000)
_TERMS: Final = VendorTerms(
    # A job has no field by which a second submission is recognized, and the client lists no jobs.
    idempotency=IDEMPOTENCY_NOTHING,
    # A submission reads the machine, and compiles all circuits.
    submit_seconds=240.0,
    call_seconds=120.0,
    grace_seconds=60.0,
    # One request for each job. Others saw the status 429 with a wait of 30 s.
    poll_seconds=5.0,
    max_poll_seconds=60.0,
    poll_batch=5,
    # A process has more than 200 MB.
    calls=2,
)
#: Qiskit's standard gates in which circuits are sent to the compiler.
_GATES: Final = frozenset(
    {"id", "u", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "r", "cx", "cz", "swap"}
)
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


class IQM:
    """The provider of IQM's machines; see `RemoteProvider`. An account decides which exist."""

    name: str = "IQM"
    distributions: Final = ("qiskit",)

    def describe(self) -> ProviderDescription:
        """Describe no device: IQM lists them."""
        return vendor_description(self.name, _TERMS)

    def load(self) -> None:
        """See `RemoteProvider`."""
        import qonduit_server.ir.visitor  # noqa: F401

    def limits(self, device: str) -> SubmissionLimits:
        """Return the limits of one job."""
        return _LIMITS

    def compile(self, circuit: Circuit, device: str, options: CompileOptions) -> RemoteCircuit:
        """Write a circuit in standard gates, which do not depend on the calibration: a repetition is the same."""
        from qonduit_server.ir.visitor import MeasureStep, qubits_used, walk

        where = f"{self.name}/{device}"
        try:
            steps = walk(circuit.quantum, where, _GATES)
        except ProgramError as error:
            raise DeviceError(error.reason, error.message) from error
        if not any(isinstance(step, MeasureStep) for step in steps):
            raise nothing_measured(where)
        used = sorted(qubits_used(steps))
        places = {qubit: place for place, qubit in enumerate(used)}
        native = NativeCircuit(
            text=json.dumps({"qubits": len(used), "steps": list(_written(steps, places, where))}, separators=(",", ":"))
        )
        native.layout.update({"optimization_level": options.optimization_level})
        return RemoteCircuit(native, len(used))

    def connect(self, credential: str) -> VendorSession:
        """Import IQM's client, and return a session. Raises CredentialRefused: the token cannot be one."""
        check_token(credential, "an API token of IQM")
        url = os.environ.get(URL_VARIABLE) or _RESONANCE
        if not is_safe(url):
            raise ValueError(f"{URL_VARIABLE} must be an https URL, or an http URL of this machine, got {url!r:.200}")
        with importing_client("IQM's client", "IQM"):
            from qonduit_server.providers.vendors.iqm_session import IQMSession

        return IQMSession(credential, url)


def _written(steps: Sequence[Plain], places: dict[int, int], where: str) -> Iterator[list[Any]]:
    """Yield [name, qubits, numbers] for each step. Of a measurement, the number is its classical bit."""
    from qonduit_server.ir.visitor import BarrierStep, DelayStep, GateStep, MeasureStep, ResetStep

    for step in steps:
        if isinstance(step, GateStep):
            if step.name != "id":
                yield [step.name, [places[qubit] for qubit in step.qubits], list(step.numbers)]
        elif isinstance(step, MeasureStep):
            yield ["measure", [places[step.qubit]], [step.clbit]]
        elif isinstance(step, ResetStep):
            yield ["reset", [places[step.qubit]], []]
        elif isinstance(step, DelayStep):
            yield ["delay", [places[step.qubit]], [_seconds(step, where)]]
        elif isinstance(step, BarrierStep):
            yield ["barrier", [places[qubit] for qubit in step.qubits if qubit in places], []]
        else:
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT", f"{where} does not run operations that depend on measured bits here"
            )


def _seconds(step: DelayStep, where: str) -> float:
    if step.unit not in _SECONDS:
        raise DeviceError(
            "UNSUPPORTED_CONSTRUCT",
            f"{where} takes delays in {', '.join(_SECONDS)}, got {step.unit}: IQM does not state the length of dt",
        )
    return step.duration * _SECONDS[step.unit]
