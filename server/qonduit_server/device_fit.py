# SPDX-License-Identifier: Apache-2.0
"""Which devices can run a job, by which method, and at what cost: a function of features and descriptions.

It is the policy of the device "AUTO" and of comparisons of devices. Of the exact simulators on this server that can run
the job, the one with the least estimated time comes first; of those with a similar time, the one with the shortest
queue. A simulator that may lack memory, or a feature that a program needs, comes after the others; one that is paused
comes last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramFeatures, ProgramNeeds
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.capabilities import (
    CLIFFORD,
    chooses_method,
    has_every_feature,
    missing_features,
    requirements_of_job,
)
from qonduit_server.cost_estimates import Estimate, Estimates, work_of
from qonduit_server.process.memory import format_bytes

_STATEVECTOR: Final = "statevector"
_DENSITY_MATRIX: Final = "density_matrix"
#: Simulators run circuits of up to this many qubits without noise as statevectors, whatever their gates.
_SMALL_QUBITS: Final = 14
#: A density matrix of this few qubits costs less than anything else.
_TINY_QUBITS: Final = 6
#: The bytes per amplitude of an exact statevector as a result.
_RESULT_BYTES_PER_AMPLITUDE: Final = 176
#: The bytes per amplitude of a statevector that a client receives.
_SENT_BYTES_PER_AMPLITUDE: Final = 16
#: A circuit that depends on its own measurements needs the memory of up to this many more qubits on some simulators.
_BRANCHING_QUBITS: Final = 2
#: Times below this are similar: they are dominated by other costs of a job.
_SHORT_SECONDS: Final = 0.02
#: Programs that were not read count as one program of unknown size with other gates than those of Clifford circuits.
_UNREAD: Final = (ProgramFeatures(needs=ProgramNeeds(clifford=False)),)
#: The order of devices for such programs is that for a circuit of this size.
_TYPICAL: Final = ProgramFeatures(needs=ProgramNeeds(num_qubits=16, clifford=False), operations=300)


@dataclass(frozen=True)
class Candidate:
    """A device.

    Args:
        name: "PROVIDER/device".
        device: its description.
        languages: the languages of its provider.
        queue_depth: the number of its jobs that wait or run.
    """

    name: str
    device: Device
    languages: frozenset[AssemblerLanguage]
    queue_depth: int = 0


@dataclass(frozen=True)
class AnalyzedJob:
    """A job whose programs were read.

    Args:
        spec: its options.
        programs: the features of its programs; empty if they were not read in time.
        languages: the languages of its programs.
        memory_limit_bytes: the memory limit of a job; 0 means no limit.
        result_limit_bytes: the limit of the result of a program; 0 means no limit.
    """

    spec: JobSpec
    programs: Sequence[ProgramFeatures]
    languages: frozenset[AssemblerLanguage]
    memory_limit_bytes: int = 0
    result_limit_bytes: int = 0


@dataclass(frozen=True)
class Fit:
    """Whether and how a device can run a job.

    Args:
        candidate: the device.
        obstacle: why the device cannot run the job; empty if it can.
        exclusion: why "AUTO" does not choose the device although it can run the job; empty if it may.
        methods: the assumed simulation methods; empty if the programs were not read.
        exact: whether all of them are exact.
        risky: whether a program may need more memory than its method has, or features that the device lacks.
        memory_bytes: the memory of a run; 0 if it is not known.
        estimate: the time of the run; None if it is not known.
        seconds: the time by which devices are compared.
    """

    candidate: Candidate
    obstacle: str = ""
    exclusion: str = ""
    methods: tuple[str, ...] = ()
    exact: bool = True
    risky: bool = False
    memory_bytes: int = 0
    estimate: Estimate | None = None
    seconds: float = 0.0

    @property
    def eligible(self) -> bool:
        """Whether "AUTO" may choose the device."""
        return not (self.obstacle or self.exclusion)


def fit(candidate: Candidate, job: AnalyzedJob, estimates: Estimates) -> Fit:
    """Return whether and how a device can run a job."""
    device = candidate.device
    obstacle = _obstacle(candidate, job)
    if obstacle:
        return Fit(candidate, obstacle)
    exclusion = _exclusion(device, job.spec)
    if not device.capabilities.methods:
        return Fit(candidate, exclusion=exclusion or "it describes no simulation method")
    if not job.programs:
        return _unread_fit(candidate, exclusion, job.spec, estimates)
    chosen: list[SimulationMethod] = []
    memory, seconds, risky, times = 0, 0.0, False, list[Estimate | None]()
    for features in job.programs:
        method = assumed_method(device, job.spec, features)
        if method is None:
            return Fit(candidate, _no_method(device, job.spec, features))
        chosen.append(method)
        qubits = features.needs.num_qubits
        work = work_of(method.name, qubits, features.operations, job.spec.shots)
        estimate = estimates.estimate(device.id, method.name, work)
        times.append(estimate)
        seconds += estimate.p50 if estimate else estimates.assumed_seconds(method.name, work)
        memory = max(memory, _memory(method, qubits))
        risky = risky or _is_tight(method, features.needs)
    known = [each for each in times if each is not None]
    return Fit(
        candidate,
        exclusion=exclusion,
        methods=tuple(dict.fromkeys(method.name for method in chosen)),
        exact=all(method.exact for method in chosen),
        risky=risky,
        memory_bytes=0 if device.capabilities.coupling_map else memory,
        estimate=(
            Estimate(sum(each.p50 for each in known), sum(each.p90 for each in known))
            if len(known) == len(times)
            else None
        ),
        seconds=seconds,
    )


def _unread_fit(candidate: Candidate, exclusion: str, spec: JobSpec, estimates: Estimates) -> Fit:
    method = assumed_method(candidate.device, spec, _TYPICAL)
    if method is None:
        return Fit(candidate, exclusion=exclusion, risky=True)
    work = work_of(method.name, _TYPICAL.needs.num_qubits, _TYPICAL.operations, spec.shots)
    estimate = estimates.estimate(candidate.device.id, method.name, work)
    seconds = estimate.p50 if estimate else estimates.assumed_seconds(method.name, work)
    return Fit(candidate, exclusion=exclusion, risky=not has_every_feature(candidate.device), seconds=seconds)


def ranked(fits: Iterable[Fit]) -> list[Fit]:
    """Return the devices in the order in which "AUTO" prefers them; those that it never chooses come last."""
    return sorted(fits, key=_rank)


def assumed_method(device: Device, spec: JobSpec, features: ProgramFeatures) -> SimulationMethod | None:
    """Return the method by which a device probably runs a program; None if none of its methods can."""
    needs = features.needs
    named = not chooses_method(spec.simulation)

    def can(method: SimulationMethod) -> bool:
        allowed = method.name == spec.simulation.method if named else method.exact or spec.simulation.allow_approximate
        return (
            allowed
            and (method.noise or not needs.noise)
            and needs.num_qubits <= method.max_qubits
            and (needs.clifford or not method.clifford_only)
        )

    def rank(method: SimulationMethod) -> int:
        if not method.exact:
            return 4
        if method.name == _DENSITY_MATRIX:
            measured_last = not (needs.mid_circuit_measurement or needs.conditionals or needs.loops)
            small = needs.num_qubits <= _TINY_QUBITS or 2**needs.num_qubits < spec.shots
            return 1 if measured_last and small else 3
        if method.name == _STATEVECTOR and needs.num_qubits <= _SMALL_QUBITS:
            return 0
        return 1 if method.clifford_only and not needs.noise else 2

    # Of equal rank, the device's order decides.
    return min(filter(can, device.capabilities.methods), key=rank, default=None)


def _obstacle(candidate: Candidate, job: AnalyzedJob) -> str:
    device, spec = candidate.device, job.spec
    if not device.available:
        return device.status_message or "it is not available"
    if device.max_shots and spec.shots > device.max_shots:
        return f"it runs at most {device.max_shots} shots"
    if unknown := job.languages - candidate.languages:
        names = sorted(AssemblerLanguage.Name(each).removeprefix("ASSEMBLER_LANGUAGE_") for each in unknown)
        return f"it does not support {', '.join(names)}"
    for features in job.programs or _UNREAD:
        requirements = requirements_of_job(spec, features.needs)
        for missing in missing_features(device, "it", requirements):
            shown = missing.name == CLIFFORD and features.obstacle
            return missing.message + (f", and the program has the {features.obstacle}" if shown else "")
        if spec.include_statevector and (obstacle := _statevector_obstacle(job, features.needs.num_qubits)):
            return obstacle
    return ""


def _statevector_obstacle(job: AnalyzedJob, qubits: int) -> str:
    need = _RESULT_BYTES_PER_AMPLITUDE << qubits
    if 0 < job.memory_limit_bytes < need:
        return f"the statevector needs {format_bytes(need)} (max_task_memory_bytes)"
    size = _SENT_BYTES_PER_AMPLITUDE << qubits
    if 0 < job.result_limit_bytes < size:
        return f"the statevector has {format_bytes(size)}, more than a result may have (max_result_bytes)"
    return ""


def _exclusion(device: Device, spec: JobSpec) -> str:
    if not (device.is_simulator and device.is_local):
        return "it is no simulator on this server"
    if device.capabilities.coupling_map:
        return "it adds noise of its own"
    default = next(iter(device.capabilities.floating_point), "")
    if default == "single" and spec.simulation.floating_point != "single":
        return "it simulates in single precision"
    return ""


def _no_method(device: Device, spec: JobSpec, features: ProgramFeatures) -> str:
    needs = features.needs
    what = f"{needs.num_qubits} qubits{' with noise' if needs.noise else ''}"
    if not chooses_method(spec.simulation):
        return f"its method {spec.simulation.method} does not run {what}" + _because(device, features)
    return f"no exact method of it runs {what}" + _because(device, features)


def _because(device: Device, features: ProgramFeatures) -> str:
    clifford = any(method.clifford_only for method in device.capabilities.methods)
    return f" with the {features.obstacle}" if clifford and features.obstacle else ""


def _memory(method: SimulationMethod, qubits: int) -> int:
    """Return the memory of a run, from that of the widest one."""
    left = method.max_qubits - qubits
    if method.clifford_only:
        return int(method.max_memory_bytes * (qubits / method.max_qubits) ** 2)
    if not method.exact:
        return method.max_memory_bytes * qubits // method.max_qubits
    return method.max_memory_bytes >> (2 * left if method.name == _DENSITY_MATRIX else left)


def _is_tight(method: SimulationMethod, needs: ProgramNeeds) -> bool:
    branches = needs.mid_circuit_measurement or needs.conditionals or needs.reset or needs.loops
    return branches and not method.clifford_only and method.max_qubits - needs.num_qubits < _BRANCHING_QUBITS


def _rank(each: Fit) -> tuple[bool, bool, bool, bool, int, int, float, int]:
    seconds = max(each.seconds, _SHORT_SECONDS)
    similar = math.ceil(math.log2(seconds / _SHORT_SECONDS))
    device = each.candidate.device
    order = (similar, each.candidate.queue_depth, seconds, device.id)
    return (not each.eligible, not each.exact, device.HasField("pause"), each.risky, *order)
