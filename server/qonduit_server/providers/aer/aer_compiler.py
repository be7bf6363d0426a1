# SPDX-License-Identifier: Apache-2.0
"""Compilation for Aer: which method simulates a circuit, and in which form."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Final

from qiskit.circuit import ControlFlowOp, QuantumCircuit
from qiskit_aer.library import SaveProbabilities, SaveStatevector

from qonduit_server.capabilities import chooses_method
from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.clifford import clifford_content, open_gates
from qonduit_server.ir.deferral import Deferred, defer
from qonduit_server.ir.noise import has_noise
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.ir.unitary import unitary_part
from qonduit_server.providers.aer import aer_methods as methods
from qonduit_server.providers.aer.aer_binding import AerTemplate, CliffordPoints
from qonduit_server.providers.aer.aer_circuits import AerCircuits, has_loops, operations_of
from qonduit_server.providers.aer.aer_program import AerProgram, Kind
from qonduit_server.providers.aer.aer_swaps import fewest_swaps
from qonduit_server.providers.aer.aer_truncation import log_bytes
from qonduit_server.providers.aer.stabilizer_sampling import directions
from qonduit_server.providers.point_binding import compiling
from qonduit_server.providers.provider import MOST_EXACT_BITS, SEED_STRIDE, CompiledCircuit, CompileOptions
from qonduit_server.providers.simulation.readout import FinalReadout, final_readout

#: With up to this many measured qubits their probabilities are computed once and shots drawn from them: Aer's own
#: shots cost more than the simulation of a small circuit.
_EXACT_BITS: Final = 10
#: A circuit that branches is simulated once for each shot, or once in all with helper qubits, up to this many.
_MOST_HELPERS: Final = 6
#: A tableau and a matrix product state take helpers without doubling: up to this many qubits in total.
_WIDEST: Final = 4096
#: Up to this many qubits one statevector with helpers costs less than a stabilizer for each shot.
_DEFERRED_QUBITS: Final = 20
#: Measured: what a shot, an operation in it and an amplitude of that cost.
_SHOT_SECONDS, _OPERATION_SECONDS, _AMPLITUDE_SECONDS = 5e-6, 1e-6, 3e-9
#: Measured: what a call of Aer costs, and an operation of its circuit, before the first shot.
_CALL_SECONDS, _CALL_OPERATION_SECONDS = 7e-3, 2e-5
#: The cores share the blocks of a short run: it has about this many, none shorter than this. Blocks of a longer run
#: take so long that calls do not cost more than this part of them.
_BLOCKS, _BLOCK_SECONDS, _CALL_PART = 8, 0.1, 0.02
#: Aer gives shot i of a circuit its seed + i, and the circuits of a call seeds that are `SEED_STRIDE` apart: larger
#: blocks would have shots in common.
_LARGEST_BLOCK: Final = 1 << (SEED_STRIDE.bit_length() - 1)


class AerCompiler:
    """Compiles circuits for a device that runs on Aer.

    Args:
        device: for messages, "PROVIDER/device".
        offered: the names of its methods.
        device_bytes: its memory; 0 for that of the machine.
    """

    def __init__(self, device: str, offered: frozenset[str] = methods.METHODS, device_bytes: int = 0) -> None:
        self._device = device
        self._offered = offered
        self._device_bytes = device_bytes

    def compile(self, circuit: Circuit, options: CompileOptions) -> CompiledCircuit:
        """Compile a circuit; see `SimulatorProvider`."""
        if not circuit.parameters:
            return self._compile(circuit, options)
        with compiling(circuit):
            try:
                compiled = self._compile(circuit, options)
            except LimitError as error:  # of a statevector; with values, a circuit may have Clifford gates only
                raise NotSymbolic(error.message) from error
        program = compiled.native
        assert isinstance(program, AerProgram)
        clifford = None
        if self._prefers_stabilizer(circuit.quantum, options) and (gates := open_gates(circuit.quantum)) is not None:
            clifford = CliffordPoints(circuit, options, gates)
        return replace(compiled, native=AerTemplate(program, self._exact, clifford))

    def _prefers_stabilizer(self, quantum: QuantumCircuit, options: CompileOptions) -> bool:
        """Return whether a circuit gets the stabilizer method if it has Clifford gates only."""
        return (
            chooses_method(options.simulation)
            and quantum.num_qubits > methods.SMALL_QUBITS
            and methods.STABILIZER in self._offered
        )

    def _compile(self, circuit: Circuit, options: CompileOptions) -> CompiledCircuit:
        quantum, simulation = circuit.quantum, options.simulation
        limit = methods.limit_bytes(options.memory_limit_bytes, self._device_bytes)
        noisy = has_noise(quantum)
        automatic = chooses_method(simulation)
        if automatic and not noisy and quantum.num_qubits <= methods.SMALL_QUBITS:
            return self._statevector(quantum, options, limit)
        final = final_readout(quantum) if noisy or not automatic else None
        obstacle = None
        if simulation.method == methods.STABILIZER and circuit.parameters:
            raise NotSymbolic("whether the gates are Clifford gates depends on their angles")
        if simulation.method == methods.STABILIZER or self._prefers_stabilizer(quantum, options):
            # A gate whose angle has no value yet is one, too; see CliffordPoints.
            obstacle = clifford_content(quantum).obstacle
            if noisy and final is None and obstacle == "" and has_loops(quantum):
                obstacle = "noise of a circuit with a loop"
        traits = methods.Traits(quantum.num_qubits, noisy, final is not None, obstacle, options.shots)
        method = methods.choose(traits, simulation, limit, self._offered)
        if noisy:
            return self._noisy(quantum, final, method, options, limit)
        if method == methods.STABILIZER:
            return self._stabilizer(quantum, options, limit, automatic)
        if method == methods.MATRIX_PRODUCT_STATE:
            return self._matrix_product_state(quantum, options, limit)
        if method == methods.DENSITY_MATRIX:
            return self._noisy(quantum, final, method, options, limit)
        return self._statevector(quantum, options, limit, method)

    def evolution(self, circuit: Circuit) -> AerProgram | AerTemplate:
        """Return a circuit's gates alone, then its state."""
        with compiling(circuit):
            program = AerProgram(Kind.PROBABILITIES, self._evolution(circuit))
        return AerTemplate(program) if circuit.parameters else program

    def _evolution(self, circuit: Circuit) -> QuantumCircuit:
        circuits = AerCircuits(self._device, methods.STATEVECTOR)
        native = circuits.circuit(unitary_part(circuit, circuits.lowering), circuit.quantum.num_qubits)
        native.global_phase = circuits.lowering.phase
        native.append(SaveStatevector(native.num_qubits), native.qubits)
        return native

    # ---- statevector

    def _statevector(
        self, quantum: QuantumCircuit, options: CompileOptions, limit: int, method: str = methods.STATEVECTOR
    ) -> CompiledCircuit:
        simulation = options.simulation
        need = methods.check_fits(method, quantum.num_qubits, simulation, limit)
        circuits = AerCircuits(self._device, methods.STATEVECTOR)
        deferred, flow = self._defer(quantum, circuits, options, limit)
        single = simulation.floating_point == "single"
        if deferred is None:
            native, measures = circuits.lowered(quantum, kept_errors=False)
            kind = Kind.SHOTS if flow else Kind.SAMPLED
            program = AerProgram(
                kind, native, method, single=single, block=block_of(native, options.shots) if flow else 0
            )
            compiled = self._compiled(
                program if measures else AerProgram(Kind.NOTHING), quantum.num_qubits, options, limit
            )
            return replace(
                compiled, memory_bytes=max(need, compiled.memory_bytes), operations=partial(operations_of, native)
            )
        qubits = max(quantum.num_qubits, deferred.qubits)
        return CompiledCircuit(
            replace(self._deferred(deferred, circuits), method=method, single=single),
            qubits,
            methods.check_fits(method, qubits, simulation, limit),
            circuits=int(bool(deferred.measured)),
            operations=deferred.operations,
            sliceable=False,
        )

    def _defer(
        self, quantum: QuantumCircuit, circuits: AerCircuits, options: CompileOptions, limit: int
    ) -> tuple[Deferred | None, bool]:
        """Return the circuit with its measurements at the end, where that is faster, and whether it branches."""
        measurements, flow = 0, False
        for instruction in quantum.data:
            operation = instruction.operation
            if operation.name == "measure":
                measurements += 1
            elif operation.name in ("reset", "store") or isinstance(operation, ControlFlowOp):
                flow = True
        if not flow and not 1 <= measurements <= _EXACT_BITS:
            return None, flow
        return self._try_defer(quantum, circuits, options, limit), flow

    def _try_defer(
        self, quantum: QuantumCircuit, circuits: AerCircuits, options: CompileOptions, limit: int
    ) -> Deferred | None:
        def check(qubits: int, helpers: int) -> None:
            methods.check_fits(methods.STATEVECTOR, qubits, options.simulation, limit)
            if helpers > _MOST_HELPERS:
                raise LimitError("TOO_LARGE", "better simulated shot by shot")

        try:
            return defer(quantum, circuits.lowering, self._device, check)
        except (DeviceError, LimitError):
            return None

    def _deferred(self, deferred: Deferred, circuits: AerCircuits, most_bits: int = _EXACT_BITS) -> AerProgram:
        measured = deferred.measured
        if not measured:
            return AerProgram(Kind.NOTHING, deferred=deferred)
        exact = len(measured) <= most_bits
        native = circuits.circuit(deferred.gates, deferred.qubits, 0 if exact else len(measured))
        if exact:
            native.append(SaveProbabilities(len(measured)), measured)
        else:
            native.measure(measured, range(len(measured)))
        return AerProgram(Kind.PROBABILITIES if exact else Kind.SAMPLED, native, deferred=deferred)

    # ---- other methods

    def _stabilizer(
        self, quantum: QuantumCircuit, options: CompileOptions, limit: int, automatic: bool
    ) -> CompiledCircuit:
        affine = self._affine(quantum)
        if affine is not None:
            qubits = max(quantum.num_qubits, affine.deferred.qubits if affine.deferred is not None else 0)
            return self._compiled(affine, qubits, options, limit)
        if automatic and quantum.num_qubits <= _DEFERRED_QUBITS:
            try:
                compiled = self._statevector(quantum, options, limit)
            except LimitError:
                pass
            else:
                if not compiled.sliceable:
                    return compiled
        native, measures = AerCircuits(self._device, methods.STABILIZER).lowered(quantum, kept_errors=False)
        program = AerProgram(
            Kind.SHOTS, native, methods.STABILIZER, block=block_of(native, options.shots, amplitudes=1)
        )
        return self._compiled(program if measures else AerProgram(Kind.NOTHING), quantum.num_qubits, options, limit)

    def _affine(self, quantum: QuantumCircuit) -> AerProgram | None:
        """Return a Clifford circuit with its measurements at the end; None if conditions make other gates of it."""
        try:
            deferred = defer(
                quantum, AerCircuits(self._device, methods.STATEVECTOR).lowering, self._device, _check_widest
            )
            circuits = AerCircuits(self._device, methods.STABILIZER)
            gates = list(circuits.steps(deferred.gates))
        except (DeviceError, LimitError):
            return None
        measured = deferred.measured
        if not measured:
            return AerProgram(Kind.NOTHING, deferred=deferred)
        native = circuits.circuit(gates, deferred.qubits, len(measured))
        native.measure(measured, range(len(measured)))
        basis = directions(((gate.name, places) for gate, places in gates), deferred.qubits, measured)
        return AerProgram(Kind.AFFINE, native, methods.STABILIZER, deferred, basis=basis)

    def _matrix_product_state(self, quantum: QuantumCircuit, options: CompileOptions, limit: int) -> CompiledCircuit:
        circuits = AerCircuits(self._device, methods.MATRIX_PRODUCT_STATE)
        final, deferred = final_readout(quantum), None
        if final is not None:  # qubits keep their order, in which neighbours are close
            qubits, measured, gates = quantum.num_qubits, final.measured, list(circuits.steps(final.operations))
        if final is None or any(step.name == "reset" for step, _ in gates):
            final = None
            try:
                deferred = defer(quantum, circuits.lowering, self._device, _check_widest)
            except (DeviceError, LimitError) as error:
                raise methods.unsupported(
                    methods.MATRIX_PRODUCT_STATE,
                    f"runs circuits whose measurements can be moved to the end: {error.message}",
                ) from error
            qubits, measured, gates = deferred.qubits, deferred.measured, deferred.gates
        native = circuits.circuit(gates, qubits, len(measured))
        native.measure(measured, range(len(measured)))
        pairs = [places for _, places in gates if len(places) == 2]
        direction, swaps = fewest_swaps(pairs, qubits)
        program = AerProgram(
            Kind.SAMPLED if measured else Kind.NOTHING,
            native if measured else None,
            methods.MATRIX_PRODUCT_STATE,
            deferred,
            final,
            bond=methods.bond_dimension(options.simulation),
            min_fidelity=methods.min_fidelity(options.simulation),
            swaps=direction,
        )
        compiled = self._compiled(program, max(qubits, quantum.num_qubits), options, limit)
        log = log_bytes(len(pairs) + swaps, qubits)
        # Aer's own copy, the one in the result, and the parts that are read.
        need = compiled.memory_bytes + 3 * log
        if need > limit:
            raise LimitError("MEMORY_LIMIT", f"the log of its {len(gates)} gates does not fit: use fewer gates")
        return replace(compiled, memory_bytes=need)

    def _noisy(
        self, quantum: QuantumCircuit, final: FinalReadout | None, method: str, options: CompileOptions, limit: int
    ) -> CompiledCircuit:
        single = options.simulation.floating_point == "single"
        circuits = AerCircuits(self._device, method, loops=final is None and has_loops(quantum))
        qubits = quantum.num_qubits
        amplitudes = 1 if method == methods.STABILIZER else methods.memory_of(method, qubits, amplitude=1)
        if final is None:
            native, measures = circuits.lowered(quantum, kept_errors=True)
            qubits = native.num_qubits
            program = AerProgram(
                Kind.SHOTS, native, method, single=single, block=block_of(native, options.shots, amplitudes)
            )
            return self._compiled(program if measures else AerProgram(Kind.NOTHING), qubits, options, limit)
        if method == methods.DENSITY_MATRIX:
            program = replace(self.density_matrix(final, qubits), single=single)
            return self._compiled(program, qubits, options, limit)
        measured = final.measured
        native = circuits.circuit(circuits.steps(final.operations), qubits, len(measured))
        native.measure(measured, range(len(measured)))
        program = AerProgram(
            Kind.SHOTS, native, method, final=final, single=single, block=block_of(native, options.shots, amplitudes)
        )
        return self._compiled(program, qubits, options, limit)

    def density_matrix(self, final: FinalReadout, qubits: int) -> AerProgram:
        """Return a circuit with noise as one evolution of its density matrix."""
        circuits = AerCircuits(self._device, methods.DENSITY_MATRIX)
        measured = final.measured
        native = circuits.circuit(circuits.density_steps(final.operations), qubits)
        if measured:
            native.append(SaveProbabilities(len(measured)), measured)
        return AerProgram(Kind.PROBABILITIES if measured else Kind.NOTHING, native, methods.DENSITY_MATRIX, final=final)

    def probabilities(self, compiled: CompiledCircuit) -> AerProgram | None:
        """Return a program that gives the exact probabilities of a compiled one; None without one."""
        program = compiled.native
        assert isinstance(program, AerProgram)
        return self._exact(program) if program.exact is None else program.exact()

    def _exact(self, program: AerProgram) -> AerProgram | None:
        limit = methods.limit_bytes(0, self._device_bytes)
        if program.kind in (Kind.NOTHING, Kind.PROBABILITIES, Kind.AFFINE) or program.circuit is None:
            return program
        if program.final is not None:
            qubits = program.circuit.num_qubits
            fits = methods.memory_of(methods.DENSITY_MATRIX, qubits) <= limit
            return self.density_matrix(program.final, qubits) if fits else None
        if program.method not in (methods.STATEVECTOR, methods.TRAJECTORIES) or has_noise(program.circuit):
            return None
        circuits = AerCircuits(self._device, methods.STATEVECTOR)
        deferred = program.deferred
        if deferred is None:
            deferred = self._try_defer(program.circuit, circuits, CompileOptions(), limit)
        if deferred is None or len(deferred.measured) > MOST_EXACT_BITS:
            return None
        return replace(self._deferred(deferred, circuits, MOST_EXACT_BITS), single=program.single)

    def _compiled(self, program: AerProgram, qubits: int, options: CompileOptions, limit: int) -> CompiledCircuit:
        native = program.circuit
        # A circuit that is not run needs no state.
        need = 0 if native is None else methods.check_fits(program.method, qubits, options.simulation, limit)
        if program.kind is Kind.SHOTS and program.method != methods.STABILIZER:
            need += methods.memory_of_shots(program.method, qubits, methods.amplitude_bytes(options.simulation))
        return CompiledCircuit(
            program,
            qubits,
            need,
            circuits=int(program.kind is not Kind.NOTHING),
            operations=partial(operations_of, native) if native is not None else None,
            sliceable=program.kind is Kind.SHOTS,
        )


def _check_widest(qubits: int, helpers: int) -> None:
    if helpers and qubits > _WIDEST:
        raise LimitError("TOO_LARGE", f"it takes more than {_WIDEST} qubits")


def block_of(circuit: QuantumCircuit, shots: int, amplitudes: int = 0) -> int:
    """Return how many shots have one seed: a power of 2 that depends on the circuit and the order of the shots."""
    gates = len(circuit.data)
    amplitudes = amplitudes or 1 << circuit.num_qubits
    shot = _SHOT_SECONDS + gates * (_OPERATION_SECONDS + amplitudes * _AMPLITUDE_SECONDS)
    cheap = (_CALL_SECONDS + gates * _CALL_OPERATION_SECONDS) / _CALL_PART
    seconds = min(max(_BLOCK_SECONDS, shots * shot / _BLOCKS), max(_BLOCK_SECONDS, cheap))
    return min(_LARGEST_BLOCK, 1 << max(0, math.ceil(math.log2(seconds / shot))))
