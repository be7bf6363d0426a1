# SPDX-License-Identifier: Apache-2.0
"""Executes the operations of a Quil program into the IR."""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import Barrier
from qiskit.circuit import Reset as HubReset

from qonduit_server.ir.classical.values import Table, equal, truth
from qonduit_server.ir.classical.values import number as as_number
from qonduit_server.ir.classical.variables import View
from qonduit_server.ir.controls import Step
from qonduit_server.languages.named_gates import named
from qonduit_server.languages.openqasm3.measurement import measure, measure_into
from qonduit_server.languages.quil.classical_memory import Memory
from qonduit_server.languages.quil.gate_definitions import Gates
from qonduit_server.languages.quil.instruction_list import Classical, Fence, GateCall, Measured, Operation, Reset
from qonduit_server.languages.quil.jumps import Jumps
from qonduit_server.languages.quil.parameter_expressions import value


class Execution(Jumps):
    """Executes a program.

    Args:
        operations: the program.
        lines: for each operation, its line in the program.
        memory: its memory, whose bits map to IR bits.
        gates: its gates.
    """

    def __init__(self, operations: Sequence[Operation], lines: Sequence[int], memory: Memory, gates: Gates) -> None:
        super().__init__(operations, lines, memory, self._do)
        self._gates = gates
        self._qubits = _numbered(operations)
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

    def _gate(self, call: GateCall, known: dict[int, complex]) -> None:
        """Execute a gate for each measured value of the memory that its parameters read."""
        cell = next((each for each in call.reads if each not in known), None)
        if cell is None:
            for gate, places in self._steps(call, known):
                self.emit(gate, tuple(self._qubits[call.qubits[each]] for each in places))
            return
        read = as_number(self._memory.read(cell))
        for each in dict.fromkeys(read.values if isinstance(read, Table) else (read,)):
            number = complex(each)  # type: ignore[arg-type]
            self.branch(truth(equal(read, each)), lambda number=number: self._gate(call, {**known, cell: number}))  # type: ignore[misc]

    def _steps(self, call: GateCall, known: dict[int, complex]) -> list[Step]:
        """Return a gate, or a circuit that is kept whole, on places of its qubits."""
        if call.body is None:
            parameters = tuple(value(each, known) for each in call.parameters)
            return self._gates.steps(call.name, call.modifiers, parameters, len(call.qubits))
        steps: list[Step] = []
        for inner in call.body:
            own = [call.qubits.index(each) for each in inner.qubits]
            steps += [(gate, tuple([own[place] for place in at])) for gate, at in self._steps(inner, known)]
        return named(call.name, steps, len(call.qubits))

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
