# SPDX-License-Identifier: Apache-2.0
"""Google's virtual processors: the shape, gates and measured errors of real ones, simulated on this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.simulation_pb2 import SimulationMethod
from qonduit_server.errors import LimitError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.provider import (
    CompiledCircuit,
    CompileOptions,
    Operations,
    RunProgress,
    check_memory,
    installed_version,
    most_qubits,
)
from qonduit_server.providers.shapes import processor_files
from qonduit_server.providers.shapes.kept_placement import kept_placement
from qonduit_server.providers.shapes.processor_shapes import Processor
from qonduit_server.providers.shapes.shaped_devices import (
    ShapedCircuit,
    ShapedDevices,
    compiled_metadata,
    described_width,
)
from qonduit_server.providers.simulation.cirq_density import CirqDensity
from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector
from qonduit_server.providers.simulation.density_simulator import DENSITY_MATRIX, density_is_cheaper
from qonduit_server.providers.simulation.statevector_simulator import TRAJECTORIES

if TYPE_CHECKING:
    from qonduit_server.providers.shapes.processor_compiler import NativeCircuit, ProcessorCompiler
    from qonduit_server.providers.shapes.processor_noise import ProcessorNoise

#: The choice of a method does not depend on the shots of a job: compiled programs are kept for jobs with others.
_USUAL_SHOTS: Final = 1024
#: complex64; measured with 23 qubits: 8.
_TRAJECTORY_BYTES: Final = 16
#: Up to this many active qubits a density matrix may take less time than trajectories. Measured with GHZ on 10 qubits:
#: 0.5 to 0.7 s, as 1,000 trajectories.
_DENSITY_QUBITS: Final = 10
#: Shots run in slices of about this time: each converts the circuit again, which takes some hundredths of a second.
_SLICE_SECONDS: Final = 4.0
#: Seconds that qsim takes for one operation, and more for each amplitude: only the first slice depends on it.
_OPERATION_SECONDS: Final = 1.5e-6
_AMPLITUDE_SECONDS: Final = 2.5e-10


@dataclass(frozen=True)
class _Trajectories:
    """A noisy circuit in Cirq's form; `clbits` are those of its measurements."""

    circuit: Any
    clbits: Sequence[int | None]
    qubits: int


