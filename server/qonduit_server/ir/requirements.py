# SPDX-License-Identifier: Apache-2.0
"""The device features that a circuit requires beyond gates followed by measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qonduit.execution.v1.task_pb2 import ProgramNeeds

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_PASSIVE: Final = frozenset(("barrier", "delay"))
_CONTROL: Final = ("reset", "if_else", "while_loop", "for_loop", "switch_case", "store")


def requirements_of(quantum: QuantumCircuit) -> ProgramNeeds:
    """Return the requirements of an IR circuit.

    `num_qubits` counts all of its qubits, used or not. `mid_circuit_measurement`: a qubit is used again after its
    measurement, or an operation depends on the outcome. `reset`: a qubit is reset that may not be 0. `conditionals`:
    operations depend on measured bits. `loops`: a condition on measured bits repeats operations. `noise`: the circuit
    has channels or readout errors. For gates followed by measurement only the measurements are inspected.
    """
    from qonduit_server.ir.noise import has_noise

    kinds = quantum.count_ops()
    noise = has_noise(quantum)
    if not any(kind in kinds for kind in _CONTROL) and _measured_last(quantum, kinds.get("measure", 0)):
        return ProgramNeeds(num_qubits=quantum.num_qubits, noise=noise)
    walk = _Walk(quantum.num_qubits)
    walk.block(quantum, range(quantum.num_qubits))
    return ProgramNeeds(
        num_qubits=quantum.num_qubits,
        mid_circuit_measurement=walk.mid_circuit,
        reset=walk.reset,
        conditionals=walk.conditionals,
        loops=walk.loops,
        noise=noise,
    )


def _measured_last(quantum: QuantumCircuit, measurements: int) -> bool:
    """Return whether all measurements are at the end, each of another qubit."""
    measured = set()
    data = quantum.data
    place = len(data)
    while measurements and place:
        place -= 1
        instruction = data[place]
        name = instruction.operation.name
        if name == "measure":
            measurements -= 1
            if instruction.qubits[0] in measured:
                return False
            measured.add(instruction.qubits[0])
        elif instruction.qubits and name not in _PASSIVE:  # a readout error has no qubits
            return False
    return True


class _Walk:
    def __init__(self, qubits: int) -> None:
        self.mid_circuit = self.reset = self.conditionals = self.loops = False
        self._touched = [False] * qubits
        self._measured = [False] * qubits

    def block(self, block: QuantumCircuit, qubits: Sequence[int]) -> None:
        find = block.find_bit
        for instruction in block.data:
            operation = instruction.operation
            name = operation.name
            if name in _PASSIVE:
                continue
            places = [qubits[find(qubit).index] for qubit in instruction.qubits]
            blocks = getattr(operation, "blocks", None)
            if blocks is not None or name == "store":
                # An operation that depends on measured bits follows their measurement.
                self.mid_circuit = self.mid_circuit or any(self._measured)
                self.loops = self.loops or name == "while_loop"
                self.conditionals = self.conditionals or name != "while_loop"
                for inner in blocks or ():
                    self.block(inner, places)
                    if name == "while_loop":  # an iteration starts in the state that the previous one left
                        self.block(inner, places)
                continue
            if any(self._measured[place] for place in places):
                self.mid_circuit = True
            for place in places:
                if name == "reset":
                    self.reset = self.reset or self._touched[place]
                    self._touched[place] = self._measured[place] = False
                elif name == "measure":
                    self._measured[place] = self._touched[place] = True
                else:
                    self._touched[place] = True
