# SPDX-License-Identifier: Apache-2.0
"""The provider protocol: the interface between the runner and each SDK."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_client.distribution import with_extras
from qonduit_server.errors import LimitError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.process.memory import format_bytes, usable_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.process.file_cache import CacheEntry

#: The seed of circuit i of a call is the call's seed plus i times this: Aer's rule, used for all providers.
SEED_STRIDE: Final = 2113
#: Of `distant_seed`.
_DISTANCE: Final = 0x9E3779B97F4A7C15
_DISTANT_MASK: Final = (1 << 62) - 1
#: Maximum number of measured bits for exact probabilities.
MOST_EXACT_BITS: Final = 20
#: Yields the qubits of each operation, measurements included. None: a barrier, as at a condition on measured bits. Each
#: body of a branch or loop is yielded once.
Operations: TypeAlias = Iterable[Sequence[int] | None]


@dataclass(frozen=True)
class CompiledCircuit:
    """A circuit compiled for one device; cached for further jobs with the same program.

    Args:
        native: the circuit in the SDK's form.
        qubits: number of simulated qubits, helpers included.
        memory_bytes: memory that a run needs.
        warnings: changes made while compiling, as text.
        evolution: input of `statevector`, where the circuit was compiled for it.
        circuits: number of circuits that the device runs.
        operations: yields the qubits of each operation of the compiled circuit; None if unknown.
        sliceable: whether a run emits progress; False for one evolution, which cannot be divided; None if unknown.
        circuit: returns the circuit in the device's gates, on the device's qubits; None if the IR cannot express it, or
            if it is that of the program.
    """

    native: object
    qubits: int
    memory_bytes: int = 0
    warnings: tuple[str, ...] = ()
    evolution: Any = None
    circuits: int = 1
    operations: Callable[[], Operations] | None = None
    sliceable: bool | None = None
    circuit: Callable[[], Circuit] | None = None


class SmallRun(NamedTuple):
    """A circuit of one job that may share a call of the SDK with those of other jobs; see `SimulatorProvider`."""

    compiled: CompiledCircuit
    shots: int
    seed: int


@dataclass(frozen=True)
class CompileOptions:
    """What a job asks of the compilation of its programs.

    Args:
        memory_limit_bytes: what a run may need; 0 means as much as the machine has.
        statevector: `statevector` will be called as well. Not set for devices whose capabilities do not have it.
        shots: the order of magnitude of the shots: a power of 2 that is larger than their number, and the same for
            equal powers, so that a choice that depends on it may be kept.
        simulation: how the job asks to be simulated; the device has the method and the precision that it names.
        placement: returns where other processes find, or leave, how this circuit is placed on the qubits of a
            processor; None if it is not kept.
    """

    memory_limit_bytes: int = 0
    statevector: bool = False
    shots: int = 1024
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    placement: Callable[[], CacheEntry] | None = field(default=None, compare=False)

    @property
    def optimization_level(self) -> int:
        """How much a compiler optimizes, 0 to 3."""
        simulation = self.simulation
        return simulation.optimization_level if simulation.HasField("optimization_level") else 1


DEFAULTS: Final = CompileOptions()


@dataclass(frozen=True)
class RunProgress:
    """The completed share, 0..1, of the circuit that a run works on: from work done, never from a clock.

    `counts` returns the counts of the shots that ran so far, as those of an `Outcome`; None without such counts.
    """

    share: float
    counts: Callable[[], Mapping[int, int]] | None = None


class SimulatorProvider(Protocol):
    """The simulators of one SDK; one instance for each worker process.

    A run occupies its worker; the pool cancels it by killing the process. Simulators that apply gates to an array share
    `StatevectorSimulator`. This protocol does not cover a vendor's remote devices: such a job is submitted once, polled
    and fetched, and needs no worker while it waits.

    A provider whose SDK keeps memory of finished runs may have a property `exhausted`: once it is True, the process is
    replaced before the next task. A provider should have an attribute `distributions`: the names of the Python
    distributions whose versions its results depend on.

    A provider that takes a credential has `with_token` in its description and a method `authenticate(credential)`. It
    is called before the programs of a job are compiled, and not for `validate_only`; it raises ProviderError for an
    invalid credential. The provider may keep the credential in memory: the process ends after the job. Messages and
    results that contain the credential are redacted.

    A provider whose SDK takes less time for several small circuits in one call may have two further methods.
    `is_small(device, compiled)` returns whether a circuit may share a call. `run_small(device, runs)` takes a sequence
    of `SmallRun`, and returns for each of them the outcome that `run` gives for it alone.
    """

    @property
    def name(self) -> str:
        """The first half of "PROVIDER/device"."""

    def describe(self) -> ProviderDescription:
        """Describe the devices without importing the SDK."""

    def load(self) -> None:
        """Import the SDK. Idempotent.

        Raises:
            ProviderError: the SDK is not installed; the message names the extra that installs it.
        """

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit. Nothing large is allocated here, and nothing too large gets through.

        Args:
            circuit: the IR circuit; on a device that binds it may have parameters, and becomes a template.
            device: one of the described devices' names.
            options: what the job asks for.

        Raises:
            DeviceError: the device cannot run the circuit; the message names the construct.
            ProgramError: reason NO_STATEVECTOR, the circuit has no exact state.
            LimitError: reason MEMORY_LIMIT.
            NotSymbolic: the compiled circuit depends on the parameters' values in another way than by angles of gates.
        """

    def binds(self, device: str) -> bool:
        """Return whether a device compiles circuits with parameters, for `bind`."""

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Return a function from points to compiled circuits, which differ from the template in angles of gates alone.

        They give what compiling the circuits with these angles gives, except where a compiler to native gates merges
        more gates if these have values. Adjacent ones may be run in one call of the SDK.

        Args:
            device: one that binds.
            template: compiled for the device from a circuit with parameters; it is not run itself.
            names: the names of the columns, the template's parameters among them.
            values: points x names.
        """

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run circuits, giving one outcome each, in order and as early as it is known.

        Before an outcome there may be any number of `RunProgress`, with growing shares.
        The same circuits with the same seed give the same outcomes; each circuit has randomness of its own. A circuit
        that fails gives a RunError and does not keep the others from running.
        """

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit's outcomes, each within 1e-9; None where it must be sampled.

        Bit k of an outcome is classical bit k of the IR circuit. Outcomes below 1e-12 are left out. None for circuits
        that branch or are run shot by shot, and for more than `MOST_EXACT_BITS` measured bits.
        """

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield the exact distribution of each circuit, as `probabilities` does."""

    def statevectors(self, device: str, compiled: Sequence[CompiledCircuit]) -> Iterator[NDArray[np.complex128]]:
        """Yield the exact state of each circuit, as `statevector` does."""

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return the exact state before the final measurements of a circuit that was compiled for it.

        Called only for devices whose capabilities have `statevector`.

        Returns:
            2^n amplitudes, within 1e-9 and up to a global phase; bit i of an amplitude's index is qubit i of the IR
            circuit. All n qubits count, including unused ones.
        """


def describe_simulator(
    name: str, device: str, *, num_qubits: int, basis_gates: Sequence[str], missing: str, status: str
) -> ProviderDescription:
    """Describe a provider that offers one simulator of its SDK.

    The fork server adds the languages, which depend on its Python environment.

    Args:
        name: the provider's name.
        device: the simulator's name.
        num_qubits: number of qubits that fit this machine.
        basis_gates: its native gates, by their OpenQASM names.
        missing: what to install if the SDK is missing; else empty.
        status: SDK and version.
    """
    found = simulator_device(device, num_qubits=num_qubits, basis_gates=basis_gates, missing=missing, status=status)
    found.capabilities.statevector = True
    return ProviderDescription(provider=ProviderMessage(name=name), devices=[found], unavailable=missing)


def simulator_device(name: str, *, num_qubits: int, basis_gates: Sequence[str], missing: str, status: str) -> Device:
    """Describe a simulator of this machine; for the arguments see `describe_simulator`."""
    return Device(
        name=name,
        num_qubits=num_qubits,
        is_simulator=True,
        is_local=True,
        available=not missing,
        status_message=missing or status,
        max_shots=10_000_000,
        capabilities=DeviceCapabilities(
            mid_circuit_measurement=True,
            reset=True,
            conditionals=True,
            loops=True,
            parameters=True,
            job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR],
        ),
        basis_gates=basis_gates,
    )


@contextlib.contextmanager
def importing_sdk(extra: str) -> Iterator[None]:
    """Report a failed import of an SDK as a ProviderError, which names the extra that installs it."""
    try:
        yield
    except ImportError as error:
        raise ProviderError("SDK_MISSING", f"{error}: install {with_extras(extra)}") from error


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, "" if it is not installed, without importing it."""
    return installed_versions().get(_normalized(distribution), "")