class VirtualProcessors(ShapedDevices[Processor]):
    """Devices shaped like Google's.

    A program is routed and compiled by Cirq. One that consists of native gates on coupled qubits already runs as it is.
    Its qubit k is the processor's qubit k in the order of rows and columns, or the one of its name in Cirq's programs.
    """

    name = "GOOGLE"
    distributions = ("cirq-google", "cirq-core", "qsimcirq")

    def __init__(self) -> None:
        super().__init__()
        self._pure = CirqStatevector()
        self._density = CirqDensity()
        self._compilers: dict[str, ProcessorCompiler] = {}
        self._noises: dict[str, ProcessorNoise] = {}

    def offered(self) -> list[Processor]:
        """Return the processors; none if their package is not installed."""
        return list(processor_files.processors().values())

    def shape(self, name: str) -> Processor | None:
        """Return a processor by its name."""
        return processor_files.processors().get(name)

    def calibration(self, name: str) -> DeviceCalibration:
        """Return the calibration of a processor."""
        return processor_files.calibration(name)

    def methods(self, shape: Processor) -> list[SimulationMethod]:
        """Describe the methods, the widest first."""
        found = []
        for name, entry, axes in (
            (TRAJECTORIES, _TRAJECTORY_BYTES, 1),
            (DENSITY_MATRIX, self._density.branching_bytes, 2),
        ):
            width = min(most_qubits(entry, axes), shape.num_qubits)
            found.append(described_width(name, shape.num_qubits, width, entry << axes * width))
        return found

    def device(self, shape: Processor, missing: str, status: str) -> Device:
        """Describe one device: real ones have no conditions on measured bits, and some no resets."""
        device = super().device(shape, missing, status)
        device.capabilities.conditionals = device.capabilities.loops = False
        device.capabilities.reset = "reset" in shape.durations
        return device

    def import_sdk(self) -> Mapping[str, object]:
        """Import Cirq, its package for Google and qsim."""
        import qsimcirq

        self._pure.load()
        self._density.load()
        self._options = qsimcirq.QSimOptions(cpu_threads=1)
        self._simulator = qsimcirq.QSimSimulator
        return {
            "sdk": "cirq-google",
            "sdk_version": installed_version("cirq-google"),
            "qsimcirq": qsimcirq.__version__,
        }

    def compile_native(self, circuit: Circuit, shape: Processor, options: CompileOptions) -> CompiledCircuit:
        """Compile a circuit to a processor's coupling map and gates."""
        from qonduit_server.providers.shapes.processor_compiler import NativeCircuit
        from qonduit_server.providers.shapes.processor_lowering import lower

        compiler, noise = self._tools(shape)
        program = lower(circuit, f"{self.name}/{shape.name}", self._pure.convert, self._pure.is_native)
        native = kept_placement(
            options.placement,
            lambda: compiler.compile(program, options.optimization_level),
            NativeCircuit.dump,
            NativeCircuit.load,
        )
        active = {compiler.numbers[qubit]: place for place, qubit in enumerate(sorted(native.circuit.all_qubits()))}
        method, run, need = self._runnable(native, noise, len(active), circuit, shape, options)

        def operations() -> Operations:
            return ([active[number] for number in on] for _, on in native.operations)

        meta_data = compiled_metadata(method, native.layout, len(active), operations())
        meta_data["estimated_success_probability"] = compiler.errors.success_probability(native.operations)
        return CompiledCircuit(
            ShapedCircuit(run, meta_data),
            len(active),
            need,
            circuits=int(run is not None),
            operations=operations,
            sliceable=isinstance(run, _Trajectories),
        )

    def _tools(self, processor: Processor) -> tuple[ProcessorCompiler, ProcessorNoise]:
        device = processor.name
        if device not in self._compilers:
            from qonduit_server.providers.shapes.measured_errors import MeasuredErrors
            from qonduit_server.providers.shapes.processor_compiler import ProcessorCompiler
            from qonduit_server.providers.shapes.processor_noise import ProcessorNoise

            errors = MeasuredErrors(self.calibration(device))
            self._compilers[device] = ProcessorCompiler(processor, errors)
            self._noises[device] = ProcessorNoise(device)
        return self._compilers[device], self._noises[device]

    def _runnable(
        self,
        native: NativeCircuit,
        noise: ProcessorNoise,
        qubits: int,
        circuit: Circuit,
        shape: Processor,
        options: CompileOptions,
    ) -> tuple[str, _Trajectories | CompiledCircuit | None, int]:
        """Return the method, the circuit with its noise in the form for it, and the memory that it takes."""
        from qonduit_server.providers.shapes.processor_noise import as_channels

        named, limit = options.simulation.method, options.memory_limit_bytes
        density = named == DENSITY_MATRIX or (named != TRAJECTORIES and qubits <= _DENSITY_QUBITS)
        if named == DENSITY_MATRIX:
            check_memory(qubits, self._density.run_bytes, limit, axes=2)
        elif not density:
            check_memory(qubits, _TRAJECTORY_BYTES, limit)
        if not native.clbits:
            return (DENSITY_MATRIX if density else TRAJECTORIES), None, 0
        noisy = noise.noisy(native.circuit)
        if density:
            channels = as_channels(noisy, native.clbits, circuit.quantum.num_clbits)
            if named == DENSITY_MATRIX or density_is_cheaper(channels, _USUAL_SHOTS):
                try:
                    planned = self._density.plan_density(Circuit(channels, ()), f"{self.name}/{shape.name}", limit)
                except LimitError as error:
                    if named == DENSITY_MATRIX or error.reason != "MEMORY_LIMIT":
                        raise
                else:
                    return DENSITY_MATRIX, planned, planned.memory_bytes
        need = check_memory(qubits, _TRAJECTORY_BYTES, limit)
        return TRAJECTORIES, _Trajectories(noisy, native.clbits, qubits), need

    def run_native(
        self, natives: Sequence[_Trajectories | CompiledCircuit], shots: int, seeds: Sequence[int | None]
    ) -> Iterator[Outcome | RunError | RunProgress]:
        """Run circuits as trajectories or as density matrices."""
        for native, seed in zip(natives, seeds, strict=True):
            if isinstance(native, _Trajectories):
                yield from self._sample(native, shots, seed)
            else:
                yield from self._density.run(self._density.device, [native], shots, seed)

    def exact(self, native: _Trajectories | CompiledCircuit) -> Mapping[int, float] | None:
        """Return the exact distribution of a circuit that runs as one density matrix."""
        if isinstance(native, _Trajectories):
            return None
        return self._density.probabilities(self._density.device, native)

    def _sample(self, run: _Trajectories, shots: int, seed: int | None) -> Iterator[Outcome | RunProgress]:
        import numpy as np

        from qonduit_server.providers.shapes.processor_programs import counts_of

        began = time.perf_counter()
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        # Its seeds for shots continue from run to run, so that counts do not depend on slices.
        simulator = self._simulator(self._options, seed=seed % (1 << 32))
        counts: Counter[int] = Counter()
        operations = sum(1 for _ in run.circuit.all_operations())
        cost = operations * (_OPERATION_SECONDS + _AMPLITUDE_SECONDS * (1 << run.qubits))
        done = 0
        while done < shots:
            size = min(shots - done, max(1, int(_SLICE_SECONDS / cost)))
            start = time.perf_counter()
            measured = simulator.run(run.circuit, repetitions=size).measurements
            counts.update(counts_of(measured, run.clbits))
            cost = max((time.perf_counter() - start) / size, 1e-9)
            done += size
            if done < shots:
                yield RunProgress(done / shots)
        yield Outcome(dict(counts), {"seed": seed, "run_seconds": time.perf_counter() - began})
