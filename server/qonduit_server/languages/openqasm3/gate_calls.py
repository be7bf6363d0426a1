# SPDX-License-Identifier: Apache-2.0
"""Gate definitions and calls of OpenQASM 3, expanded to IR gates, with modifiers, over registers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import Bits, Table, Type, Value, Word, equal, number, truth, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, GateDefinition, Qubits, Variable
from qonduit_server.ir.controls import Step
from qonduit_server.ir.formula import TRUE
from qonduit_server.ir.symbolic import NotSymbolic, expression_of, is_symbolic
from qonduit_server.ir.visitor import standard_name
from qonduit_server.languages import gate_modifiers, named_gates
from qonduit_server.languages.openqasm3 import operands, standard_gates
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import evaluate, integer


def define(context: EvaluationContext, node: ast.QuantumGateDefinition) -> None:
    """Define a gate; its body is read at the first use."""
    name = node.name.name
    if name in context.library:
        context.warn(f"the program's definition of the gate {name!r} replaces that of the library")
    context.scopes.declare(name, GateDefinition(node))


def gate(context: EvaluationContext, node: ast.QuantumGate) -> None:
    """Apply a gate to its operands."""
    operation = context.operations.get(node.name.name)
    if operation is not None and not isinstance(context.scopes.lookup(node.name.name), GateDefinition):
        operation(context, node)
        return
    parameters = [number(evaluate(context, each)) for each in node.arguments]
    qubits = [operands.qubits(context, each) for each in node.qubits]

    def apply(known: list[Value]) -> None:
        name = node.name.name
        steps, size = _steps_of(context, name, tuple(_parameter(context, each) for each in known))
        if node.modifiers:
            steps, size = _modified(context, node.modifiers, steps, size)
        elif context.gate_names and _is_named(context, name, steps):
            steps = named_gates.named(name, steps, size)
        if size != len(qubits):
            raise wrong(f"{name!r} acts on {size} qubits here, not {len(qubits)}")
        _broadcast(context, steps, size, qubits)

    if any(isinstance(each, Table) for each in parameters):
        _for_each_value(context, parameters, apply)
    else:  # directly, since gates are nested deep
        apply(parameters)


def phase(context: EvaluationContext, node: ast.QuantumPhase) -> None:
    """Apply gphase; its operands are the controls of its modifiers."""
    angle = number(evaluate(context, node.argument))
    # Braket writes qubits for a phase without controls; they have no effect.
    qubits = [operands.qubits(context, each) for each in node.qubits] if node.modifiers else []

    def apply(known: list[Value]) -> None:
        steps, controls = _modified(context, node.modifiers, gate_modifiers.phase(expression_of(_real(known[0]))), 0)
        _broadcast(context, steps, controls, qubits)

    _for_each_value(context, [angle], apply)


def _for_each_value(context: EvaluationContext, values: list[Value], action: Callable[[list[Value]], None]) -> None:
    """Run an action for each combination of measured values, under the condition that they occur."""
    place = next((k for k, value in enumerate(values) if isinstance(value, Table)), None)
    if place is None:
        action(values)
        return
    table = values[place]
    assert isinstance(table, Table)
    for each in dict.fromkeys(table.values):
        rest = [*values[:place], each, *values[place + 1 :]]

        def then(rest: list[Value] = rest) -> None:
            _for_each_value(context, rest, action)

        context.conditions.branch(truth(equal(table, each)), then, lambda: None)


def _broadcast(context: EvaluationContext, steps: Sequence[Step], size: int, qubits: Sequence[Qubits]) -> None:
    """Append a gate of `size` qubits to the IR for each element of its register operands."""
    if len(qubits) != size:
        raise wrong(f"{size} qubits are needed here, not {len(qubits)}")
    lengths = {len(each.places) for each in qubits if not each.scalar}
    if len(lengths) > 1:
        raise wrong("the registers of a gate call differ in size")
    rounds = lengths.pop() if lengths else 1
    body = context.gate_body
    if body is not None and context.conditions.guard != TRUE:
        raise unsupported("a gate's body that depends on a measurement")
    if body is not None:
        context.builder.spend(len(steps) * rounds)
    for k in range(rounds):
        places = [each.places[0] if each.scalar else each.places[k] for each in qubits]
        if len(set(places)) != len(places):
            raise wrong("a gate acts on one qubit twice")
        if body is not None:
            body.extend([(gate, tuple([places[place] for place in own])) for gate, own in steps])
            continue
        for gate, own in steps:
            if own:  # a global phase of the whole program is not observable
                context.emit(gate, tuple(places[place] for place in own))


def _steps_of(context: EvaluationContext, name: str, parameters: tuple[float, ...]) -> tuple[list[Step], int]:
    """Return the steps of a gate on places 0, 1, ..., and the number of places."""
    entry = context.scopes.lookup(name)
    if isinstance(entry, GateDefinition):
        return _defined(context, entry.node, parameters), len(entry.node.qubits)
    library = context.library
    known = library.get(name)
    if known is None and "cx" in library and name in standard_gates.EXTRA:
        known = standard_gates.EXTRA[name]
        context.warn(f"the gate {name!r} is not in stdgates.inc; the usual definition is used")
    if known is None:  # a variable of the same name does not matter
        hint = "" if "cx" in library else ' (the program does not include "stdgates.inc")'
        raise ProgramError("UNKNOWN_GATE", f"there is no gate {name!r}: define it with `gate`{hint}")
    if len(parameters) != known.parameters:
        raise wrong(f"{name!r} takes {known.parameters} parameters, not {len(parameters)}")
    return known.steps([expression_of(each) if is_symbolic(each) else float(each) for each in parameters]), (
        known.qubits
    )


def _is_named(context: EvaluationContext, name: str, steps: Sequence[Step]) -> bool:
    """Whether a gate is kept whole: one of the names that the program defines, or that OpenQASM has no name for."""
    if name not in context.gate_names:
        return False
    return isinstance(context.scopes.lookup(name), GateDefinition) or not (
        len(steps) == 1 and standard_name(steps[0][0])
    )


def _defined(context: EvaluationContext, node: ast.QuantumGateDefinition, parameters: tuple[float, ...]) -> list[Step]:
    if len(parameters) != len(node.arguments):
        raise wrong(f"{node.name.name!r} takes {len(node.arguments)} parameters, not {len(parameters)}")
    key = (id(node), repr(parameters))  # division may treat 1 and 1.0 differently
    kept = context.expansions.get(key)
    if kept is not None:
        return kept
    names: dict[str, Entry] = {}
    for argument, value in zip(node.arguments, parameters, strict=True):
        names[argument.name] = Variable(argument.name, Type("float"), value, constant=True)
    for place, qubit in enumerate(node.qubits):
        names[qubit.name] = Qubits((place,), scalar=True)
    steps: list[Step] = []
    outer, context.gate_body = context.gate_body, steps
    rounds, context.rounds = context.rounds, []
    calls, context.call_guards = context.call_guards, []
    try:
        with context.scopes.apart(constants_only=True), context.conditions.under(TRUE):
            context.block(node.body, names)
    finally:
        context.gate_body, context.rounds, context.call_guards = outer, rounds, calls
    context.expansions[key] = steps
    return steps


def _modified(
    context: EvaluationContext, given: Sequence[ast.QuantumGateModifier], steps: list[Step], size: int
) -> tuple[list[Step], int]:
    """Apply inv, pow, ctrl and negctrl, the innermost first; returns the steps and how many qubits they act on."""
    steps = named_gates.inlined(steps) if context.gate_names else steps
    for modifier in reversed(given):
        kind = modifier.modifier.name
        if kind == "inv":
            steps = gate_modifiers.inverse(steps)
        elif kind == "pow":
            assert modifier.argument is not None
            exponent = number(evaluate(context, modifier.argument))
            if isinstance(exponent, Table):
                raise unsupported("pow() by a number that depends on a measurement")
            steps = gate_modifiers.power(steps, _real(exponent), size, context.builder.spend)
        else:
            controls = 1 if modifier.argument is None else integer(context, modifier.argument, "a number of controls")
            if controls < 1:
                raise wrong("ctrl() needs at least one control")
            if context.gate_names and gate_modifiers.has_open_phase(steps):
                raise NotSymbolic("with a noise model, a controlled phase depends on a free input")
            steps = gate_modifiers.control(steps, controls, None if kind == "ctrl" else 0)
            size += controls
        if len(steps) > 1:
            context.builder.spend(len(steps))
    return steps, size


def _parameter(context: EvaluationContext, value: Value) -> float:
    """Return a gate's parameter, as an integer where that makes a difference."""
    return value if context.division_rounds_down and isinstance(value, int) else _real(value)


def _real(value: Value) -> float:
    if isinstance(value, complex | Bits | Table | Word):
        raise wrong("a gate's parameter is not a real number")
    if is_symbolic(value):
        return value
    if not math.isfinite(value):
        raise wrong("a gate's parameter is not a finite number")
    return float(value)
