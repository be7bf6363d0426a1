# SPDX-License-Identifier: Apache-2.0
"""Refusals of jobs and programs that the job's device cannot run, before anything is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType
from qonduit_server.capabilities import (
    JOB_TYPE,
    METHOD,
    NOISE,
    QUBITS,
    STATEVECTOR,
    has_every_feature,
    job_type_name,
    missing_features,
    requirements_of_job,
)
from qonduit_server.errors import DeviceError
from qonduit_server.ir.requirements import requirements_of

if TYPE_CHECKING:
    from qonduit_server.ir.circuit import Circuit

#: The types of jobs that the runner runs.
_TYPES: Final = (JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR)
#: The advice at the end of a refusal of a whole job, by the name of the missing feature.
_HINTS: Final = {
    STATEVECTOR: ": submit the job without include_statevector",
    METHOD: "; leave simulation.method empty to let the device choose",
    NOISE: ": submit the job without noise_model, or to a device with noise",
}


def check_job(device: Device, name: str, spec: JobSpec) -> None:
    """Reject a job that its device cannot run, independent of its programs.

    Args:
        device: the device's description; an empty one for a device that the provider does not describe.
        name: "PROVIDER/device", for messages.
        spec: of the job.

    Raises:
        DeviceError: names the missing feature.
    """
    if spec.type not in _TYPES:
        known = ", ".join(job_type_name(each) for each in _TYPES)
        raise DeviceError(
            "UNSUPPORTED_JOB_TYPE", f"{name} runs jobs of the types {known}, got {job_type_name(spec.type)}"
        )
    for missing in missing_features(device, name, requirements_of_job(spec)):
        if missing.name != JOB_TYPE:  # the types that the runner runs are above
            raise DeviceError(missing.reason, missing.message + _HINTS.get(missing.name, ""))


def check_program(device: Device, name: str, spec: JobSpec, circuit: Circuit) -> None:
    """Reject a program that its device cannot run; the provider checks a simulator's number of qubits.

    Args:
        device: the device's description.
        name: "PROVIDER/device", for messages.
        spec: of the job.
        circuit: the program.

    Raises:
        DeviceError: names the feature, and its line if the reader knows it.
    """
    if device.is_simulator and has_every_feature(device):
        return
    for missing in missing_features(device, name, requirements_of_job(spec, requirements_of(circuit.quantum))):
        if missing.name == JOB_TYPE or (missing.name == QUBITS and device.is_simulator):
            continue
        line = circuit.lines.get(missing.name, 0)
        where = f" (line {line})" if line else ""
        raise DeviceError(missing.reason, missing.message + where, line=line)
