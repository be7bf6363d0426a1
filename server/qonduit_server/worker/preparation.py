# SPDX-License-Identifier: Apache-2.0
"""Reads and compiles the programs of a task, with the options of the job and of each program."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType, ProgramOptions
from qonduit.v1.provenance_pb2 import Provenance
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.languages.python.source_runner import Memory
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions, SimulatorProvider, part_of
from qonduit_server.worker.device_checks import check_job, check_program
from qonduit_server.worker.program_cache import CachedProgram, ProgramCache
from qonduit_server.worker.provenance import (
    ProviderFacts,
    ResultProvenance,
    check_required,
    check_versions,
    draw_seed,
)
from qonduit_server.worker.reporting import Reporter
from qonduit_server.worker.result_encoding import check_statevector, registers_of

if TYPE_CHECKING:
    from qonduit_server.process.file_cache import CacheEntry
    from qonduit_server.providers.remote_devices import RemoteDevices
    from qonduit_server.worker.placement_cache import PlacementCache

#: More than any method that runs shot by shot should run.
_MANY_SHOTS: Final = 10_000_000

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Environment:
    """What all tasks of a process share.

    Args:
        provider: runs programs; None for a process that only translates.
        languages: reads and writes programs.
        cache: caches programs that were read and compiled.
        devices: the provider's devices, by name.
        facts: of the provider, for the provenance of results.
        placements: keeps how circuits are placed on processors, for other processes; None to keep nothing.
    """

    provider: SimulatorProvider | None
    languages: Languages
    cache: ProgramCache
    devices: Mapping[str, Device]
    facts: ProviderFacts | None
    placements: PlacementCache | None = None


class Preparation:
    """Reads and compiles the programs of one task.

    Args:
        task: the task.
        environment: of the process.
        reporter: receives phases and failures.
        outcome: of the circuit of its only program, if that ran with those of other tasks.
    """

    def __init__(
        self, task: Task, environment: Environment, reporter: Reporter, outcome: Outcome | RunError | None = None
    ) -> None:
        draw_seed(task)
        # The task is kept by caches and generators; the credential is not.
        self._credential, task.credential = task.credential, ""
        self.task = task
        self.environment = environment
        self.reporter = reporter
        self.outcome = outcome
        #: The program that is being compiled, once it is read.
        self.circuit: Circuit | None = None
        #: The options of programs that have own ones, by index.
        self._specs = {options.index: _merged(task.spec, options) for options in task.spec.program_options}
        #: Keys of the cache by index, and what they contain of each set of options: protobuf decodes a text at each
        #: access.
        self._keys: dict[int, tuple[object, ...]] = {}
        self._option_keys: dict[int, tuple[object, ...]] = {}
        self._part_keys: dict[int, tuple[object, ...]] = {}

    @cached_property
    def provider(self) -> SimulatorProvider:
        """The provider that runs the task. Raises DeviceError if this process only translates."""
        provider = self.environment.provider
        if provider is None:
            raise DeviceError("UNKNOWN_DEVICE", f"this process does not run programs of {self.task.provider}")
        return provider

    @property
    def remote(self) -> RemoteDevices | None:
        """What prepares the task for a vendor; None if the device is not at one."""
        if not self.task.HasField("vendor_device"):
            return None
        from qonduit_server.providers.remote_devices import RemoteDevices

        part = part_of(self.provider, self.task.device)
        if not isinstance(part, RemoteDevices):
            raise DeviceError(
                "UNKNOWN_DEVICE", f"{self.device_name} is not at a vendor here: this server has another version"
            )
        return part

    @cached_property
    def provenance(self) -> ResultProvenance:
        """What the results of this task depend on."""
        return ResultProvenance(self.task, self.spec, self._facts)

    @property
    def _facts(self) -> Provenance:
        facts = self.environment.facts
        assert facts is not None  # only tasks that run a provider have results
        return facts.common(self.task.device)

    @property
    def device(self) -> Device:
        """The description of the job's device; an empty one if it is not known."""
        if self.task.HasField("vendor_device"):
            return self.task.vendor_device
        return self.environment.devices.get(self.task.device, Device())

    @property
    def device_name(self) -> str:
        """The device as "PROVIDER/device", for messages."""
        return f"{self.task.provider}/{self.task.device}"

    def spec(self, index: int) -> JobSpec:
        """Return the options of a program: those of the job, replaced by its own."""
        return self._specs.get(index, self.task.spec)

    def options(self, index: int) -> CompileOptions:
        """Return what a program's compilation depends on."""
        spec = self.spec(index)
        return CompileOptions(
            self.task.memory_limit_bytes, spec.include_statevector, 1 << _shots(spec).bit_length(), spec.simulation
        )

    def check_job(self) -> None:
        """Reject a job that its device cannot run, or not as its spec requires. Raises DeviceError."""
        check_job(self.device, self.device_name, self.task.spec)
        if self.task.spec.HasField("required_provenance"):
            check_required(self.task.spec.required_provenance, self._facts)
        if self.task.spec.HasField("required_versions") and self.environment.facts is not None:
            check_versions(self.task.spec, self.environment.facts.versions)

    def authenticate(self) -> None:
        """Pass the credential of the task to the provider, if it takes one. Raises ProviderError."""
        provider, credential, self._credential = self.provider, self._credential, ""
        authenticate: Callable[[str], None] | None = getattr(provider, "authenticate", None)
        if authenticate is None:
            return
        if not credential:
            raise ProviderError(
                "CREDENTIAL_MISSING",
                "the server could not decrypt the credential of the job when it started: rerun the job",
                retryable=True,
            )
        authenticate(credential)

    def inputs(self, index: int) -> Struct:
        """Return the values for a program's inputs: its own, overridden by those of the job."""
        inputs = Struct()
        for given in (self.task.programs[index].inputs, self.task.spec.inputs):
            for name, value in given.fields.items():
                inputs.fields[name].CopyFrom(value)
        return inputs

    def read(self, index: int, inputs: Mapping[str, object], free: frozenset[str] = frozenset()) -> Circuit:
        """Read a program.

        Args:
            index: of the program.
            inputs: values of its inputs.
            free: the names of inputs that stay parameters.

        Raises:
            NotSymbolic: the circuit depends on the free inputs in another way than by angles of gates.
            ProgramError: the program is invalid.
        """
        program, task = self.task.programs[index], self.task
        memory = Memory(task.memory_limit_bytes, task.memory_granted_bytes)
        names: frozenset[str] = frozenset()
        spec = self.spec(index)
        if spec.HasField("noise_model"):
            from qonduit_server.ir.noise_pass import gate_names

            names = gate_names(spec.noise_model)
        return self.environment.languages.read(
            *(program.language, program.text, program.binary, inputs, memory, names, free),
            scope=task.cache_scope,
        )

    def with_noise(self, index: int, circuit: Circuit) -> Circuit:
        """Return a circuit with the noise of the program's noise model."""
        spec = self.spec(index)
        if not spec.HasField("noise_model"):
            return circuit
        from qonduit_server.ir.noise_pass import with_noise

        return with_noise(circuit, spec.noise_model, self.options(index).optimization_level)

    def read_noisy(self, index: int) -> Circuit:
        """Read a program and add the noise of its noise model."""
        return self.with_noise(index, self.read(index, MessageToDict(self.inputs(index))))

    def read_first(self, index: int) -> Circuit:
        """Read a program, at its first point if it has points, and add the noise of its noise model."""
        sets = self.spec(index).parameter_sets
        if not sets.names:
            return self.read_noisy(index)
        first = dict(zip(sets.names, sets.values, strict=False))
        inputs = {**MessageToDict(self.inputs(index)), **first}
        return self.with_noise(index, self.read(index, inputs, frozenset(sets.names)))

    def check(self, index: int, circuit: Circuit) -> None:
        """Reject a program that its device cannot run. Raises DeviceError."""
        if self.task.HasField("vendor_device") or self.task.device in self.environment.devices:
            check_program(self.device, self.device_name, self.spec(index), circuit)
            return
        from qonduit_server.providers.remote_devices import RemoteDevices

        # A provider with both kinds of devices takes each name that it does not know for a device at its vendor.
        if isinstance(part_of(self.provider, self.task.device), RemoteDevices):
            raise DeviceError("UNKNOWN_DEVICE", f"there is no device {self.device_name}")

    def compile(self, index: int, circuit: Circuit) -> CompiledCircuit:
        """Compile a program's circuit for the task's device, with its options."""
        options = replace(self.options(index), placement=self.placement(index))
        return self.provider.compile(circuit, self.task.device, options)

    def placement(self, index: int, *part: object) -> Callable[[], CacheEntry] | None:
        """Return what finds where other processes keep how a circuit is placed on the device; None without a cache.

        Only devices that place circuits ask for it: the key of an entry is a hash of the whole program.

        Args:
            index: of the program.
            part: names the circuit among those of the program; see `kept`.
        """
        placements = self.environment.placements
        if placements is None or self.environment.facts is None:
            return None
        names = tuple(self.spec(index).parameter_sets.names)
        return lambda: placements.entry(self._facts, *self._key(index), names, *part)

    def cached(self, index: int) -> CachedProgram | None:
        """Return a program that was read and compiled before; None if it is not in the cache."""
        options, cache = self.options(index), self.environment.cache
        key = self._key(index)
        # How a noisy circuit is simulated, and the blocks of its shots, depend on the number of shots.
        cached: CachedProgram | None = cache.get(key) or cache.get((*key, options.shots))
        return cached

    def compiled(self, index: int) -> tuple[CachedProgram, bool]:
        """Return a program, read and compiled, and whether it was in the cache."""
        cached = self.cached(index)
        if cached is not None:
            return cached, True
        program, options = self.task.programs[index], self.options(index)
        self.reporter.phase("reading", index)
        began = time.perf_counter()
        self.circuit = None
        circuit = self.circuit = self.read_noisy(index)
        parsed = time.perf_counter()
        self.check(index, circuit)
        self.reporter.phase("compiling", index)
        if options.statevector:
            check_statevector(circuit.quantum.num_qubits, self.task.max_result_bytes)
        compiled = self.compile(index, circuit)
        cached = CachedProgram(circuit, compiled, registers_of(circuit), parsed - began, time.perf_counter() - parsed)
        from qonduit_server.ir.noise import has_noise

        key = self._key(index)
        if has_noise(circuit.quantum) or compiled.sliceable:
            key = (*key, options.shots)
        self.environment.cache.put(key, len(program.text) + len(program.binary), cached)
        return cached, False

    def kept(self, index: int, part: tuple[object, ...], make: Callable[[], Kept]) -> tuple[Kept, bool]:
        """Return what further jobs need of a program as well, and whether it was in the cache.

        Args:
            index: of the program.
            part: names what it is; the program, the job's options and the names of the parameters decide the rest.
            make: makes it. A NotSymbolic that it raises is kept, too.

        Raises:
            NotSymbolic: see `make`.
        """
        program, cache = self.task.programs[index], self.environment.cache
        if (common := self._part_keys.get(index)) is None:
            names = tuple(self.spec(index).parameter_sets.names)
            common = self._part_keys[index] = (*self._key(index), self.options(index).shots, names)
        key = (*common, *part)
        found = cache.get(key)
        hit = found is not None
        if not hit:
            try:
                found = make()
            except NotSymbolic as error:
                found = error
            cache.put(key, len(program.text) + len(program.binary), found)
        if isinstance(found, NotSymbolic):
            raise NotSymbolic(*found.args)
        return found, hit

    def _key(self, index: int) -> tuple[object, ...]:
        if (key := self._keys.get(index)) is None:
            program = self.task.programs[index]
            key = self._keys[index] = (
                self.task.cache_scope,
                program.language,
                program.text or program.binary,
                self.inputs(index).SerializeToString(deterministic=True),
                self.task.device,
                self.task.memory_limit_bytes,
                *self._option_key(index),
            )
        return key

    def _option_key(self, index: int) -> tuple[object, ...]:
        own = index if index in self._specs else -1
        if (key := self._option_keys.get(own)) is None:
            spec = self.spec(index)
            key = self._option_keys[own] = (
                spec.include_statevector,
                spec.simulation.SerializeToString(deterministic=True),
                spec.noise_model.SerializeToString(deterministic=True),
            )
        return key


def _shots(spec: JobSpec) -> int:
    """Return the shots that a compilation expects: many where the outcomes must be exact, or a precision decides."""
    exact = spec.sampler.exact or spec.estimator.exact
    return _MANY_SHOTS if exact or (not spec.shots and spec.estimator.HasField("precision")) else spec.shots


def _merged(spec: JobSpec, options: ProgramOptions) -> JobSpec:
    merged = JobSpec()
    merged.CopyFrom(spec)
    merged.ClearField("program_options")
    if options.shots:
        merged.shots = options.shots
    for field in ("estimator", "sampler", "parameter_sets", "noise_model"):
        if options.HasField(field):
            getattr(merged, field).CopyFrom(getattr(options, field))
    merged.type = spec.type or JobType.JOB_TYPE_RUNNER
    return merged
