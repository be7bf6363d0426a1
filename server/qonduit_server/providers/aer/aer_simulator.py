# SPDX-License-Identifier: Apache-2.0
"""A device that simulates with Qiskit Aer on this machine, on the CPU or a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.aer.aer_methods import (
    BASIS,
    GPU_METHODS,
    METHODS,
    describe_methods,
    limit_bytes,
    widest_statevector,
)
from qonduit_server.providers.provider import (
    DEFAULTS,
    MOST_EXACT_BITS,
    CompiledCircuit,
    CompileOptions,
    RunProgress,
    SmallRun,
    describe_simulator,
    importing_sdk,
    installed_version,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_server.providers.aer.aer_binding import AerTemplate
    from qonduit_server.providers.aer.aer_compiler import AerCompiler
    from qonduit_server.providers.aer.aer_execution import AerExecution

#: With the array that a state is returned in. Measured with its way to the server: 127.9 bytes an amplitude, of 144.
_STATE_BYTES_PER_AMPLITUDE: Final = 32


class AerSimulator:
    """One of Aer's devices: the one on the CPU has all methods that are worth it.

    Args:
        device: its name.
        gpu_bytes: the memory of the GPU that it runs on; 0 for the CPU.
    """

    name: Final = "IBM"
    distributions: Final = ("qiskit-aer", "qiskit-aer-gpu")

    def __init__(self, device: str = "aer_simulator", gpu_bytes: int = 0) -> None:
        self.device = device
        self._gpu_bytes = gpu_bytes
        self._methods = GPU_METHODS if gpu_bytes else METHODS
        self._backend: Any = None
        self._compiler: AerCompiler
        self._execution: AerExecution

    def describe(self) -> ProviderDescription:
        """Describe the device; see `SimulatorProvider`."""
        aer = installed_version("qiskit-aer") or installed_version("qiskit-aer-gpu")
        limit = limit_bytes(0, self._gpu_bytes)
        description = describe_simulator(
            self.name,
            self.device,
            num_qubits=widest_statevector(limit),
            basis_gates=BASIS,
            missing="" if aer else f"install {with_extras('ibm')}",
            status=f"qiskit-aer {aer}",
        )
        capabilities = description.devices[0].capabilities
        capabilities.noise = True
        capabilities.methods.extend(describe_methods(limit, self._methods))
        capabilities.floating_point.extend(("double", "single"))
        return description

    def load(self) -> None:
        """Import the SDK; see `SimulatorProvider`."""
        if self._backend is not None:
            return
        # Threads that wait for work by spinning take the cores from other workers. Read when the library is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        with importing_sdk("ibm"):
            import qiskit
            import qiskit_aer

            from qonduit_server.providers.aer.aer_compiler import AerCompiler
            from qonduit_server.providers.aer.aer_execution import AerExecution
        versions = {
            "sdk": "qiskit-aer",
            "sdk_version": qiskit_aer.__version__,
            "qiskit": qiskit.__version__,
        }
        self._compiler = AerCompiler(f"{self.name}/{self.device}", self._methods, self._gpu_bytes)
        # Nothing is run here: Aer keeps a thread for its runs, which up to 0.17 workers would not survive the fork of.
        self._backend = qiskit_aer.AerSimulator(method="statevector", max_parallel_threads=1)
        if self._gpu_bytes:
            self._backend.set_options(device="GPU")
        self._execution = AerExecution(self._backend, versions)

    @property
    def exhausted(self) -> bool:
        """Whether the process should be replaced after this task; see `SimulatorProvider`."""
        return self._backend is not None and self._execution.exhausted

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit, which may have channels and readout errors; see `SimulatorProvider`."""
        if device != self.device:
            raise DeviceError("UNKNOWN_DEVICE", f"{self.name} has no device {device}; it has {self.device}")
        self.load()
        compiled = self._compiler.compile(circuit, options)
        if not options.statevector:
            return compiled
        from qonduit_server.providers.simulation.exact_states import with_statevector

        qubits = circuit.quantum.num_qubits
        evolution = self._compiler.evolution(circuit)
        return with_statevector(compiled, evolution, qubits, _STATE_BYTES_PER_AMPLITUDE, options.memory_limit_bytes)

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run compiled circuits; see `SimulatorProvider`."""
        self.load()
        yield from self._execution.run(compiled, shots, seed)

    def is_small(self, device: str, compiled: CompiledCircuit) -> bool:
        """Return whether a circuit may share a call; see `SimulatorProvider`."""
        return self._execution.is_small(compiled)

    def run_small(self, device: str, runs: Sequence[SmallRun]) -> Sequence[Outcome | RunError]:
        """Run small circuits in one call; see `SimulatorProvider`."""
        return self._execution.run_small(runs)

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit's outcomes; see `SimulatorProvider`."""
        (found,) = self.exact_distributions(device, [compiled])
        return found

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield the exact distribution of each circuit; see `SimulatorProvider`."""
        self.load()
        yield from self._execution.distributions(map(self._compiler.probabilities, compiled), MOST_EXACT_BITS)

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Return the exact state of a circuit; see `SimulatorProvider`."""
        (state,) = self.statevectors(device, [compiled])
        return state

    def statevectors(self, device: str, compiled: Sequence[CompiledCircuit]) -> Iterator[NDArray[np.complex128]]:
        """Yield the exact state of each circuit; see `SimulatorProvider`."""
        self.load()
        yield from self._execution.statevectors([each.evolution.native for each in compiled])

    def binds(self, device: str) -> bool:
        """Return True; see `SimulatorProvider`."""
        return True

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Return a function from points to compiled circuits; see `SimulatorProvider`."""
        native: AerTemplate = template.native  # type: ignore[assignment]
        run = native.bind(names, values)
        evolution = template.evolution
        evolve = None if evolution is None else evolution.native.bind(names, values)
        clifford = native.clifford
        alone = None if clifford is None else clifford.bind(names, values)

        def bound(point: int) -> CompiledCircuit:
            circuit = None if alone is None else alone(point)
            if clifford is not None and circuit is not None:
                return self.compile(circuit, device, clifford.options)
            own = None if evolve is None else replace(evolution, native=evolve(point))
            return replace(template, native=run(point), evolution=own)

        return bound
