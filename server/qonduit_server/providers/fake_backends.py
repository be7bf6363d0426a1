# SPDX-License-Identifier: Apache-2.0
"""IBM's fake backends: the shape, gates and measured errors of real processors, simulated by Aer on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers import backend_files
from qonduit_server.providers.aer_methods import BYTES_PER_AMPLITUDE, DENSITY_MATRIX, STATEVECTOR, memory_of
from qonduit_server.providers.backend_files import Backend
from qonduit_server.providers.provider import (
    CompiledCircuit,
    CompileOptions,
    check_memory,
    installed_version,
    most_qubits,
    program_seed,
)
from qonduit_server.providers.shaped_devices import ShapedDevices, compiled_metadata, described_width

if TYPE_CHECKING:
    from qiskit.circuit import QuantumCircuit

    from qonduit_server.providers.backend_errors import BackendErrors

#: The axes of a state for each qubit, the widest method first. With noise, a statevector is simulated for each shot.
_AXES: Final = {STATEVECTOR: 1, DENSITY_MATRIX: 2}
#: Up to this many active qubits a density matrix takes less time than a statevector for each shot.
_DENSITY_QUBITS: Final = 8


@dataclass(frozen=True)
class _Native:
    """A compiled circuit on its active qubits, with the errors of its gates; no circuit if it measures nothing."""

    circuit: QuantumCircuit | None
    noise: Any
    method: str
    meta_data: Mapping[str, object]


class FakeBackends(ShapedDevices[Backend]):
    """Devices shaped like IBM's.

    A program is compiled by Qiskit to the coupling map and the native gates, then reduced to the qubits that it uses.
    A program that consists of native gates on coupled qubits already runs as it is, its qubit k on the device's.
    """

    name = "IBM"
    distributions = ("qiskit-ibm-runtime", "qiskit-aer")

    def __init__(self) -> None:
        super().__init__()
        self._errors: dict[str, BackendErrors] = {}
        self._compilers: dict[tuple[str, int], Any] = {}

    def offered(self) -> list[Backend]:
        """Return the backends that the settings offer; none if their package is not installed."""
        return backend_files.offered()

    def shape(self, name: str) -> Backend | None:
        """Return a backend by its name."""
        return backend_files.find_backend(name)

    def calibration(self, name: str) -> DeviceCalibration:
        """Return the calibration of a backend."""
        return backend_files.calibration(name)

    def methods(self, shape: Backend) -> list[SimulationMethod]:
        """Describe the methods, the widest first."""
        found = []
        for name, axes in _AXES.items():
            width = min(most_qubits(BYTES_PER_AMPLITUDE, axes), shape.num_qubits)
            found.append(described_width(name, shape.num_qubits, width, memory_of(name, width)))
        return found

    def import_sdk(self) -> Mapping[str, object]:
        """Import Qiskit and Aer."""
        # Read when the library is loaded; see `IBM.load`.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import qiskit
        from qiskit_aer import AerSimulator

        self._simulator = AerSimulator
        return {"sdk": "qiskit-aer", "sdk_version": installed_version("qiskit-aer"), "qiskit": qiskit.__version__}

    def compile_native(self, circuit: Circuit, shape: Backend, options: CompileOptions) -> CompiledCircuit:
        """Compile a circuit to a backend's coupling map and gates."""
        from qonduit_server.providers.active_qubits import each_operation, levels, reduced
        from qonduit_server.providers.aer_circuits import has_blocks

        quantum, device = circuit.quantum, shape.name
        errors = self._errors_of(shape)
        native, layout = self._native(quantum, device, options.optimization_level, errors)
        used = sorted({place for operation, on in each_operation(native) for place in on if operation.name != "delay"})
        active = {place: number for number, place in enumerate(used)}
        small = reduced(native, active, errors.follow)
        branches = has_blocks(small)
        method = _method(small, branches, options.simulation.method)
        need = check_memory(len(active), BYTES_PER_AMPLITUDE, options.memory_limit_bytes, axes=_AXES[method])
        meta_data = compiled_metadata(method, layout, len(active), levels(small))
        if not branches:
            meta_data["estimated_success_probability"] = errors.success_probability(each_operation(native))
        measures = any(operation.name == "measure" for operation, _ in each_operation(small))
        noise = errors.noise_model(each_operation(native), active)
        return CompiledCircuit(
            _Native(small if measures else None, noise, method, meta_data),
            len(active),
            need,
            circuits=int(measures),
            operations=lambda: levels(small),
        )

    def _errors_of(self, backend: Backend) -> BackendErrors:
        errors = self._errors.get(backend.name)
        if errors is None:
            from qonduit_server.providers.backend_errors import BackendErrors

            errors = BackendErrors(backend, backend_files.calibration(backend.name))
            self._errors[backend.name] = errors
        return errors

    def _native(
        self, quantum: QuantumCircuit, device: str, level: int, errors: BackendErrors
    ) -> tuple[QuantumCircuit, list[int]]:
        """Return the circuit in native gates on the device's qubits, and the device's qubit of each of its own."""
        from qiskit.exceptions import QiskitError

        if errors.runs(quantum):
            return quantum, list(range(quantum.num_qubits))
        compiler = self._compilers.get((device, level))
        if compiler is None:
            from qiskit.transpiler import generate_preset_pass_manager

            # The seed is fixed: the same program is compiled to the same circuit in every worker.
            compiler = generate_preset_pass_manager(level, target=errors.target, seed_transpiler=0)
            self._compilers[device, level] = compiler
        try:
            native = compiler.run(quantum)
        except QiskitError as error:
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT", f"Qiskit cannot compile the program for IBM/{device}: {error.message}"
            ) from error
        return native, list(native.layout.initial_index_layout(filter_ancillas=True))

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        """Run compiled circuits, one after another; see `SimulatorProvider`."""
        self.load()
        for place, each in enumerate(compiled):
            native = each.native
            assert isinstance(native, _Native)
            if native.circuit is None:
                yield Outcome({0: shots}, {**self._metadata, **native.meta_data})
            else:
                yield self._run(native, shots, program_seed(seed, place))

    def _run(self, native: _Native, shots: int, seed: int | None) -> Outcome | RunError:
        from qonduit_server.providers.aer_circuits import has_blocks
        from qonduit_server.providers.aer_execution import failure_of

        began = time.perf_counter()
        simulator = self._simulator(method=native.method, noise_model=native.noise, max_parallel_threads=1)
        options: dict[str, object] = {"shots": shots, "seed_simulator": seed}
        if has_blocks(native.circuit):
            # Aer (0.18) removes the end of a loop behind the last measurement, and then cannot jump to it.
            options["enable_truncation"] = False
        done = simulator.run(native.circuit, **options).result()
        if not done.success:
            status = str(done.results[0].status if done.results else done.status)
            return failure_of(status)
        (result,) = done.results
        return Outcome(
            {int(key, 16): number for key, number in result.data.counts.items()},
            {
                **self._metadata,
                **native.meta_data,
                "seed": result.seed_simulator,
                "run_seconds": time.perf_counter() - began,
            },
        )


def _method(circuit: QuantumCircuit, branches: bool, wanted: str) -> str:
    """Return the method: the wanted one, or else the one that takes less time."""
    if wanted in _AXES:
        return wanted
    # Where measurements are not all at the end, Aer simulates each shot anyway.
    return STATEVECTOR if circuit.num_qubits > _DENSITY_QUBITS or branches else DENSITY_MATRIX
