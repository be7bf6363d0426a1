# SPDX-License-Identifier: Apache-2.0
"""Statements of OpenQASM 3, one after the other: each is handed to the file of its construct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from openqasm3 import ast
from qiskit.circuit import Barrier, Reset

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.classical.values import Bits, equal, truth, unsupported, wrong
from qonduit_server.ir.classical.variables import Subroutine, Variable
from qonduit_server.ir.formula import FALSE, Formula
from qonduit_server.languages.openqasm3 import (
    assignment,
    control_flow,
    declarations,
    gate_calls,
    operands,
    standard_gates,
    subroutines,
)
from qonduit_server.languages.openqasm3.context import Reading, Statement, Undecided
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.signatures import Inputs
from qonduit_server.languages.source_text import Position, refusal

#: Statements that are executed once for each value of an index or a range that depends on a measurement.
_DECIDABLE: Final = (
    ast.QuantumGate,
    ast.QuantumReset,
    ast.QuantumMeasurementStatement,
    ast.ClassicalAssignment,
    ast.ForInLoop,
)


def start(inputs: Inputs) -> Reading:
    """A program of which nothing is read yet."""
    return Reading(_execute, subroutines.call, inputs)


def read(reading: Reading, statements: Sequence[Statement]) -> None:
    """Read a program from its tree.

    Raises:
        ProgramError: with line and column where they are known.
    """
    try:
        for each in statements:
            _execute(reading, each)
    except control_flow.End:
        pass


def registers(reading: Reading) -> tuple[ClassicalRegister, ...]:
    """The registers of a program that was read."""
    shown = reading.outputs or [
        entry
        for entry in reading.scopes.outermost.values()
        if isinstance(entry, Variable) and entry.type.kind == "bit" and not entry.constant
    ]
    registers = []
    for each in shown:
        if isinstance(each.value, tuple):
            reading.warn(f"the array {each.name!r} is not shown: results hold registers of bits")
            continue
        bits = tuple(_shown(each))
        registers.append(ClassicalRegister(each.name, bits[::-1] if reading.first_bit_is_highest else bits))
    return tuple(registers)


def finish(reading: Reading, shown: tuple[ClassicalRegister, ...]) -> Circuit:
    """What a program came down to, with the registers that are shown; physical qubits in the order of their numbers."""
    places = sorted(reading.physical.values())
    numbered = [reading.physical[name] for name in sorted(reading.physical, key=lambda name: int(name[1:]))]
    if numbered != places:
        moved = dict(zip(numbered, places, strict=True))
        reading.builder.renumber({place: moved.get(place, place) for place in range(reading.builder.qubits)})
    warnings = (*reading.warnings, *unused(reading.inputs, reading.inputs_used))
    return Circuit(reading.builder.finish(), shown, warnings, reading.builder.lines)


def _shown(variable: Variable) -> Iterator[int | Formula]:
    """What a register's bits are in a result."""
    value = variable.value
    assert isinstance(value, Bits)
    for place, formula in enumerate(value.formulas):
        if formula.kind == "bit":
            yield formula.number
        elif formula == FALSE and place in variable.homes:
            yield variable.homes[place]
        else:
            yield formula


def _execute(reading: Reading, node: Statement) -> None:
    if node.span is not None:
        reading.builder.line = node.span.start_line
    before = len(reading.builder.block.steps)
    try:
        try:
            _dispatch(reading, node)
        except Undecided as error:
            if not isinstance(node, _DECIDABLE) or len(reading.builder.block.steps) > before:
                raise unsupported(error.message) from None
            _decide(reading, node, error)
    except ProgramError as error:
        if not error.line and node.span is not None:
            where = Position(node.span.start_line, node.span.start_column + 1)
            raise refusal(error.reason, error.message, where) from None
        raise


def _decide(reading: Reading, node: Statement, undecided: Undecided) -> None:
    """Execute a statement once for each value that an index or a range may have, each under its condition."""
    table, key = undecided.table, id(undecided.node)
    for value in dict.fromkeys(table.values):
        if not isinstance(value, int):
            raise wrong("an index or a range is not a whole number")

        def execute(value: int = value) -> None:
            reading.decided[key] = value
            try:
                _execute(reading, node)
            finally:
                del reading.decided[key]

        reading.branch(truth(equal(table, value)), execute)


def _dispatch(reading: Reading, node: Statement) -> None:  # noqa: C901 - a table, one call a case
    match node:
        case ast.QuantumGate():
            gate_calls.gate(reading, node)
        case ast.QuantumPhase():
            gate_calls.phase(reading, node)
        case ast.QuantumMeasurementStatement():
            assignment.measure(reading, node)
        case ast.QuantumBarrier():
            _barrier(reading, node)
        case ast.QuantumReset():
            for place in operands.qubits(reading, node.qubits).places:
                reading.emit(Reset(), (place,))
        case ast.QubitDeclaration():
            declarations.declare_qubits(reading, node)
        case ast.ClassicalDeclaration() | ast.ConstantDeclaration():
            declarations.declare(reading, node)
        case ast.IODeclaration():
            declarations.declare_io(reading, node)
        case ast.ClassicalAssignment():
            assignment.assign(reading, node)
        case ast.BranchingStatement():
            control_flow.branch(reading, node)
        case ast.ForInLoop():
            control_flow.for_loop(reading, node)
        case ast.WhileLoop():
            control_flow.while_loop(reading, node)
        case ast.SwitchStatement():
            control_flow.switch(reading, node)
        case ast.BreakStatement() | ast.ContinueStatement():
            control_flow.leave(reading, node)
        case ast.EndStatement():
            control_flow.end(reading)
        case ast.AliasStatement():
            reading.scopes.declare(node.target.name, operands.aliased(reading, node.value))
        case ast.QuantumGateDefinition():
            gate_calls.define(reading, node)
        case ast.SubroutineDefinition():
            reading.scopes.declare(node.name.name, Subroutine(node))
        case ast.ExpressionStatement():
            subroutines.call_alone(reading, node)
        case ast.ReturnStatement():
            subroutines.leave(reading, node)
        case ast.CompoundStatement():
            reading.block(node.statements)
        case ast.Box():
            reading.block(node.body)
        case ast.Include():
            _include(reading, node)
        case ast.DelayInstruction():
            reading.warn("delays are not simulated")
        case ast.Pragma():
            reading.pragma(reading, node)
        case _:
            raise unsupported(f"{_words(node)} is not supported")


def _barrier(reading: Reading, node: ast.QuantumBarrier) -> None:
    places = [place for each in node.qubits for place in operands.qubits(reading, each).places]
    if reading.gate_body is None and (places or not node.qubits):
        every = places or list(range(reading.builder.qubits))
        if every:
            reading.builder.spend(len(every) // 16)  # wide ones take memory
            reading.emit(Barrier(len(every)), tuple(every))


def _include(reading: Reading, node: ast.Include) -> None:
    if node.filename != "stdgates.inc":
        raise unsupported('only include "stdgates.inc" is read; put other definitions into the program itself')
    reading.library.update(standard_gates.STANDARD)


def _words(node: object) -> str:
    name = type(node).__name__
    return "".join(" " + letter.lower() if letter.isupper() else letter for letter in name).strip()
