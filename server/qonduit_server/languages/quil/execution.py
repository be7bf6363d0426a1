# SPDX-License-Identifier: Apache-2.0
"""Executes the operations of a Quil program into the IR."""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import Barrier, Gate, Measure
from qiskit.circuit import Reset as HubReset

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import Table, equal, truth
from qonduit_server.ir.classical.values import number as as_number
from qonduit_server.ir.classical.variables import View
from qonduit_server.ir.controls import Step
from qonduit_server.ir.noise import Channel
from qonduit_server.ir.symbolic import Symbolic
from qonduit_server.languages.named_gates import named
from qonduit_server.languages.openqasm3.measurement import measure, measure_into
from qonduit_server.languages.quil.classical_memory import Memory
from qonduit_server.languages.quil.gate_definitions import Gates
from qonduit_server.languages.quil.instruction_list import Classical, Fence, GateCall, Measured, Operation, Reset
from qonduit_server.languages.quil.jumps import Jumps
from qonduit_server.languages.quil.noise_pragmas import NoisePragmas
from qonduit_server.languages.quil.parameter_expressions import value


class Execution(Jumps):
    """Executes a program.

    Args:
        operations: the program.
        lines: for each operation, its line in the program.
        memory: its memory, whose bits map to IR bits.
        gates: its gates.
        noise: its pragmas of noise.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        lines: Sequence[int],
        memory: Memory,
        gates: Gates,
        noise: NoisePragmas,
    ) -> None:
        super().__init__(operations, lines, memory, self._do)
        self._gates = gates
        self._noise = noise
        self._qubits = _numbered(operations)
        self._readouts = {
            place: noise.readouts[qubit] for qubit, place in self._qubits.items() if qubit in noise.readouts
        }
        #: Qubits that may not be 0; an IR loop is read once before, so that earlier iterations count.
        self._touched: set[int] = set()
        self.builder.add_qubits(len(self._qubits))
        bits = [each for cell, each in enumerate(memory.cells) if memory.is_bit(cell)]
        for each, clbit in zip(bits, self.builder.add_clbits(len(bits)), strict=True):
            each.homes[0] = clbit

    def _do(self, operation: Operation) -> None:
        match operation:
            case GateCall():
                self._touched.update(operation.qubits)
                self._gate(operation, {})
            case Measured():
                self._measure(operation)
            case Reset():
                for qubit in self._qubits if operation.qubit is None else (operation.qubit,):
                    if qubit in self._touched:
                        self.emit(HubReset(), (self._qubits[qubit],))
            case Fence():
                named = [self._qubits[each] for each in operation.qubits if each in self._qubits]
                places = named if operation.qubits else list(self._qubits.values())
                if places:
                    self.builder.spend(len(places) // 16)  # wide operations need memory
                    self.emit(Barrier(len(places)), tuple(places))
            case Classical():
                self._memory.execute(operation.instruction, operation.names, self.conditions)

    def emit(
        self,
        operation: Gate | HubReset | Measure | Barrier | Channel,
        qubits: tuple[int, ...],
        clbits: tuple[int, ...] = (),
    ) -> None:
        """Append an operation; a measurement with the readout error of its qubit, before anything reads the bit."""
        super().emit(operation, qubits, clbits)
        error = self._readouts.get(qubits[0]) if clbits else None
        if error is not None:
            self.builder.append(self.conditions.guard, error, (), clbits)

    def _gate(self, call: GateCall, known: dict[int, complex | Symbolic]) -> None:
        """Execute a gate for each measured value of the memory that its parameters read."""
        cell = next((each for each in call.reads if each not in known), None)
        if cell is None:
            steps = self._steps(call, known)
            channel = self._channel(call, steps) if self._noise.replaces_gates else None
            # Quil's first qubit is the highest bit of a matrix.
            own = steps if channel is None else [(channel, tuple(reversed(range(len(call.qubits)))))]
            for operation, places in own:
                self.emit(operation, tuple(self._qubits[call.qubits[each]] for each in places))
            return
        read = as_number(self._memory.read(cell))
        if isinstance(read, Symbolic):
            self._gate(call, {**known, cell: read})
            return
        for each in dict.fromkeys(read.values if isinstance(read, Table) else (read,)):
            number = complex(each)  # type: ignore[arg-type]
            self.branch(truth(equal(read, each)), lambda number=number: self._gate(call, {**known, cell: number}))  # type: ignore[misc]

    def _steps(self, call: GateCall, known: dict[int, complex | Symbolic]) -> list[Step]:
        """Return a gate, or a circuit that is kept whole, on places of its qubits."""
        if call.body is None:
            parameters = tuple(value(each, known) for each in call.parameters)
            return self._gates.steps(call.name, call.modifiers, parameters, len(call.qubits))
        steps: list[Step] = []
        for inner in call.body:
            own = [call.qubits.index(each) for each in inner.qubits]
            steps += [(gate, tuple([own[place] for place in at])) for gate, at in self._steps(inner, known)]
        return named(call.name, steps, len(call.qubits))

    def _channel(self, call: GateCall, steps: Sequence[Step]) -> Channel | None:
        """Return the channel that replaces a gate, if the program has one."""
        if call.body is not None:
            noisy = next((each for each in call.body if self._channel(each, ())), None)
            if noisy is not None:
                raise ProgramError(
                    "UNSUPPORTED_CONSTRUCT",
                    f"the noise model names the circuit {call.name}, in which PRAGMA ADD-KRAUS replaces {noisy.name}: "
                    "remove one of them",
                )
            return None
        if not call.noisy:
            return None
        if call.modifiers:
            if self._noise.targets(call.name, call.qubits):
                raise _no_fixed_gate(call, "modifiers")
            return None
        channel = self._noise.channel(call.name, call.qubits)
        if channel is None:
            return None
        if call.parameters:
            raise _no_fixed_gate(call, "parameters")
        return channel.replacing(self._gates.public_name(call.name, steps))

    def _measure(self, measured: Measured) -> None:
        self._touched.add(measured.qubit)
        place = self._qubits[measured.qubit]
        cell = measured.cell
        if cell is not None and self._memory.is_bit(cell):
            measure_into(self, (place,), View(self._memory.cells[cell], (0,)))
            return
        value = as_number(measure(self, (place,)))
        if cell is not None:
            self._memory.write(cell, value, self.conditions)


def _numbered(operations: Sequence[Operation]) -> dict[int, int]:
    """Return the used qubits, in ascending order, with their IR qubits."""
    used: set[int] = set()
    for each in operations:
        if isinstance(each, GateCall):
            used.update(each.qubits)
        elif isinstance(each, Measured | Reset) and each.qubit is not None:
            used.add(each.qubit)
    return {qubit: place for place, qubit in enumerate(sorted(used))}


def _no_fixed_gate(call: GateCall, what: str) -> ProgramError:
    return ProgramError(
        "UNSUPPORTED_CONSTRUCT",
        f"PRAGMA ADD-KRAUS replaces {call.name}, which is applied with {what}: give the noisy gate a name by DEFGATE",
    )
