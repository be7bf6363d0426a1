# SPDX-License-Identifier: Apache-2.0
"""Check whether a device can run a job; submission, the dispatcher and the runner share this check.

It reads descriptors only, so the server process needs no SDK for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType, VendorMode
from qonduit.v1.simulation_pb2 import SimulationOptions

NOISE: Final = "noise"
#: The features of programs in words; the keys are fields of `ProgramNeeds` and of a device's capabilities.
FEATURES: Final[Mapping[str, str]] = {
    "loops": "loops that end by a measurement",
    "conditionals": "operations conditioned on measured bits",
    "reset": "resets within a circuit",
    "mid_circuit_measurement": "measurements within a circuit",
    NOISE: "noise channels",
}
#: Values of `MissingFeature.name` that are not in `FEATURES`.
JOB_TYPE: Final = "job_type"
STATEVECTOR: Final = "statevector"
METHOD: Final = "method"
FLOATING_POINT: Final = "floating_point"
CLIFFORD: Final = "clifford"
QUBITS: Final = "num_qubits"
VENDOR_MODE: Final = "vendor_mode"
VENDOR_ESTIMATOR: Final = "vendor_estimator"
#: The batches and sessions of vendors in words, which are also the keys of the submissions that open them.
VENDOR_MODES: Final = {VendorMode.VENDOR_MODE_BATCH: "batch", VendorMode.VENDOR_MODE_SESSION: "session"}
#: The method of a job that leaves the choice to the device; an empty one means the same.
AUTOMATIC: Final = "automatic"
#: Messages list at most this many compatible devices.
_MAX_LISTED: Final = 10


@dataclass(frozen=True)
class Requirements:
    """The requirements of a job for its device, as far as known.

    Args:
        program: the qubits and features of the program; empty before it is read.
        job_type: the job's type; unspecified if any type is accepted.
        statevector: whether the job requests statevectors.
        simulation: how the job asks to be simulated.
        vendor_mode: how the vendor is asked to run the parts of the job.
        vendor_estimator: whether the vendor's own estimator is asked for.
    """

    program: ProgramNeeds = field(default_factory=ProgramNeeds)
    job_type: JobType = JobType.JOB_TYPE_UNSPECIFIED
    statevector: bool = False
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    vendor_mode: VendorMode = VendorMode.VENDOR_MODE_UNSPECIFIED
    vendor_estimator: bool = False


@dataclass(frozen=True)
class MissingFeature:
    """A feature that a job needs and its device lacks.

    Args:
        name: a key of `FEATURES`, `JOB_TYPE`, `STATEVECTOR`, `METHOD`, `FLOATING_POINT`,
            `CLIFFORD`, `QUBITS`, `VENDOR_MODE` or `VENDOR_ESTIMATOR`.
        reason: the reason of a `DeviceError` about it.
        message: names the device and the feature.
    """

    name: str
    reason: str
    message: str


def requirements_of_job(spec: JobSpec, program: ProgramNeeds | None = None) -> Requirements:
    """Return what a job needs of its device; a job with a noise model needs a device with noise.

    Args:
        spec: of the job.
        program: the needs of one of its programs, if it was read.
    """
    needs = ProgramNeeds()
    if program is not None:
        needs.CopyFrom(program)
    needs.noise = needs.noise or spec.HasField("noise_model") or spec.HasField("noise_model_reference")
    vendor = spec.vendor_options
    estimator = vendor.HasField("resilience_level")
    return Requirements(needs, spec.type, spec.include_statevector, spec.simulation, vendor.mode, estimator)


def missing_features(device: Device, name: str, requirements: Requirements) -> Iterator[MissingFeature]:
    """Yield the features that a device lacks, the most specific first.

    `num_qubits` 0 means that the number of qubits is not limited.

    Args:
        device: the device's description.
        name: "PROVIDER/device", for messages.
        requirements: the job's requirements.
    """
    capabilities, program, job_type = device.capabilities, requirements.program, requirements.job_type
    if job_type != JobType.JOB_TYPE_UNSPECIFIED and job_type not in capabilities.job_types:
        yield MissingFeature(
            JOB_TYPE, "UNSUPPORTED_JOB_TYPE", f"{name} does not support {job_type_name(job_type)} jobs"
        )
    if requirements.statevector and not capabilities.statevector:
        yield MissingFeature(STATEVECTOR, "NO_STATEVECTOR", f"{name} does not support statevectors")
    yield from _missing_simulation(device, name, requirements.simulation)
    if requirements.vendor_mode and requirements.vendor_mode not in capabilities.vendor_modes:
        word = VENDOR_MODES.get(requirements.vendor_mode, "such mode")
        message = f"{name} has no {word} at a vendor: leave vendor_options.mode unset"
        yield MissingFeature(VENDOR_MODE, "UNSUPPORTED_METHOD", message)
    if requirements.vendor_estimator and not capabilities.vendor_estimator:
        message = f"{name} has no estimator at a vendor: leave vendor_options.resilience_level unset"
        yield MissingFeature(VENDOR_ESTIMATOR, "UNSUPPORTED_METHOD", message)
    for feature, words in FEATURES.items():
        if getattr(program, feature) and not getattr(capabilities, feature):
            yield MissingFeature(feature, "UNSUPPORTED_CONSTRUCT", f"{name} has no {words}")
    if is_clifford_only(device) and program.HasField("clifford") and not program.clifford:
        yield MissingFeature(CLIFFORD, "UNSUPPORTED_CONSTRUCT", f"{name} runs Clifford gates only")
    most = max_qubits(device, requirements)
    if 0 < most < program.num_qubits:
        message = f"the program has {program.num_qubits} qubits, {name} has {most}"
        yield MissingFeature(QUBITS, "TOO_MANY_QUBITS", message)


def chooses_method(simulation: SimulationOptions) -> bool:
    """Return whether the device chooses the method."""
    return simulation.method in ("", AUTOMATIC)


def max_qubits(device: Device, requirements: Requirements) -> int:
    """Return the qubits of the widest circuit that a device may run as a job asks; 0 if that has no known bound.

    It is the maximum over the methods that the known requirements allow. Before a program is read, its gates are not
    known, and a method for Clifford gates counts as well.
    """
    simulation, program = requirements.simulation, requirements.program
    methods = [
        method.max_qubits
        for method in device.capabilities.methods
        if (
            method.name == simulation.method
            or (chooses_method(simulation) and (method.exact or simulation.allow_approximate))
        )
        and (method.noise or not program.noise)
        and not (method.clifford_only and program.HasField("clifford") and not program.clifford)
    ]
    return max(methods, default=device.num_qubits)


def is_clifford_only(device: Device) -> bool:
    """Return whether a device runs Clifford gates only."""
    methods = device.capabilities.methods
    return bool(methods) and all(method.clifford_only for method in methods)


def _missing_simulation(device: Device, name: str, simulation: SimulationOptions) -> Iterator[MissingFeature]:
    capabilities = device.capabilities
    methods = [method.name for method in capabilities.methods]
    if not chooses_method(simulation) and simulation.method not in methods:
        known = f"its methods: {', '.join(methods)}" if methods else "it has no methods to choose from"
        yield MissingFeature(
            METHOD, "UNSUPPORTED_METHOD", f"{name} has no simulation method {simulation.method!r}; {known}"
        )
    precision = simulation.floating_point
    if precision and precision not in (capabilities.floating_point or ("double",)):
        yield MissingFeature(
            FLOATING_POINT, "UNSUPPORTED_METHOD", f"{name} does not simulate with {precision} precision"
        )


def meets(device: Device, requirements: Requirements) -> bool:
    """Return whether a device has everything that a job needs."""
    return next(missing_features(device, "", requirements), None) is None


def has_every_feature(device: Device) -> bool:
    """Return whether a device has all `FEATURES`, so that programs need no check for them."""
    return all(getattr(device.capabilities, feature) for feature in FEATURES)


def compatible_devices(devices: Mapping[str, Device], requirements: Requirements, exclude_id: int = 0) -> list[str]:
    """Return the names, sorted, of the available devices that meet requirements.

    Devices with a coupling map are left out: they add noise of their own.

    Args:
        devices: all devices, by "PROVIDER/device".
        requirements: the job's requirements.
        exclude_id: a device to leave out although its description meets the requirements.
    """
    return sorted(
        name
        for name, device in devices.items()
        if device.available
        and device.id != exclude_id
        and not device.capabilities.coupling_map
        and meets(device, requirements)
    )


def list_devices(names: Sequence[str]) -> str:
    """Return the end of a message: "compatible devices: A, B", or "this server has no compatible device"."""
    return f"compatible devices: {', '.join(names[:_MAX_LISTED])}" if names else "this server has no compatible device"


def job_type_name(job_type: int) -> str:
    """Return a job type's name without its prefix, or its number if this version does not know it."""
    return JobType.Name(job_type).removeprefix("JOB_TYPE_") if job_type in JobType.values() else str(job_type)
