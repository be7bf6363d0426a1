# SPDX-License-Identifier: Apache-2.0
"""STIM: Clifford circuits of thousands of qubits, with Pauli noise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, LimitError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.limits import MAX_QUBITS
from qonduit_server.process.memory import format_bytes
from qonduit_server.providers.point_binding import OneByOne
from qonduit_server.providers.provider import (
    DEFAULTS,
    CompiledCircuit,
    CompileOptions,
    RunProgress,
    describe_simulator,
    importing_sdk,
    installed_version,
    program_seed,
    task_memory,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHOD: Final = "stabilizer"
_BASIS: Final = ("id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "iswap")
#: A tableau: four matrices of n x n bits and their transposed copies.
_TABLEAU_BITS: Final = 8


class Stim(OneByOne):
    """Stim's simulators: a sampler of whole blocks of shots, and one for single shots."""

    name: Final = "STIM"
    device: Final = "stim"
    distributions: Final = ("stim",)

    def __init__(self) -> None:
        self._metadata: Mapping[str, object] = {}

    def describe(self) -> ProviderDescription:
        """Describe the one device; see `SimulatorProvider`."""
        version = installed_version("stim")
        description = describe_simulator(
            self.name,
            self.device,
            num_qubits=MAX_QUBITS,
            basis_gates=_BASIS,
            missing="" if version else f"install {with_extras('stim')}",
            status=f"stim {version}: Clifford circuits only",
        )
        capabilities = description.devices[0].capabilities
        capabilities.statevector = False
        capabilities.noise = True
        method = SimulationMethod(
            name=_METHOD,
            max_qubits=MAX_QUBITS,
            max_memory_bytes=_tableau_bytes(MAX_QUBITS),
            circuits="Clifford gates, mixtures of Pauli operators",
            exact=True,
            noise=True,
            clifford_only=True,
        )
        capabilities.methods.append(method)
        return description

    def load(self) -> None:
        """Import the SDK; see `SimulatorProvider`."""
        if self._metadata:
            return
        with importing_sdk("stim"):
            import stim

            from qonduit_server.providers.simulation import stim_sampling, stim_shots
        self._sampling, self._shots = stim_sampling, stim_shots
        self._metadata = {"sdk": "stim", "sdk_version": stim.__version__, "method": _METHOD}

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a Clifford circuit; see `SimulatorProvider`."""
        if device != self.device:
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}; it has {self.device}")
        self.load()
        qubits = circuit.quantum.num_qubits
        need = _tableau_bytes(qubits)
        native: Any
        try:
            native = self._sampling.sampled_circuit(circuit, f"{self.name}/{self.device}")
            need += 2 * min(native.block, options.shots) * native.records
        except self._sampling.NotSampled:
            native = self._shots.shot_program(circuit, f"{self.name}/{self.device}")
        limit = min(options.memory_limit_bytes or task_memory(), task_memory())
        if need > limit:
            raise LimitError(
                "MEMORY_LIMIT",
                f"simulating {qubits} qubits needs {format_bytes(need)}, the limit is {format_bytes(limit)}: "
                "use fewer qubits or fewer measurements (max_task_memory_bytes)",
            )
        return CompiledCircuit(native, qubits, need)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run circuits one after another; see `SimulatorProvider`."""
        self.load()
        for place, each in enumerate(compiled):
            native: Any = each.native
            own_seed = program_seed(seed, place)
            began = time.perf_counter()
            counts: dict[int, int] = {}
            try:
                if isinstance(native, self._shots.ShotProgram):
                    yield from native.run(shots, own_seed, counts)
                else:
                    counts = native.counts(shots, own_seed)
            except LimitError as error:
                yield error
                continue
            metadata = {**self._metadata, "run_seconds": time.perf_counter() - began, "qubits": each.qubits}
            if own_seed is not None:
                metadata["seed"] = own_seed
            yield Outcome(counts, metadata)

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return None: outcomes are sampled."""
        return None

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Raise: the device has no statevectors."""
        raise DeviceError("NO_STATEVECTOR", f"{self.name}/{self.device} does not support statevectors")


def _tableau_bytes(qubits: int) -> int:
    return qubits * qubits * _TABLEAU_BITS // 8
