# SPDX-License-Identifier: Apache-2.0
"""Statements of OpenQASM 3: dispatches each to the file of its construct."""

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
from qonduit_server.languages.openqasm3.context import EvaluationContext, Statement, Undecided
from qonduit_server.languages.program_inputs import unused
from qonduit_server.languages.signatures import NO_NAMES, Inputs
from qonduit_server.languages.source_text import Position, refusal

#: Statements that are executed for each value of an index or range that depends on a measurement.
_DECIDABLE: Final = (
    ast.QuantumGate,
    ast.QuantumReset,
    ast.QuantumMeasurementStatement,
    ast.ClassicalAssignment,
    ast.ForInLoop,
)


def start(inputs: Inputs, gate_names: frozenset[str] = NO_NAMES) -> EvaluationContext:
    """Return a program of which nothing is read yet."""
    return EvaluationContext(_execute, subroutines.call, inputs, gate_names)


def read(context: EvaluationContext, statements: Sequence[Statement]) -> None:
    """Read a program from its tree.

    Raises:
        ProgramError: with line and column where they are known.
    """
    try:
        for each in statements:
            _execute(context, each)
    except control_flow.End:
        pass


def registers(context: EvaluationContext) -> tuple[ClassicalRegister, ...]:
    """Return the result registers of a program."""
    shown = context.outputs or [
        entry
        for entry in context.scopes.outermost.values()
        if isinstance(entry, Variable) and entry.type.kind == "bit" and not entry.constant
    ]
    registers = []
    for each in shown:
        if isinstance(each.value, tuple):
            context.warn(f"the array {each.name!r} is not shown: results hold registers of bits")
            continue
        bits = tuple(_shown(each))
        registers.append(ClassicalRegister(each.name, bits[::-1] if context.first_bit_is_highest else bits))
    return tuple(registers)


def finish(context: EvaluationContext, shown: tuple[ClassicalRegister, ...]) -> Circuit:
    """Return the circuit of a program with its result registers; physical qubits are in order of their numbers."""
    places = sorted(context.physical.values())
    numbered = [context.physical[name] for name in sorted(context.physical, key=lambda name: int(name[1:]))]
    if numbered != places:
        moved = dict(zip(numbered, places, strict=True))
        context.builder.renumber({place: moved.get(place, place) for place in range(context.builder.qubits)})
    warnings = (*context.warnings, *unused(context.inputs, context.inputs_used))
    return Circuit(context.builder.finish(), shown, warnings, context.builder.lines)


def _shown(variable: Variable) -> Iterator[int | Formula]:
    """Return the bits of a register in a result."""
    value = variable.value
    assert isinstance(value, Bits)
    for place, formula in enumerate(value.formulas):
        if formula.kind == "bit":
            yield formula.number
        elif formula == FALSE and place in variable.homes:
            yield variable.homes[place]
        else:
            yield formula


def _execute(context: EvaluationContext, node: Statement) -> None:
    if node.span is not None:
        context.builder.line = node.span.start_line
    before = len(context.builder.block.steps)
    try:
        try:
            _dispatch(context, node)
        except Undecided as error:
            if not isinstance(node, _DECIDABLE) or len(context.builder.block.steps) > before:
                raise unsupported(error.message) from None
            _decide(context, node, error)
    except ProgramError as error:
        if not error.line and node.span is not None:
            where = Position(node.span.start_line, node.span.start_column + 1)
            raise refusal(error.reason, error.message, where) from None
        raise


def _decide(context: EvaluationContext, node: Statement, undecided: Undecided) -> None:
    """Execute a statement for each possible value of an index or range, each under its condition."""
    table, key = undecided.table, id(undecided.node)
    for value in dict.fromkeys(table.values):
        if not isinstance(value, int):
            raise wrong("an index or a range is not a whole number")

        def execute(value: int = value) -> None:
            context.decided[key] = value
            try:
                _execute(context, node)
            finally:
                del context.decided[key]

        context.branch(truth(equal(table, value)), execute)


def _dispatch(context: EvaluationContext, node: Statement) -> None:  # noqa: C901 - a table, one call a case
    match node:
        case ast.QuantumGate():
            gate_calls.gate(context, node)
        case ast.QuantumPhase():
            gate_calls.phase(context, node)
        case ast.QuantumMeasurementStatement():
            assignment.measure(context, node)
        case ast.QuantumBarrier():
            _barrier(context, node)
        case ast.QuantumReset():
            for place in operands.qubits(context, node.qubits).places:
                context.emit(Reset(), (place,))
        case ast.QubitDeclaration():
            declarations.declare_qubits(context, node)
        case ast.ClassicalDeclaration() | ast.ConstantDeclaration():
            declarations.declare(context, node)
        case ast.IODeclaration():
            declarations.declare_io(context, node)
        case ast.ClassicalAssignment():
            assignment.assign(context, node)
        case ast.BranchingStatement():
            control_flow.branch(context, node)
        case ast.ForInLoop():
            control_flow.for_loop(context, node)
        case ast.WhileLoop():
            control_flow.while_loop(context, node)
        case ast.SwitchStatement():
            control_flow.switch(context, node)
        case ast.BreakStatement() | ast.ContinueStatement():
            control_flow.leave(context, node)
        case ast.EndStatement():
            control_flow.end(context)
        case ast.AliasStatement():
            context.scopes.declare(node.target.name, operands.aliased(context, node.value))
        case ast.QuantumGateDefinition():
            gate_calls.define(context, node)
        case ast.SubroutineDefinition():
            context.scopes.declare(node.name.name, Subroutine(node))
        case ast.ExpressionStatement():
            subroutines.call_alone(context, node)
        case ast.ReturnStatement():
            subroutines.leave(context, node)
        case ast.CompoundStatement():
            context.block(node.statements)
        case ast.Box():
            context.block(node.body)
        case ast.Include():
            _include(context, node)
        case ast.DelayInstruction():
            context.warn("delays are not simulated")
        case ast.Pragma():
            context.pragma(context, node)
        case _:
            raise unsupported(f"{_words(node)} is not supported")


def _barrier(context: EvaluationContext, node: ast.QuantumBarrier) -> None:
    places = [place for each in node.qubits for place in operands.qubits(context, each).places]
    if context.gate_body is None and (places or not node.qubits):
        every = places or list(range(context.builder.qubits))
        if every:
            context.builder.spend(len(every) // 16)  # wide operations need memory
            context.emit(Barrier(len(every)), tuple(every))


def _include(context: EvaluationContext, node: ast.Include) -> None:
    if node.filename != "stdgates.inc":
        raise unsupported('only include "stdgates.inc" is read; put other definitions into the program itself')
    context.library.update(standard_gates.STANDARD)


def _words(node: object) -> str:
    name = type(node).__name__
    return "".join(" " + letter.lower() if letter.isupper() else letter for letter in name).strip()
