# SPDX-License-Identifier: Apache-2.0
"""A job's noise model as explicit operations: channels behind gates, readout errors behind measurements.

The pass runs after a program is read and before anything else looks at it, so that deferral, branching, caching and
providers know channels and readout errors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from qiskit.circuit import CircuitInstruction, ControlFlowOp, Instruction, QuantumCircuit, Qubit

from qonduit.v1.noise_pb2 import NoiseChannel, NoiseModel
from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.limits import MAX_DEPTH, MAX_OPERATIONS, too_large
from qonduit_server.ir.noise import Channel, ReadoutError
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.ir.visitor import standard_name

#: Names of gates in OpenQASM that the IR has under another name.
_ALIASES: Final = {"CX": "cx", "U": "u", "phase": "p", "cphase": "cp", "cnot": "cx", "rc3x": "rcccx", "c3sqrtx": "c3sx"}
#: Never followed by an error of a gate.
_NO_GATES: Final = frozenset(("barrier", "store", "measure"))


class _GateError(NamedTuple):
    """An error of the model, ready to be matched. No `qubits`: all."""

    path: str
    gates: frozenset[str]
    qubits: frozenset[int]
    channel: NoiseChannel


class _Readout(NamedTuple):
    qubits: frozenset[int]
    error: ReadoutError


def with_noise(circuit: Circuit, model: NoiseModel, optimization_level: int = 1) -> Circuit:
    """Return a circuit with a noise model's errors as operations.

    Args:
        circuit: the program.
        model: of the job.
        optimization_level: of the compilation to the basis gates of a model of Aer.

    Raises:
        ProgramError: reason INVALID_NOISE: the error, by its path, and why it does not fit the program; or TOO_LARGE.
        NotSymbolic: a model of Aer, and a circuit with parameters: bind it first, as the compiler removes gates by
            their angles.
    """
    if model.aer_json:
        if circuit.parameters:
            raise NotSymbolic("under a noise model of Aer the angles of gates decide which gates are left")
        from qonduit_server.ir.aer_noise import with_aer_noise

        return with_aer_noise(circuit, model.aer_json, optimization_level)
    applied = _Pass(circuit.quantum, model)
    quantum = applied.result()
    warnings = (*circuit.warnings, *applied.unmatched())
    return replace(circuit, quantum=quantum, warnings=warnings)


def gate_names(model: NoiseModel) -> frozenset[str]:
    """Return the names of gates that a noise model mentions: readers keep gates of these names whole."""
    return frozenset(_canonical(name) for error in model.gate_errors for name in error.gates)


def channels(channel: NoiseChannel, qubits: int, path: str = "channel") -> list[tuple[Channel, tuple[int, ...]]]:
    """Convert a channel of the contract for a gate on `qubits` qubits to channels of the IR and their places.

    Raises:
        ProgramError: reason INVALID_NOISE, with the path of the field.
    """
    try:
        found = _channel(channel, qubits)
    except ProgramError as error:
        raise ProgramError(error.reason, f"{path}: {error.message}") from error
    if found.num_qubits == qubits:
        return [(found, tuple(range(qubits)))]
    if found.num_qubits == 1:
        return [(found, (place,)) for place in range(qubits)]
    raise ProgramError(
        "INVALID_NOISE",
        f"{path}: the channel acts on {found.num_qubits} qubits, the gate on {qubits}: list only gates of that size",
    )


def _channel(channel: NoiseChannel, qubits: int) -> Channel:
    kind = channel.WhichOneof("channel")
    match kind:
        case "depolarizing":
            return noise.depolarizing(channel.depolarizing, qubits)
        case "bit_flip":
            return noise.bit_flip(channel.bit_flip)
        case "phase_flip":
            return noise.phase_flip(channel.phase_flip)
        case "amplitude_damping":
            return noise.amplitude_damping(channel.amplitude_damping)
        case "phase_damping":
            return noise.phase_damping(channel.phase_damping)
        case "generalized_amplitude_damping":
            damping = channel.generalized_amplitude_damping
            return noise.generalized_amplitude_damping(damping.probability, damping.excited)
        case "thermal_relaxation":
            times = channel.thermal_relaxation
            return noise.thermal_relaxation(times.t1, times.t2, times.duration)
        case "pauli":
            return noise.pauli(dict(channel.pauli.probabilities))
        case "kraus":
            return noise.kraus([_square(operator.entries) for operator in channel.kraus.operators])
        case _:
            raise ProgramError("INVALID_NOISE", "it has no channel")


def _square(entries: Sequence[float]) -> list[list[complex]]:
    numbers = [complex(*entries[k : k + 2]) for k in range(0, len(entries) - 1, 2)]
    size = round(len(numbers) ** 0.5)
    if size * size * 2 != len(entries):
        raise ProgramError("INVALID_NOISE", f"a Kraus operator must be a square matrix, got {len(entries)} numbers")
    return [numbers[row * size : (row + 1) * size] for row in range(size)]


def _gate(operation: Instruction) -> str:
    """Return the name of the gate that a channel stands for; "" for any other operation."""
    return operation.gate if isinstance(operation, Channel) else ""


def _canonical(name: str) -> str:
    return _ALIASES.get(name, name)


class _Pass:
    def __init__(self, quantum: QuantumCircuit, model: NoiseModel) -> None:
        self._quantum = quantum
        self._errors = [
            _GateError(
                f"noise_model.gate_errors[{place}]",
                frozenset(_canonical(name) for name in error.gates),
                frozenset(error.qubits),
                error.channel,
            )
            for place, error in enumerate(model.gate_errors)
        ]
        self._readouts = [
            _Readout(frozenset(each.qubits), ReadoutError(each.prob_1_given_0, each.prob_0_given_1))
            for each in model.readout_errors
        ]
        self._names = frozenset(name for error in self._errors for name in error.gates)
        self._known: dict[tuple[str, int], list[tuple[Channel, tuple[int, ...]]]] = {}
        self._used: set[str] = set()
        self._count = self._inspected = 0
        qubits = quantum.num_qubits
        for path, named in (
            *((error.path, error.qubits) for error in self._errors),
            *((f"noise_model.readout_errors[{k}]", each.qubits) for k, each in enumerate(self._readouts)),
        ):
            if named and max(named) >= qubits:
                raise ProgramError(
                    "INVALID_NOISE",
                    f"{path}.qubits: the program has no qubit {max(named)}; its qubits are 0 to {qubits - 1}",
                )

    def result(self) -> QuantumCircuit:
        quantum = self._quantum
        noisy = quantum.copy_empty_like()
        self._block(quantum, noisy, tuple(range(quantum.num_qubits)))
        return noisy

    def unmatched(self) -> Iterator[str]:
        """Yield a warning for each error that matched no gate."""
        for error in self._errors:
            if error.path not in self._used:
                yield f"{error.path}: no gate of the program matches {', '.join(sorted(error.gates))}"

    def _block(self, block: QuantumCircuit, target: QuantumCircuit, numbers: Sequence[int]) -> None:
        """Append a block to a target with the same qubits and bits; `numbers` are the program's qubits they are."""
        find = block.find_bit
        for instruction in block.data:
            operation = instruction.operation
            own = tuple(numbers[find(qubit).index] for qubit in instruction.qubits)
            if isinstance(operation, ControlFlowOp):
                blocks = []
                for inner in operation.blocks:
                    noisy = inner.copy_empty_like()
                    self._block(inner, noisy, own)
                    blocks.append(noisy)
                operation = operation.replace_blocks(blocks)
                target._append(CircuitInstruction(operation, instruction.qubits, instruction.clbits))
                continue
            if operation.name in _NO_GATES or (isinstance(operation, Channel | ReadoutError) and not _gate(operation)):
                target._append(instruction)
                if operation.name == "measure":
                    for readout in self._readouts:
                        if not readout.qubits or own[0] in readout.qubits:
                            target._append(CircuitInstruction(readout.error, (), instruction.clbits))
                continue
            self._gate(operation, instruction.qubits, own, target, 0)

    def _gate(
        self,
        operation: Instruction,
        qubits: Sequence[Qubit],
        numbers: tuple[int, ...],
        target: QuantumCircuit,
        depth: int,
    ) -> None:
        """Append a gate and its errors; a gate that the program defines, as its body where only that is matched."""
        standard = standard_name(operation)
        name = standard or _gate(operation) or operation.name
        if name == "unitary":
            name = operation.label or name
        matching = [
            error
            for error in (self._errors if name in self._names else ())
            if name in error.gates and (not error.qubits or error.qubits.issuperset(numbers))
        ]
        if not standard and not matching and self._body_matches(operation, depth):
            definition = operation.definition
            for inner in definition.data:
                places = [definition.find_bit(qubit).index for qubit in inner.qubits]
                on = [qubits[place] for place in places]
                if inner.operation.name in _NO_GATES:
                    target._append(CircuitInstruction(inner.operation, on, ()))
                else:
                    self._gate(inner.operation, on, tuple([numbers[place] for place in places]), target, depth + 1)
            return
        self._append(operation, qubits, target)
        for error in matching:
            self._used.add(error.path)
            for channel, own in self._channels(error, len(numbers)):
                self._append(channel, [qubits[place] for place in own], target)

    def _append(self, operation: Instruction, qubits: Sequence[Qubit], target: QuantumCircuit) -> None:
        self._count += 1
        if self._count > MAX_OPERATIONS:
            raise too_large(f"with its noise the program has more than {MAX_OPERATIONS} operations")
        target._append(CircuitInstruction(operation, qubits, ()))

    def _channels(self, error: _GateError, qubits: int) -> list[tuple[Channel, tuple[int, ...]]]:
        key = (error.path, qubits)
        if key not in self._known:
            self._known[key] = channels(error.channel, qubits, f"{error.path}.channel")
        return self._known[key]

    def _body_matches(self, operation: Instruction, depth: int) -> bool:
        """Return whether the body of a gate contains a gate that the model mentions."""
        if depth > MAX_DEPTH:
            raise too_large(f"gates are nested more than {MAX_DEPTH} deep")
        definition = getattr(operation, "definition", None)
        if definition is None:
            return False
        for inner in definition.data:
            self._inspected += 1
            if self._inspected > MAX_OPERATIONS:
                raise too_large(f"the gates that it defines contain more than {MAX_OPERATIONS} operations")
            standard = standard_name(inner.operation)
            if (standard or inner.operation.name) in self._names:
                return True
            if not standard and self._body_matches(inner.operation, depth + 1):
                return True
        return False
