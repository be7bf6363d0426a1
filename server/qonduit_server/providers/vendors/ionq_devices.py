# SPDX-License-Identifier: Apache-2.0
"""The devices of IonQ as it lists them: its machines, and a simulator for each noise model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType

_MACHINES: Final = "qpu."
#: The shots of one job of this server, which may be several jobs at IonQ.
_MAX_SHOTS: Final = 1_000_000
#: By OpenQASM names.
_BASIS: Final = (
    "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "cx", "swap", "rxx", "ryy", "rzz",
)  # fmt: skip
_TYPES: Final = (JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR)


@dataclass(frozen=True)
class Backend:
    """A device.

    Args:
        target: IonQ's name of the backend.
        qubits: the maximum number of qubits; 0 if IonQ alone knows it.
        shots: the maximum number of shots of one job at IonQ.
        noise: the noise model of the simulator; empty for a machine.
    """

    target: str
    qubits: int = 0
    shots: int = 10_000
    noise: str = ""

    @property
    def exact(self) -> bool:
        """Whether IonQ returns exact probabilities, and measures nothing."""
        return self.noise == "ideal"


#: By the device's name. A noise model has the qubits of its machine.
SIMULATORS: Final = {
    "simulator": Backend("simulator", 29, 1_000_000, "ideal"),
    "simulator_forte_1": Backend("simulator", 36, 100_000, "forte-1"),
    "simulator_forte_enterprise_1": Backend("simulator", 36, 100_000, "forte-enterprise-1"),
}


def backend_of(device: str) -> Backend:
    """Return the backend of a device: `forte_1` is `qpu.forte-1`."""
    return SIMULATORS.get(device) or Backend(_MACHINES + device.replace("_", "-"))


def described_device(name: str, qubits: int) -> Device:
    """Describe an available device."""
    return Device(
        name=name,
        num_qubits=qubits,
        is_simulator=name in SIMULATORS,
        is_local=False,
        available=True,
        max_shots=_MAX_SHOTS,
        capabilities=DeviceCapabilities(job_types=_TYPES),
        basis_gates=_BASIS,
    )


def listed_devices(
    listed: Iterable[Mapping[str, Any]], characterizations: Mapping[str, Mapping[str, Any]]
) -> ProviderDescription:
    """Describe the devices that IonQ lists, and their calibrations.

    Args:
        listed: the backends.
        characterizations: the latest one of each machine, by the name of its backend.
    """
    found = ProviderDescription()
    for entry in listed:
        target = str(entry["backend"])
        names = [name for name, backend in SIMULATORS.items() if backend.target == target]
        machine = target.removeprefix(_MACHINES).replace("-", "_")
        # The name of the backend must follow from that of the device.
        if machine not in SIMULATORS and backend_of(machine).target == target:
            names.append(machine)
        for name in names:
            device = described_device(name, backend_of(name).qubits or int(entry["qubits"]))
            device.available = entry.get("status") == "available"
            device.status_message = _remark(entry)
            found.devices.append(device)
            if target in characterizations:
                found.calibrations.add(device=name, calibration=_calibration(characterizations[target]))
    return found


def _remark(entry: Mapping[str, Any]) -> str:
    """Return the remark of a backend: its state and its queue."""
    remarks = [] if entry.get("status") == "available" else [f"IonQ reports the state {entry.get('status')!r:.100}"]
    if entry.get("degraded"):
        remarks.append("IonQ reports that it is degraded")
    wait = entry.get("average_queue_time")
    if isinstance(wait, int | float) and wait >= 1:
        remarks.append(f"the average wait in its queue is {wait / 60_000:.1f} min")
    return "; ".join(remarks)


def _calibration(found: Mapping[str, Any]) -> DeviceCalibration:
    """Return a characterization. IonQ reports the medians of a machine, which are those of each qubit here."""
    calibration = DeviceCalibration()
    with suppress(KeyError, TypeError, ValueError):
        calibration.calibrated_at.FromDatetime(datetime.fromisoformat(found["date"]).astimezone(UTC))
    timing = found.get("timing") or {}
    median = ((found.get("fidelity") or {}).get("spam") or {}).get("median")
    error = 1.0 - median if isinstance(median, int | float) else None
    for number in range(int(found.get("qubits") or 0)):
        calibration.qubits.add(
            qubit=number,
            t1=timing.get("t1"),
            t2=timing.get("t2"),
            readout_duration=timing.get("readout"),
            prob_1_given_0=error,
            prob_0_given_1=error,
        )
    for first, second in found.get("connectivity") or ():
        calibration.coupling_map.add(first=first, second=second)
        calibration.coupling_map.add(first=second, second=first)
    return calibration