@cache
def installed_versions() -> Mapping[str, str]:
    """Return the versions of all distributions by normalized name, from the names of their folders.

    Importing `importlib.metadata` and reading a version with it takes 15 ms, of the 90 ms that a provider's process
    takes to start.
    """
    found: dict[str, str] = {}
    for folder in reversed(sys.path):  # the first one counts
        with contextlib.suppress(OSError):
            for each in os.listdir(folder or "."):  # noqa: PTH208 - Path.iterdir makes an object for each of hundreds
                stem, _, kind = each.rpartition(".")
                if kind in ("dist-info", "egg-info"):
                    name, _, version = stem.partition("-")
                    found[_normalized(name)] = version.partition("-")[0]
    return found


def distributions_of(provider: SimulatorProvider, device: str) -> Sequence[str]:
    """Return the distributions whose versions a device's results depend on: the provider's `distributions`.

    Returns:
        Their names; none if the provider has no such attribute.
    """
    names: Sequence[str] = getattr(part_of(provider, device), "distributions", ())
    return names


def part_of(provider: SimulatorProvider, device: str) -> SimulatorProvider:
    """Return what has a device: a part of the provider, or the provider itself if it has no parts."""
    part: Callable[[str], SimulatorProvider] | None = getattr(provider, "part", None)
    return provider if part is None else part(device)


