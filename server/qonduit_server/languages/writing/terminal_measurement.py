# SPDX-License-Identifier: Apache-2.0
"""Rewrites programs to gates followed by one measurement for each register bit, for languages without more.

The rewriting is exact: additional qubits carry earlier measurements and bits computed from measurements.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final, TypeAlias

from qiskit.circuit import CircuitInstruction, Instruction, Measure, QuantumCircuit
from qiskit.circuit.library import IGate, XGate

from qonduit_server.errors import DeviceError, ProgramError
from qonduit_server.ir.builder import Builder
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.deferral import defer
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit
from qonduit_server.ir.limits import MAX_OPERATIONS, MAX_QUBITS, too_large
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise import Channel
from qonduit_server.ir.visitor import standard_name
from qonduit_server.languages.writing.register_layout import refuse

#: Maximum number of products in a computed bit.
_MAX_CUBES: Final = 256

_Cube: TypeAlias = tuple[tuple[int, bool], ...]


def at_the_end(circuit: Circuit, language: str, natives: Container[str], *, noise: bool = False) -> Circuit:
    """Rewrite a program.

    Args:
        noise: whether the language has channels.

    Returns:
        A program with the same registers and distribution: gates of `natives`, then a measurement for each bit of each
        register, in their order. A register's bits are measured from different qubits.

    Raises:
        ProgramError: it has a loop that ends by a measurement, or readout errors; or it would be too large.
    """
    quantum = circuit.quantum

    def is_native(operation: Instruction) -> bool:
        return noise if isinstance(operation, Channel) else standard_name(operation) in natives

    def check(qubits: int, helpers: int) -> None:
        if qubits > MAX_QUBITS:
            raise too_large(f"in {language}, the program needs more than {MAX_QUBITS} qubits")

    lowering = Lowering(language, is_native)
    try:
        deferred = defer(_in_order(quantum), lowering, language, check)
    except DeviceError as error:
        if "a loop" in error.message:
            raise refuse(language, "loop that ends by a measurement", "QASM3") from error
        raise ProgramError(error.reason, error.message) from error
    if deferred.recording is not None:
        raise ProgramError(
            "UNSUPPORTED_CONSTRUCT",
            f"{language} cannot express this program's readout errors: they can stand only where a measurement does",
        )
    gates = list(deferred.gates[quantum.num_qubits :])
    qubits = deferred.qubits
    registers = []
    for register in circuit.registers:
        carriers: list[int] = []
        for entry in register.bits:
            formula = (bit(entry) if isinstance(entry, int) else entry).substitute(lambda k: deferred.values[k])
            formula = formula.substitute(lambda k: bit(deferred.measured[k]))
            if formula.kind == "bit" and formula.number not in carriers:
                carriers.append(formula.number)
                continue
            for cube in _cubes(formula):
                # In Qiskit's control strings, the rightmost character is the first control.
                state = sum(value << place for place, (_, value) in enumerate(cube))
                gate = XGate().control(len(cube), ctrl_state=state, annotated=False) if cube else XGate()
                targets = (*(control for control, _ in cube), qubits)
                gates += [(step, tuple(targets[place] for place in own)) for step, own in lowering.expand(gate)]
            carriers.append(qubits)
            qubits += 1
            check(qubits, 0)
        registers.append(carriers)
    if len(gates) > MAX_OPERATIONS:
        raise too_large(f"in {language}, the program has more than {MAX_OPERATIONS} operations")
    more = max(0, qubits - quantum.num_qubits)
    warning = f"everything is measured at the end, as {language} cannot express the program otherwise" + (
        f": that takes {more} more qubits" if more else ""
    )
    return _circuit(circuit, gates, quantum.num_qubits + more, registers, warning)


def _in_order(quantum: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit with a gate on each qubit first, so that numbering by first use keeps their order."""
    numbered = quantum.copy_empty_like()
    for qubit in quantum.qubits:
        numbered._append(CircuitInstruction(IGate(), [qubit]))
    for instruction in quantum.data:
        numbered._append(instruction)
    return numbered


def _circuit(
    circuit: Circuit,
    gates: Sequence[tuple[Instruction, tuple[int, ...]]],
    qubits: int,
    registers: Sequence[Sequence[int]],
    warning: str,
) -> Circuit:
    builder = Builder()
    builder.add_qubits(qubits)
    for gate, places in gates:
        builder.append(TRUE, gate, places)
    shown = []
    for register, carriers in zip(circuit.registers, registers, strict=True):
        clbits = builder.add_clbits(len(carriers))
        for qubit, clbit in zip(carriers, clbits, strict=True):
            builder.append(TRUE, Measure(), (qubit,), (clbit,))
        shown.append(ClassicalRegister(register.name, clbits))
    return Circuit(builder.finish(), tuple(shown), (*circuit.warnings, warning))


def _cubes(formula: Formula) -> list[_Cube]:
    """Return products of bits whose exclusive or is the formula."""
    cubes: list[_Cube] = []

    def split(rest: Formula, taken: _Cube) -> None:
        if rest == FALSE:
            return
        if len(cubes) >= _MAX_CUBES:
            raise too_large(f"a computed bit expands to more than {_MAX_CUBES} cases")
        if rest == TRUE:
            cubes.append(taken)
        elif rest.kind == "xor":
            for part in rest.parts:
                split(part, taken)
        elif rest.kind == "not" and rest.parts[0].kind == "xor":
            split(TRUE, taken)
            split(rest.parts[0], taken)
        else:
            pivot = min(rest.bits)
            for value, given in ((False, FALSE), (True, TRUE)):
                split(rest.substitute(lambda k: given if k == pivot else bit(k)), (*taken, (pivot, value)))  # noqa: B023

    split(formula, ())
    return cubes
