# SPDX-License-Identifier: Apache-2.0
"""Whether a device can run a job: the one check that submission, the dispatcher and the runner share.

It reads descriptors only, so the server process needs no SDK for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType

#: The features of programs in words; the keys are fields of `ProgramNeeds` and of a device's capabilities.
FEATURES: Final[Mapping[str, str]] = {
    "loops": "loops that end by a measurement",
    "conditionals": "operations conditioned on measured bits",
    "reset": "resets within a circuit",
    "mid_circuit_measurement": "measurements within a circuit",
}
#: `MissingFeature.name` of what is not a feature of programs.
JOB_TYPE: Final = "job_type"
STATEVECTOR: Final = "statevector"
QUBITS: Final = "num_qubits"
#: Messages list at most this many compatible devices.
_MAX_LISTED: Final = 10


@dataclass(frozen=True)
class Requirements:
    """What a job needs of its device, as far as it is known.

    Args:
        program: the qubits and features of a program; none before it is read.
        job_type: the job's type; unspecified where any will do.
        statevector: whether the job asks for statevectors.
    """

    program: ProgramNeeds = field(default_factory=ProgramNeeds)
    job_type: JobType = JobType.JOB_TYPE_UNSPECIFIED
    statevector: bool = False


@dataclass(frozen=True)
class MissingFeature:
    """A feature that a job needs and its device lacks.

    Args:
        name: a key of `FEATURES`, `JOB_TYPE`, `STATEVECTOR` or `QUBITS`.
        reason: the reason of a `DeviceError` about it.
        message: names the device and the feature.
    """

    name: str
    reason: str
    message: str


def missing_features(device: Device, name: str, requirements: Requirements) -> Iterator[MissingFeature]:
    """Yield what a device lacks, the most specific feature first.

    A device whose number of qubits is 0 has no known bound.

    Args:
        device: the device's description.
        name: "PROVIDER/device", for messages.
        requirements: of the job.
    """
    capabilities, program, job_type = device.capabilities, requirements.program, requirements.job_type
    if job_type != JobType.JOB_TYPE_UNSPECIFIED and job_type not in capabilities.job_types:
        yield MissingFeature(
            JOB_TYPE, "UNSUPPORTED_JOB_TYPE", f"{name} does not support {job_type_name(job_type)} jobs"
        )
    if requirements.statevector and not capabilities.statevector:
        yield MissingFeature(STATEVECTOR, "NO_STATEVECTOR", f"{name} does not support statevectors")
    for feature, words in FEATURES.items():
        if getattr(program, feature) and not getattr(capabilities, feature):
            yield MissingFeature(feature, "UNSUPPORTED_CONSTRUCT", f"{name} has no {words}")
    if 0 < device.num_qubits < program.num_qubits:
        message = f"the program has {program.num_qubits} qubits, {name} has {device.num_qubits}"
        yield MissingFeature(QUBITS, "TOO_MANY_QUBITS", message)


def meets(device: Device, requirements: Requirements) -> bool:
    """Return whether a device has everything that a job needs."""
    return next(missing_features(device, "", requirements), None) is None


def has_every_feature(device: Device) -> bool:
    """Return whether a device has all `FEATURES`, so that no program has to be checked for them."""
    return all(getattr(device.capabilities, feature) for feature in FEATURES)


def compatible_devices(devices: Mapping[str, Device], requirements: Requirements, exclude_id: int = 0) -> list[str]:
    """Return the names, sorted, of the available devices that meet requirements.

    Args:
        devices: all devices, by "PROVIDER/device".
        requirements: of the job.
        exclude_id: a device that is known to fail although its description meets them.
    """
    return sorted(
        name
        for name, device in devices.items()
        if device.available and device.id != exclude_id and meets(device, requirements)
    )


def list_devices(names: Sequence[str]) -> str:
    """Return the end of a message: "compatible devices: A, B", or that the server has none."""
    return f"compatible devices: {', '.join(names[:_MAX_LISTED])}" if names else "this server has no compatible device"


def job_type_name(job_type: int) -> str:
    """Return a job type's name without its prefix; the number where this version does not know it."""
    return JobType.Name(job_type).removeprefix("JOB_TYPE_") if job_type in JobType.values() else str(job_type)
