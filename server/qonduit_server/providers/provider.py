# SPDX-License-Identifier: Apache-2.0
"""The provider protocol: the seam between the runner and each SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import LimitError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.process.memory import format_bytes, usable_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The seed of circuit i of one call is the call's seed plus i times this: Aer's own rule, kept for all providers.
SEED_STRIDE: Final = 2113
#: Of so many measured bits at most, exact probabilities are given.
MOST_EXACT_BITS: Final = 20
#: The qubits of one operation after another, measurements included. None: all that follows waits for all before, as
#: behind a condition on measured bits. Of branches and loops each body is given once.
Operations: TypeAlias = Iterable[Sequence[int] | None]


@dataclass(frozen=True)
class CompiledCircuit:
    """A circuit compiled for one device; kept and run again as often as the same program comes.

    Args:
        native: the SDK's own form of it.
        qubits: how many qubits are simulated, helpers included.
        memory_bytes: what a run of it is going to need.
        warnings: what was changed on the way, for people.
        evolution: what `statevector` needs, where the circuit was compiled for it.
        circuits: how many circuits the device runs for it.
        operations: gives the qubits of each operation of the compiled circuit; None where it is not known.
    """

    native: object
    qubits: int
    memory_bytes: int = 0
    warnings: tuple[str, ...] = ()
    evolution: Any = None
    circuits: int = 1
    operations: Callable[[], Operations] | None = None


@dataclass(frozen=True)
class CompileOptions:
    """What a job asks of the compilation of its programs.

    Args:
        memory_limit_bytes: what a run may need; 0 means as much as the machine has.
        statevector: `statevector` will be called as well. Not set for devices whose capabilities do not have it.
        shots: the order of magnitude of the shots: a power of 2 that is larger than their number, and the same for
            equal powers, so that a choice that depends on it may be kept.
        simulation: how the job asks to be simulated; the device has the method and the precision that it names.
    """

    memory_limit_bytes: int = 0
    statevector: bool = False
    shots: int = 1024
    simulation: SimulationOptions = field(default_factory=SimulationOptions)


DEFAULTS: Final = CompileOptions()


@dataclass(frozen=True)
class RunProgress:
    """The completed share, 0..1, of the circuit that a run works on: from work done, never from a clock."""

    share: float


class SimulatorProvider(Protocol):
    """The simulators of one SDK. Lives in a worker process, one object a process.

    A run occupies its worker; the pool cancels it by killing the process. Simulators that apply gates to an array share
    `StatevectorSimulator`. This protocol does not cover devices at a vendor: there a job is submitted once, polled and
    fetched, and needs no worker while it waits.
    """

    @property
    def name(self) -> str:
        """The first half of "PROVIDER/device"."""

    def describe(self) -> ProviderDescription:
        """Describe its devices without importing its SDK."""

    def load(self) -> None:
        """Import the SDK. Does nothing the second time.

        Raises:
            ProviderError: the SDK is not installed; the message says which extra installs it.
        """

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit. Nothing large is allocated here, and nothing too large gets through.

        Args:
            circuit: the IR circuit.
            device: one of the described devices' names.
            options: what the job asks for.

        Raises:
            DeviceError: the device cannot run it; the message names the construct.
            ProgramError: reason NO_STATEVECTOR, it has none.
            LimitError: reason MEMORY_LIMIT.
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
        """Return the exact distribution of a circuit's outcomes, each within 1e-9; None where only sampling gives it.

        Bit k of an outcome is classical bit k of the IR circuit. Outcomes below 1e-12 are left out. None for circuits
        that branch or are run shot by shot, and for more than `MOST_EXACT_BITS` measured bits.
        """

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return the exact state before the final measurements of a circuit that was compiled for it.

        Asked only of devices whose capabilities have `statevector`.

        Returns:
            2^n amplitudes, within 1e-9 and up to a global phase; bit i of an amplitude's place is qubit i of the IR
            circuit. All of its qubits are in it, also those that nothing acts on.
        """


def describe_simulator(
    name: str, device: str, *, num_qubits: int, basis_gates: Sequence[str], missing: str, status: str
) -> ProviderDescription:
    """Describe a provider that offers one simulator of its SDK, as far as all of them are alike.

    Its languages are those that are read where it runs: the fork server adds them.

    Args:
        name: the provider's.
        device: the simulator's name.
        num_qubits: how many fit this machine.
        basis_gates: its native gates, by their OpenQASM names.
        missing: what to install, if the SDK is not there; else empty.
        status: SDK and version.
    """
    return ProviderDescription(
        provider=ProviderMessage(name=name),
        devices=[
            Device(
                name=device,
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
                    statevector=True,
                    job_types=[JobType.JOB_TYPE_RUNNER],
                ),
                basis_gates=basis_gates,
            )
        ],
        unavailable=missing,
    )


def installed_version(distribution: str) -> str:
    """Return the version of an installed distribution, "" if it is not installed. Import nothing."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


class _TaskMemory:
    """What one task of this process may use, in bytes; 0 until it is known."""

    limit_bytes = 0


def limit_task_memory(limit_bytes: int) -> None:
    """Set what one task of this process may use at most, as the server's settings say; 0 means no limit."""
    _TaskMemory.limit_bytes = limit_bytes


@cache
def _usable() -> int:
    return usable_memory()


def task_memory() -> int:
    """Return the memory that one task may use here, in bytes: the machine's, or the limit if that is less."""
    return min(_TaskMemory.limit_bytes or _usable(), _usable())


def most_qubits(bytes_per_amplitude: int) -> int:
    """Return how many qubits a task can simulate here: `check_memory` accepts so many and no more."""
    return max(1, (task_memory() // bytes_per_amplitude).bit_length() - 1)


def check_memory(qubits: int, bytes_per_amplitude: int, memory_limit_bytes: int, note: str = "") -> int:
    """Refuse a statevector that does not fit.

    Returns:
        What it needs, in bytes.

    Raises:
        LimitError: reason MEMORY_LIMIT, naming need and limit.
    """
    need = bytes_per_amplitude << qubits
    limit = min(memory_limit_bytes or task_memory(), task_memory())
    if need > limit:
        fits = max(0, (limit // bytes_per_amplitude).bit_length() - 1)
        raise LimitError(
            "MEMORY_LIMIT",
            f"simulating {qubits} qubits{note} needs {format_bytes(need)}, the limit is {format_bytes(limit)}: "
            f"use at most {fits} qubits (max_task_memory_bytes)",
        )
    return need


def program_seed(seed: int | None, place: int) -> int | None:
    """Return the seed of one circuit of a call: each has randomness of its own, and the same one every time."""
    return None if seed is None else seed + SEED_STRIDE * place


def depth_of(operations: Operations) -> tuple[int, int]:
    """Return the depth of a compiled circuit, and how many of its operations act on two or more qubits."""
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
