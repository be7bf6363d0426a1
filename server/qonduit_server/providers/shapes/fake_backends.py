# SPDX-License-Identifier: Apache-2.0
"""IBM's fake backends: the shape, gates and measured errors of real processors, simulated by Aer on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.errors import DeviceError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.aer.aer_methods import (
    BYTES_PER_AMPLITUDE,
    DENSITY_MATRIX,
    STATEVECTOR,
    memory_of,
    memory_of_shots,
)
from qonduit_server.providers.provider import (
    MOST_EXACT_BITS,
    CompiledCircuit,
    CompileOptions,
    RunProgress,
    SmallRun,
    check_memory,
    distant_seed,
    installed_version,
    most_qubits,
    seed_or_random,
)
from qonduit_server.providers.shapes import backend_files
from qonduit_server.providers.shapes.backend_files import Backend
from qonduit_server.providers.shapes.kept_placement import kept_placement
from qonduit_server.providers.shapes.measured_errors import MEASURE
from qonduit_server.providers.shapes.shaped_devices import (
    ShapedCircuit,
    ShapedDevices,
    compiled_metadata,
    described_width,
    shaped,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit.circuit import QuantumCircuit

    from qonduit_server.providers.aer.aer_binding import AerTemplate
    from qonduit_server.providers.aer.aer_program import AerProgram
    from qonduit_server.providers.shapes.backend_errors import BackendErrors
    from qonduit_server.providers.simulation.readout import FinalReadout

#: The axes of a state for each qubit, the widest method first. With noise, a statevector is simulated for each shot.
_AXES: Final = {STATEVECTOR: 1, DENSITY_MATRIX: 2}
#: Up to this many active qubits a density matrix takes less time than a statevector for each shot.
_DENSITY_QUBITS: Final = 8


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

        from qonduit_server.providers.aer.aer_execution import AerExecution

        self._execution = AerExecution(AerSimulator(method="density_matrix", max_parallel_threads=1), {})
        return {"sdk": "qiskit-aer", "sdk_version": installed_version("qiskit-aer"), "qiskit": qiskit.__version__}

    def compile_native(self, circuit: Circuit, shape: Backend, options: CompileOptions) -> CompiledCircuit:
        """Compile a circuit to a backend's coupling map and gates."""
        from qonduit_server.providers.aer.aer_binding import AerTemplate
        from qonduit_server.providers.aer.aer_circuits import has_blocks
        from qonduit_server.providers.aer.aer_compiler import block_of
        from qonduit_server.providers.aer.aer_program import AerProgram, Kind
        from qonduit_server.providers.shapes.active_qubits import each_operation, levels, reduced
        from qonduit_server.providers.simulation.readout import final_readout

        quantum, device = circuit.quantum, shape.name
        errors = self._errors_of(shape)
        native, layout = self._native(quantum, device, options, errors)
        used = sorted({place for operation, on in each_operation(native) for place in on if operation.name != "delay"})
        active = {place: number for number, place in enumerate(used)}
        small = reduced(native, active, errors.follow)
        final = final_readout(small)
        method = _method(len(active), final is not None, options.simulation.method)
        need = check_memory(len(active), BYTES_PER_AMPLITUDE, options.memory_limit_bytes, axes=_AXES[method])
        meta_data = compiled_metadata(method, layout, len(active), levels(small))
        if not has_blocks(small):
            meta_data["estimated_success_probability"] = errors.success_probability(each_operation(native))
        measures = any(operation.name == MEASURE for operation, _ in each_operation(small))
        program = None
        if measures and final is not None and method == DENSITY_MATRIX:
            final.errors.update(errors.readout(final.sources, used))
            program = self._evolution(small, final)
        elif measures:
            amplitudes = 1 << _AXES[method] * len(active)
            program = AerProgram(Kind.SHOTS, small, method, block=block_of(small, options.shots, amplitudes))
            need += memory_of_shots(method, len(active), BYTES_PER_AMPLITUDE)
        runnable: AerProgram | AerTemplate | None = None
        if program is not None:
            runnable = program = replace(program, noise=errors.noise_model(each_operation(native), active))
            if circuit.parameters:
                runnable = AerTemplate(program)
        parameters = tuple(sorted(each.name for each in native.parameters))
        return CompiledCircuit(
            ShapedCircuit(runnable, meta_data),
            len(active),
            need,
            circuits=int(program is not None),
            operations=lambda: levels(small),
            sliceable=program is not None and program.kind is Kind.SHOTS,
            circuit=lambda: replace(circuit, quantum=native, parameters=parameters),
        )

    @staticmethod
    def _evolution(circuit: QuantumCircuit, final: FinalReadout) -> AerProgram:
        """Return a circuit as one evolution to the probabilities of what it measures."""
        from qiskit.circuit import QuantumCircuit
        from qiskit_aer.library import SaveProbabilities

        from qonduit_server.providers.aer.aer_program import AerProgram, Kind

        bare = QuantumCircuit(circuit.qubits)
        for instruction in circuit.data:
            if instruction.operation.name != MEASURE:
                bare._append(instruction)
        bare.append(SaveProbabilities(len(final.measured)), final.measured)
        return AerProgram(Kind.PROBABILITIES, bare, DENSITY_MATRIX, final=final)

    def _errors_of(self, backend: Backend) -> BackendErrors:
        errors = self._errors.get(backend.name)
        if errors is None:
            from qonduit_server.providers.shapes.backend_errors import BackendErrors

            errors = BackendErrors(backend, backend_files.calibration(backend.name))
            self._errors[backend.name] = errors
        return errors

    def _native(
        self, quantum: QuantumCircuit, device: str, options: CompileOptions, errors: BackendErrors
    ) -> tuple[QuantumCircuit, list[int]]:
        """Return the circuit in native gates on the device's qubits, and the device's qubit of each of its own."""
        if errors.runs(quantum):
            return quantum, list(range(quantum.num_qubits))
        level = options.optimization_level
        return kept_placement(options.placement, lambda: self._placed(quantum, device, level, errors), _dump, _load)

    def _placed(
        self, quantum: QuantumCircuit, device: str, level: int, errors: BackendErrors
    ) -> tuple[QuantumCircuit, list[int]]:
        from qiskit.exceptions import QiskitError

        compiler = self._compilers.get((device, level))
        if compiler is None:
            from qiskit.transpiler import generate_preset_pass_manager

            # The seed is fixed: the same program is compiled to the same circuit in every worker.
            compiler = generate_preset_pass_manager(level, target=errors.target, seed_transpiler=0)
            self._compilers[device, level] = compiler
        try:
            native = compiler.run(quantum)
        except QiskitError as error:
            if quantum.parameters:
                raise
            raise DeviceError(
                "UNSUPPORTED_CONSTRUCT", f"Qiskit cannot compile the program for IBM/{device}: {error.message}"
            ) from error
        return native, list(native.layout.initial_index_layout(filter_ancillas=True))

    def run_native(
        self, natives: Sequence[AerProgram], shots: int, seeds: Sequence[int | None]
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run programs of Aer: small ones together, because a call with a noise model takes 20 ms."""
        own = [seed_or_random(seed) for seed in seeds]
        runs = [
            SmallRun(_runnable(native), shots, distant_seed(seed)) for native, seed in zip(natives, own, strict=True)
        ]
        rest = iter(own)
        for found in self._execution.run_each(runs):
            if isinstance(found, RunProgress):
                yield found
                continue
            seed = next(rest)
            yield replace(found, meta_data={**found.meta_data, "seed": seed}) if isinstance(found, Outcome) else found

    def exact(self, native: AerProgram) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit that runs as one density matrix."""
        (found,) = self._execution.distributions([_with_probabilities(native)], MOST_EXACT_BITS)
        return found

    def exact_distributions(
        self, device: str, compiled: Sequence[CompiledCircuit]
    ) -> Iterator[Mapping[int, float] | None]:
        """Yield the exact distribution of each circuit, many points of a template at a time."""
        self.load()
        programs = [shaped(each).native for each in compiled]
        if None in programs:
            yield from super().exact_distributions(device, compiled)
        else:
            yield from self._execution.distributions(map(_with_probabilities, programs), MOST_EXACT_BITS)

    def binds(self, device: str) -> bool:
        """Return True; see `SimulatorProvider`."""
        return True

    def bind(
        self, device: str, template: CompiledCircuit, names: Sequence[str], values: NDArray[np.float64]
    ) -> Callable[[int], CompiledCircuit]:
        """Return a function from points to compiled circuits; see `SimulatorProvider`."""
        from qonduit_server.ir.parameters import Binder

        circuit = shaped(template)
        assert template.circuit is not None
        native = template.circuit()
        binder: list[Binder] = []

        def bound_circuit(point: int) -> Circuit:
            if not native.parameters:
                return native
            if not binder:
                binder.append(Binder(native, names))
            (found,) = binder[0].bind(values[point : point + 1])
            return found

        program = circuit.native.bind(names, values) if circuit.native is not None else None

        def bound(point: int) -> CompiledCircuit:
            own = replace(circuit, native=None if program is None else program(point))
            return replace(template, native=own, circuit=lambda: bound_circuit(point))

        return bound


def _dump(placed: tuple[QuantumCircuit, list[int]]) -> bytes | None:
    from qonduit_server.ir import serialization

    circuit, layout = placed
    body = serialization.dump(Circuit(circuit, ()))
    return None if body is None else json.dumps(layout).encode() + b"\n" + body


def _load(data: bytes) -> tuple[QuantumCircuit, list[int]]:
    from qonduit_server.ir import serialization

    layout, _, body = data.partition(b"\n")
    return serialization.load(body).quantum, json.loads(layout)


def _runnable(native: AerProgram) -> CompiledCircuit:
    assert native.circuit is not None
    return CompiledCircuit(native, native.circuit.num_qubits)


def _with_probabilities(native: AerProgram) -> AerProgram | None:
    """Return a program if it gives exact probabilities; None for others."""
    from qonduit_server.providers.aer.aer_program import Kind

    return native if native.kind is Kind.PROBABILITIES else None


def _method(qubits: int, ends: bool, wanted: str) -> str:
    """Return the method: the wanted one, or else the one that takes less time.

    Args:
        qubits: how many are simulated.
        ends: whether all measurements are at the end. Else Aer simulates each shot anyway.
        wanted: the method that the job names.
    """
    if wanted in _AXES:
        return wanted
    return DENSITY_MATRIX if ends and qubits <= _DENSITY_QUBITS else STATEVECTOR
