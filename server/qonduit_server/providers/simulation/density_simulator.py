# SPDX-License-Identifier: Apache-2.0
"""The base of simulators whose SDK evolves density matrices; they run wide circuits as trajectories of statevectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.errors import DeviceError, LimitError, ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.providers.provider import DEFAULTS, CompiledCircuit, CompileOptions, most_qubits
from qonduit_server.providers.simulation.statevector_simulator import (
    TRAJECTORIES,
    TRAJECTORY_BYTES,
    DeferredCircuit,
    StatevectorSimulator,
    described_method,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import Instruction, QuantumCircuit

    from qonduit_server.providers.simulation.group_states import State
    from qonduit_server.providers.simulation.run_planning import Method
    from qonduit_server.providers.simulation.steps import Gate

DENSITY_MATRIX: Final = "density_matrix"
#: Up to this many qubits a density matrix is cheap, whatever the number of shots.
_SMALL_QUBITS: Final = 6


class DensityMatrixSimulator(StatevectorSimulator):
    """A device that evolves density matrices, made from an SDK's gates and channels.

    Args:
        pure: the simulator of the same SDK whose gates these are; it runs trajectories.
    """

    #: Memory for one entry of a density matrix, in bytes, of a run that branches.
    branching_bytes: ClassVar[int]
    probabilities_bytes = 0  # the run's memory is enough
    statevector_bytes = 0

    def __init__(self, pure: StatevectorSimulator) -> None:
        super().__init__()
        self._pure = pure
        self.basis_gates = pure.basis_gates  # type: ignore[misc]

    @abstractmethod
    def import_density(self) -> None:
        """Import what evolves density matrices."""

    @abstractmethod
    def lower_channel(self, kraus: Sequence[NDArray[np.complex128]], qubits: tuple[int, ...]) -> Any:
        """Bring a channel into the SDK's form; the first qubit is the highest bit of the matrices' indices."""

    def import_sdk(self) -> Mapping[str, object]:
        """Import the SDK; return the metadata that all results carry."""
        metadata = self._pure.import_sdk()
        self.import_density()
        return {**metadata, "method": DENSITY_MATRIX}

    def is_native(self, operation: Instruction) -> bool:
        """Return whether the SDK has a gate as it is."""
        return self._pure.is_native(operation)

    def lower(self, runs: Sequence[Sequence[Gate]], qubits: int) -> Sequence[Any]:
        """Return the runs of gates and channels as the SDK takes them."""
        from qonduit_server.ir.noise import Channel

        gates = [[gate for gate in run if not isinstance(gate[0], Channel)] for run in runs]
        channels: dict[tuple[int, tuple[int, ...]], Any] = {}
        lowered: list[list[Any]] = []
        for run, own in zip(runs, self._pure.lower(gates, qubits), strict=True):
            rest = iter(own)
            lowered.append([])
            for gate, places in run:
                if not isinstance(gate, Channel):
                    lowered[-1].append(next(rest))
                    continue
                # A noise model has one channel for many gates.
                key = (id(gate), places)
                if key not in channels:
                    channels[key] = self.lower_channel(gate.kraus, places[::-1])
                lowered[-1].append(channels[key])
        return lowered

    def gate(self, gate: Instruction, angles: Sequence[float], places: Sequence[int]) -> Any:
        """Convert one gate; see `StatevectorSimulator`."""
        return self._pure.gate(gate, angles, places)

    def distribution(self, circuit: DeferredCircuit, *, exact: bool) -> NDArray[np.float64]:
        """Return the probabilities of the measured qubits."""
        import numpy as np

        from qonduit_server.providers.simulation.group_states import DENSITIES, zero
        from qonduit_server.providers.simulation.sampling import marginal

        qubits = circuit.deferred.qubits
        state = self.evolve(zero(DENSITIES, qubits), circuit.gates, qubits)
        diagonal = np.maximum(np.einsum("ii->i", state.reshape(1 << qubits, -1)).real, 0.0)
        return marginal(diagonal, qubits, circuit.deferred.measured)

    @abstractmethod
    def evolve(self, state: State, run: Any, qubits: int) -> State:
        """Apply one run to a density matrix. The given state may be overwritten."""

    def describe(self) -> ProviderDescription:
        """Describe the one device, without importing the SDK."""
        found = super().describe()
        device = found.devices[0]
        device.num_qubits = most_qubits(TRAJECTORY_BYTES)
        device.capabilities.statevector = False
        return found

    def methods(self) -> list[SimulationMethod]:
        """Describe the methods, the widest first."""
        return [
            described_method(TRAJECTORIES, TRAJECTORY_BYTES, "any circuit", noise=True),
            described_method(DENSITY_MATRIX, self.branching_bytes, "any circuit", noise=True, axes=2),
        ]

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit for density matrices, or for trajectories where these do not fit or cost more."""
        if device != self.device:
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}; it has {self.device}")
        if options.statevector:
            raise ProgramError("NO_STATEVECTOR", f"{self.name}/{device} does not support statevectors")
        self.load()
        name, limit = f"{self.name}/{device}", options.memory_limit_bytes
        named = options.simulation.method
        trajectories = self._pure.precise(self._pure.vectors(TRAJECTORIES, channels=True), options)
        if named == DENSITY_MATRIX:
            return self.plan_density(circuit, name, limit)
        if named != TRAJECTORIES and density_is_cheaper(circuit.quantum, options.shots):
            try:
                return self.plan_density(circuit, name, limit)
            except LimitError as error:
                if error.reason != "MEMORY_LIMIT":
                    raise
        return self.plan(circuit, name, trajectories, limit)

    def plan_density(self, circuit: Circuit, device: str, memory_limit_bytes: int) -> CompiledCircuit:
        """Compile a circuit for density matrices; for the arguments see `plan`."""
        return self.plan(circuit, device, self._densities(), memory_limit_bytes)

    def _densities(self) -> Method:
        from qonduit_server.providers.simulation.group_states import DENSITIES
        from qonduit_server.providers.simulation.run_planning import Method

        return Method(
            self,
            self.is_native,
            self.run_bytes,
            DENSITIES,
            channels=True,
            name=DENSITY_MATRIX,
            branching_bytes=self.branching_bytes,
        )

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Raise a ProgramError: noise leaves no statevector."""
        raise ProgramError("NO_STATEVECTOR", f"{self.name}/{device} does not support statevectors")


def density_is_cheaper(quantum: QuantumCircuit, shots: int) -> bool:
    """Return whether density matrices cost no more than trajectories: groups x 4^n against shots x 2^n.

    A density matrix is evolved once for each outcome of the measurements that operations follow.
    """
    qubits = quantum.num_qubits
    if qubits <= _SMALL_QUBITS:
        return True
    from qonduit_server.providers.simulation.readout import final_readout

    splits, random = _splits(quantum)
    if final_readout(quantum) is not None:  # measurements may stand before gates of other qubits
        splits = 0
    groups: int = min(shots, 1 << min(splits, 40))
    return bool(groups << qubits <= (shots if random else groups))


def _splits(quantum: QuantumCircuit) -> tuple[int, bool]:
    """Return how many draws split the shots of a density matrix before its last gate, and whether it has noise."""
    from qonduit_server.ir.noise import Channel, ReadoutError

    splits = waiting = 0
    random = False
    for operation, repeated in _operations(quantum):
        name = operation.name
        if name == "measure":
            waiting += 64 if repeated else 1
        elif name not in ("barrier", "delay") and not isinstance(operation, ReadoutError):
            splits, waiting = splits + waiting, 0
        random = random or name == "reset" or isinstance(operation, Channel)
    return splits, random


def _operations(block: QuantumCircuit, repeated: bool = False) -> Iterator[tuple[Instruction, bool]]:
    for instruction in block.data:
        operation = instruction.operation
        yield operation, repeated
        for inner in getattr(operation, "blocks", ()):
            yield from _operations(inner, repeated or operation.name == "while_loop")
