# SPDX-License-Identifier: Apache-2.0
"""The unitary part of a circuit, which determines its exact state before the final measurements."""

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
    """Return a circuit's gates without the final measurements.

    A measurement is final where no operation acts on its qubit or depends on its outcome afterwards; gates on other
    qubits may follow it. A reset of a qubit that no gate has acted on has no effect.

    Args:
        circuit: the IR circuit.
        lowering: expands operations that the device lacks, and collects the global phase of the gates.

    Returns:
        The gates, each with its qubits' numbers in the circuit.

    Raises:
        ProgramError: reason NO_STATEVECTOR; names the construct that prevents an exact state.
        DeviceError: a gate that the device does not have, by name.
        LimitError: it expands to too many operations.
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
        # Remaining resets are of qubits that are 0.
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
