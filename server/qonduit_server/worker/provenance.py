# SPDX-License-Identifier: Apache-2.0
"""The provenance of results: what they depend on, so that a job can be repeated exactly."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provenance_pb2 import Provenance
from qonduit.v1.result_pb2 import Result
from qonduit_client.distribution import DISTRIBUTION
from qonduit_server.errors import DeviceError
from qonduit_server.providers.provider import SimulatorProvider, distributions_of, installed_version
from qonduit_server.version_requirements import requirements_of, unmet

#: Every run depends on these: the server reads the program into a circuit of Qiskit's, and NumPy draws.
_COMMON: Final = (DISTRIBUTION, "numpy", "qiskit")


def versions_of(provider: SimulatorProvider, devices: Iterable[Device]) -> dict[str, str]:
    """Return the versions in this process of all that the results of devices depend on, and of the interpreter."""
    names = dict.fromkeys([*_COMMON, *(name for each in devices for name in distributions_of(provider, each.name))])
    versions = {name: version for name in names if (version := installed_version(name))}
    return {"python": ".".join(map(str, sys.version_info[:3])), **versions}


class ProviderFacts:
    """What a provider's results depend on, found once for each device.

    Args:
        provider: the provider.
        description: of the provider.
    """

    def __init__(self, provider: SimulatorProvider, description: ProviderDescription) -> None:
        self._provider = provider
        self._calibrations = {each.device: each.calibration for each in description.calibrations}
        self._common: dict[str, Provenance] = {}
        #: The environment of this process, as servers know it.
        self.versions: Final = versions_of(provider, description.devices)

    def common(self, device: str) -> Provenance:
        """Return what all results of a device have in common; callers must not change it."""
        found = self._common.get(device)
        if found is None:
            names: Sequence[str] = (*_COMMON, *distributions_of(self._provider, device))
            found = self._common[device] = Provenance(
                device=f"{self._provider.name}/{device}",
                versions={name: version for name in names if (version := installed_version(name))},
            )
            if device in self._calibrations:
                # As the server's catalogue has it.
                data = self._calibrations[device].SerializeToString(deterministic=True)
                found.calibration_sha256 = hashlib.sha256(data).hexdigest()
        return found


def draw_seed(task: Task) -> None:
    """Set the seed of a task that has none: the one that the server drew, or else a new one."""
    spec = task.spec
    if not spec.HasField("seed"):
        spec.seed = spec.drawn_seed if spec.HasField("drawn_seed") else int.from_bytes(os.urandom(4))


def check_required(required: Provenance, own: Provenance) -> None:
    """Check that this process repeats the results of an exact rerun.

    Args:
        required: the provenance of the job that is repeated.
        own: what the results of this process have in common.

    Raises:
        DeviceError: reason NOT_REPRODUCIBLE, with the differences.
    """
    found = [
        f"{what} was {before or 'none'} and is {now or 'none'} now"
        for what, before, now in (
            ("the device", required.device, own.device),
            ("the hash of its calibration", required.calibration_sha256, own.calibration_sha256),
            *(
                (f"the version of {name}", required.versions.get(name, ""), own.versions.get(name, ""))
                for name in sorted({*required.versions, *own.versions})
            ),
        )
        if before != now
    ]
    if found:
        raise DeviceError(
            "NOT_REPRODUCIBLE",
            f"the job cannot be repeated exactly: {'; '.join(found)}. Run it again without `exact`",
        )


def check_versions(spec: JobSpec, versions: Mapping[str, str]) -> None:
    """Check that this process has the versions that a job requires. Raises DeviceError, reason VERSION_UNAVAILABLE."""
    if found := list(unmet(requirements_of(JobSpec(required_versions=spec.required_versions)), versions)):
        raise DeviceError(
            "VERSION_UNAVAILABLE",
            f"the versions of the worker changed after the job was sent to it: the job requires {', '.join(found)}",
            retryable=True,
        )


class ResultProvenance:
    """Adds their provenance to the results of a task.

    Args:
        task: the task.
        spec: returns the options of a program by its index.
        common: what all results of its device have in common.
    """

    def __init__(self, task: Task, spec: Callable[[int], JobSpec], common: Provenance) -> None:
        self._task = task
        self._spec = spec
        self._common = common
        self._programs: dict[int, Provenance] = {}

    def add(self, result: Result, index: int) -> None:
        """Set the provenance of a program's result.

        Only the first point of an attempt has one: for 10,000 points it would be more than a third of the stored bytes.
        """
        if not result.point or result.point == self._task.programs[index].points_done:
            result.provenance.CopyFrom(self._of(index))

    def _of(self, index: int) -> Provenance:
        found = self._programs.get(index)
        if found is None:
            program, spec = self._task.programs[index], self._spec(index)
            found = self._programs[index] = Provenance()
            found.CopyFrom(self._common)
            found.program_sha256 = hashlib.sha256(program.binary or program.text.encode()).hexdigest()
            found.seed = spec.seed
            if spec.HasField("simulation"):
                found.simulation.CopyFrom(spec.simulation)
            if spec.HasField("noise_model"):
                data = spec.noise_model.SerializeToString(deterministic=True)
                found.noise_model_sha256 = hashlib.sha256(data).hexdigest()
        return found
