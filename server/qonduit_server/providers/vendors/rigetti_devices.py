# SPDX-License-Identifier: Apache-2.0
"""The processors of Rigetti as QCS describes them: by their instruction set architecture (ISA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from qonduit.v1.calibration_pb2 import DeviceCalibration, QubitCalibration
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType

#: The shots of one job of this server, which may be several jobs at Rigetti.
_MAX_SHOTS: Final = 1_000_000
_TYPES: Final = (JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR)
_NO_GATES: Final = frozenset(("MEASURE", "RESET", "I"))
#: The characteristics of qubits, by the names of the ISA.
_TIMES: Final = {"T1": "t1", "T2": "t2"}


def described_device(name: str, isa: Mapping[str, Any], accessors: Sequence[Mapping[str, Any]]) -> Device:
    """Describe a processor.

    Args:
        name: its name at Rigetti, which is that of the device.
        isa: its ISA.
        accessors: the ways to reach it.
    """
    live = gateway(accessors) is not None
    return Device(
        name=name,
        num_qubits=len(isa["architecture"]["nodes"]),
        is_simulator=False,
        is_local=False,
        available=live,
        status_message="" if live else "QCS reports no gateway that is attached to the processor",
        max_shots=_MAX_SHOTS,
        capabilities=DeviceCapabilities(job_types=_TYPES, coupling_map=True),
        basis_gates=sorted({str(each["name"]).lower() for each in _instructions(isa)}),
    )


def gateway(accessors: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the URL of the gateway to use, as Rigetti's client selects it; None if none is attached."""
    live = [each for each in accessors if each.get("live") and each.get("accessType") == "gateway.v1"]
    best = min(live, key=lambda each: each["rank"] if each.get("rank") is not None else float("inf"), default=None)
    return None if best is None else str(best["url"])


def calibration(isa: Mapping[str, Any]) -> DeviceCalibration:
    """Return what the ISA states about qubits and gates: coherence times, and the errors 1 - fidelity."""
    found = DeviceCalibration()
    qubits: dict[int, QubitCalibration] = {}
    for node in sorted(int(each["node_id"]) for each in isa["architecture"]["nodes"]):
        qubits[node] = found.qubits.add(qubit=node)
    for edge in isa["architecture"]["edges"]:
        first, second = map(int, edge["node_ids"])
        found.coupling_map.add(first=first, second=second)
        found.coupling_map.add(first=second, second=first)
    latest = None
    for operation in [*isa["instructions"], *isa["benchmarks"]]:
        for site in operation["sites"]:
            nodes = [int(each) for each in site["node_ids"]]
            for each in site["characteristics"]:
                with suppress(TypeError, ValueError):
                    at = datetime.fromisoformat(str(each.get("timestamp"))).astimezone(UTC)
                    latest = at if latest is None else max(latest, at)
                if len(nodes) == 1 and nodes[0] in qubits and each["name"] in _TIMES:
                    setattr(qubits[nodes[0]], _TIMES[each["name"]], float(each["value"]))
                elif len(nodes) == 1 and nodes[0] in qubits and each["name"] == "fRO":
                    error = 1.0 - float(each["value"])
                    qubits[nodes[0]].prob_1_given_0 = qubits[nodes[0]].prob_0_given_1 = error
                elif each["name"] == f"f{operation['name']}" and operation["name"] not in _NO_GATES:
                    gate = str(operation["name"]).lower()
                    found.gates.add(gate=gate, qubits=nodes, error=1.0 - float(each["value"]))
    if latest is not None:
        found.calibrated_at.FromDatetime(latest)
    return found


def _instructions(isa: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (each for each in isa["instructions"] if each["name"] not in _NO_GATES)