def _normalized(distribution: str) -> str:
    return distribution.lower().replace("-", "_").replace(".", "_")


class _TaskMemory:
    """Memory limit of a task in this process, in bytes; 0 until it is known."""

    limit_bytes = 0


def limit_task_memory(limit_bytes: int) -> None:
    """Set the memory limit of a task in this process from the server's settings; 0 means no limit."""
    _TaskMemory.limit_bytes = limit_bytes


class _FakeBackends:
    """The fake backends of IBM that this process describes."""

    names: Sequence[str] = ("default",)


def offer_fake_backends(names: Sequence[str]) -> None:
    """Set the fake backends to describe, from the server's settings: names, "default" and "all"."""
    _FakeBackends.names = tuple(names)


def offered_fake_backends() -> Sequence[str]:
    """Return what `offer_fake_backends` set."""
    return _FakeBackends.names


@cache
def _usable() -> int:
    return usable_memory()


def task_memory() -> int:
    """Return the memory that a task may use here, in bytes: the lesser of the machine's memory and the limit."""
    return min(_TaskMemory.limit_bytes or _usable(), _usable())


def most_qubits(bytes_per_amplitude: int, axes: int = 1) -> int:
    """Return the maximum number of qubits that `check_memory` accepts here."""
    return max(1, ((task_memory() // bytes_per_amplitude).bit_length() - 1) // axes)


def check_memory(
    qubits: int, bytes_per_amplitude: int, memory_limit_bytes: int, note: str = "", *, axes: int = 1
) -> int:
    """Refuse a state that does not fit: a statevector, or with two axes for each qubit a density matrix.

    Returns:
        The memory it needs, in bytes.

    Raises:
        LimitError: reason MEMORY_LIMIT; the message names need and limit.
    """
    need = bytes_per_amplitude << axes * qubits
    limit = min(memory_limit_bytes or task_memory(), task_memory())
    if need > limit:
        fits = max(0, ((limit // bytes_per_amplitude).bit_length() - 1) // axes)
        raise LimitError(
            "MEMORY_LIMIT",
            f"simulating {qubits} qubits{note} needs {format_bytes(need)}, the limit is {format_bytes(limit)}: "
            f"use at most {fits} qubits (max_task_memory_bytes)",
        )
    return need


def program_seed(seed: int | None, place: int) -> int | None:
    """Return the seed of one circuit of a call: distinct for each circuit and reproducible."""
    return None if seed is None else seed + SEED_STRIDE * place


def seed_or_random(seed: int | None) -> int:
    """Return a seed; a random one for None, so that a result names the seed with which it can be repeated."""
    return int.from_bytes(os.urandom(4)) if seed is None else seed


def distant_seed(seed: int) -> int:
    """Return a seed far from those of other circuits and of jobs with neighbouring seeds.

    Aer gives shot i the seed + i: such runs would have nearly all shots in common.
    """
    return (seed * _DISTANCE + _DISTANCE) & _DISTANT_MASK


def depth_of(operations: Operations) -> tuple[int, int]:
    """Return the depth of a compiled circuit, and its number of operations on two or more qubits."""
    levels: dict[int, int] = {}
    floor = depth = large = 0
    for qubits in operations:
        if qubits is None:
            floor = depth
            continue
        level = 1 + max((levels.get(qubit, 0) for qubit in qubits), default=0)
        level = max(level, floor + 1)
        for qubit in qubits:
            levels[qubit] = level
        depth = max(depth, level)
        large += len(qubits) > 1
    return depth, large
