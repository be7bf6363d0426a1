# SPDX-License-Identifier: Apache-2.0
"""The part of a circuit that is gates alone: what its exact state before the final measurements comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qonduit_server.capabilities import FEATURES
from qonduit_server.errors import ProgramError
from qonduit_server.ir.lowering import Lowering, bits_of
from qonduit_server.ir.requirements import requirements_of

if TYPE_CHECKING:
    from qiskit.circuit import Instruction

    from qonduit_server.ir.circuit import Circuit


def unitary_part(circuit: Circuit, lowering: Lowering) -> list[tuple[Instruction, tuple[int, ...]]]:
    """Split a circuit into gates and final measurements, and leave out the latter.

    A measurement is final where nothing acts on its qubit afterwards and nothing depends on what it gave; gates on
    other qubits may follow it. A reset of a qubit that no gate has acted on does nothing.

    Args:
        circuit: the IR circuit.
        lowering: expands what the device does not have, and is left with the global phase of these gates.

    Returns:
        Gates, each with the numbers of its qubits in the circuit.

    Raises:
        ProgramError: reason NO_STATEVECTOR; names what keeps the circuit from having a state of its own.
        DeviceError: a gate that the device does not have, by name.
        LimitError: it expands to too much.
    """
    quantum = circuit.quantum
    needs = requirements_of(quantum)
    for construct, name in FEATURES.items():
        if getattr(needs, construct):
            raise _refusal(name, circuit.lines.get(construct, 0))
    gates: list[tuple[Instruction, tuple[int, ...]]] = []
    touched: set[int] = set()
    for instruction in quantum.data:
        operation = instruction.operation
        # What is left of resets is of qubits that are 0.
        if operation.name in ("measure", "reset", "barrier", "delay"):
            continue
        places, _ = bits_of(quantum, instruction)
        for step, own in lowering.expand(operation):
            targets = tuple(places[place] for place in own)
            if step.name != "reset":
                touched.update(targets)
                gates.append((step, targets))
            elif targets[0] in touched:
                raise _refusal(f"the operation {operation.name!r}, which resets a qubit that gates have acted on", 0)
    return gates


def _refusal(construct: str, line: int) -> ProgramError:
    where = f" (line {line})" if line else ""
    return ProgramError(
        "NO_STATEVECTOR",
        f"the program has no exact state before its final measurements, since it has {construct}{where}: "
        "submit it without include_statevector",
        line=line,
    )
