# SPDX-License-Identifier: Apache-2.0
"""IBM's fake backends: the shape, gates and measured errors of real processors, simulated by Aer on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_client.distribution import with_extras
from qonduit_server.errors import DeviceError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers import backend_files
from qonduit_server.providers.aer_methods import BYTES_PER_AMPLITUDE, DENSITY_MATRIX, STATEVECTOR, memory_of
from qonduit_server.providers.provider import (
    DEFAULTS,
    CompiledCircuit,
    CompileOptions,
    check_memory,
    depth_of,
    installed_version,
    most_qubits,
    program_seed,
    simulator_device,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import QuantumCircuit

    from qonduit_server.providers.backend_errors import BackendErrors

#: The axes of a state for each qubit. With noise, a statevector is simulated for each shot.
_AXES: Final = {DENSITY_MATRIX: 2, STATEVECTOR: 1}
#: Up to this many active qubits a density matrix takes less time than a statevector for each shot.
_DENSITY_QUBITS: Final = 8


@dataclass(frozen=True)
class _Native:
    """A compiled circuit on its active qubits, with the errors of its gates; no circuit if it measures nothing."""

    circuit: QuantumCircuit | None
    noise: Any
    method: str
    meta_data: Mapping[str, object]


class FakeBackends:
    """Devices shaped like IBM's: see the `SimulatorProvider` protocol.

    A program is compiled by Qiskit to the coupling map and the native gates, then reduced to the qubits that it uses.
    A program that consists of native gates on coupled qubits already runs as it is, its qubit k on the device's.
    """

    name = "IBM"

    def __init__(self) -> None:
        self._simulator: Any = None
        self._versions: dict[str, object] = {}
        self._errors: dict[str, BackendErrors] = {}
        self._compilers: dict[tuple[str, int], Any] = {}

    def describe(self) -> ProviderDescription:
        """Describe the backends whose files are installed; see `SimulatorProvider`."""
        missing = "" if installed_version("qiskit-aer") else f"install {with_extras('shapes')}"
        runtime = installed_version("qiskit-ibm-runtime")
        found = backend_files.backends().values() if runtime else ()
        return ProviderDescription(
            provider=ProviderMessage(name=self.name),
            devices=[_device(backend, missing, f"qiskit-ibm-runtime {runtime}") for backend in found],
            calibrations=[
                CalibratedDevice(device=backend.name, calibration=backend_files.calibration(backend.name))
                for backend in found
            ],
            unavailable=missing or ("" if runtime else f"install {with_extras('shapes')}"),
        )

    def load(self) -> None:
        """Import Qiskit and Aer; see `SimulatorProvider`."""
        if self._simulator is not None:
            return
        # Read when the library is loaded; see `IBM.load`.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            import qiskit
            from qiskit_aer import AerSimulator
        except ImportError as error:
            raise ProviderError(
                "SDK_MISSING", f"IBM's fake backends need Qiskit Aer ({error}): install {with_extras('shapes')}"
            ) from error
        self._versions = {
            "sdk": "qiskit-aer",
            "sdk_version": installed_version("qiskit-aer"),
            "qiskit": qiskit.__version__,
        }
        self._simulator = AerSimulator

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """Compile a circuit to a backend's coupling map and gates; see `SimulatorProvider`."""
        backend = backend_files.backends().get(device)
        if backend is None:
            raise DeviceError("UNKNOWN_DEVICE", f"IBM has no device {device}")
        quantum = circuit.quantum
        if quantum.num_qubits > backend.num_qubits:
            raise DeviceError(
                "TOO_MANY_QUBITS",
                f"the program has {quantum.num_qubits} qubits, IBM/{device} has {backend.num_qubits}",
            )
        self.load()
        from qonduit_server.ir.noise import has_noise
        from qonduit_server.providers.active_qubits import each_operation, levels, reduced
        from qonduit_server.providers.aer_circuits import has_blocks

        if has_noise(quantum):
            raise DeviceError("UNSUPPORTED_CONSTRUCT", f"IBM/{device} has noise of its own, and takes no other")
        errors = self._errors_of(device)
        native, layout = self._native(quantum, device, options.optimization_level, errors)
        used = sorted({place for operation, on in each_operation(native) for place in on if operation.name != "delay"})
        active = {place: number for number, place in enumerate(used)}
        small = reduced(native, active, errors.follow)
        branches = has_blocks(small)
        method = _method(small, branches, options.simulation.method)
        need = check_memory(len(active), BYTES_PER_AMPLITUDE, options.memory_limit_bytes, axes=_AXES[method])
        depth, large = depth_of(levels(small))
        meta_data: dict[str, object] = {
            "method": method,
            "layout": layout,
            "qubits": len(active),
            "depth": depth,
            "two_qubit_gates": large,
        }
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

    def _errors_of(self, device: str) -> BackendErrors:
        errors = self._errors.get(device)
        if errors is None:
            from qonduit_server.providers.backend_errors import BackendErrors

            errors = BackendErrors(backend_files.backends()[device], backend_files.calibration(device))
            self._errors[device] = errors
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
                yield Outcome({0: shots}, {**self._versions, **native.meta_data})
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
                **self._versions,
                **native.meta_data,
                "seed": result.seed_simulator,
                "run_seconds": time.perf_counter() - began,
            },
        )

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return None: outcomes are sampled."""
        return None

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Refuse: a noisy circuit has no statevector."""
        raise DeviceError("NO_STATEVECTOR", f"IBM/{device} does not support statevectors")


def _device(backend: backend_files.Backend, missing: str, status: str) -> Device:
    widths = {method: min(most_qubits(BYTES_PER_AMPLITUDE, axes), backend.num_qubits) for method, axes in _AXES.items()}
    device = simulator_device(
        backend.name, num_qubits=backend.num_qubits, basis_gates=backend.basis_gates, missing=missing, status=status
    )
    device.capabilities.coupling_map = True
    device.capabilities.methods.extend(
        SimulationMethod(
            name=name,
            # The width of the program, of which only the qubits that it uses are simulated.
            max_qubits=backend.num_qubits,
            max_memory_bytes=memory_of(name, width),
            circuits=f"any circuit that uses at most {width} qubits",
            exact=True,
        )
        for name, width in sorted(widths.items(), key=lambda entry: -entry[1])
    )
    return device


def _method(circuit: QuantumCircuit, branches: bool, wanted: str) -> str:
    """Return the method: the wanted one, or else the one that takes less time."""
    if wanted in _AXES:
        return wanted
    # Where measurements are not all at the end, Aer simulates each shot anyway.
    return STATEVECTOR if circuit.num_qubits > _DENSITY_QUBITS or branches else DENSITY_MATRIX
