# SPDX-License-Identifier: Apache-2.0
"""Gates as OpenQASM 3 programs define and use them: expanded to gates of the hub, with modifiers, over registers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import Bits, Table, Type, Value, Word, equal, number, truth, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, GateDefinition, Qubits, Variable
from qonduit_server.ir.controls import Step
from qonduit_server.ir.formula import TRUE
from qonduit_server.languages import gate_modifiers
from qonduit_server.languages.openqasm3 import operands, standard_gates
from qonduit_server.languages.openqasm3.context import Reading
from qonduit_server.languages.openqasm3.expression_evaluation import evaluate, integer


def define(reading: Reading, node: ast.QuantumGateDefinition) -> None:
    """A gate definition, which is read when the gate is used."""
    name = node.name.name
    if name in reading.library:
        reading.warn(f"the gate {name!r} is the program's own, not the one of the library")
    reading.scopes.declare(name, GateDefinition(node))


def gate(reading: Reading, node: ast.QuantumGate) -> None:
    """A gate on its operands."""
    operation = reading.operations.get(node.name.name)
    if operation is not None and not isinstance(reading.scopes.lookup(node.name.name), GateDefinition):
        operation(reading, node)
        return
    parameters = [number(evaluate(reading, each)) for each in node.arguments]
    qubits = [operands.qubits(reading, each) for each in node.qubits]

    def apply(known: list[Value]) -> None:
        name = node.name.name
        steps, size = _steps_of(reading, name, tuple(_parameter(reading, each) for each in known))
        steps, size = _modified(reading, node.modifiers, steps, size)
        if size != len(qubits):
            raise wrong(f"{name!r} acts on {size} qubits here, not {len(qubits)}")
        _broadcast(reading, steps, size, qubits)

    if any(isinstance(each, Table) for each in parameters):
        _for_each_value(reading, parameters, apply)
    else:  # at once, for gates are nested deep
        apply(parameters)


def phase(reading: Reading, node: ast.QuantumPhase) -> None:
    """gphase, whose operands are those of its modifiers."""
    angle = number(evaluate(reading, node.argument))
    # Braket writes the qubits of a phase that has no controls; they make no difference.
    qubits = [operands.qubits(reading, each) for each in node.qubits] if node.modifiers else []

    def apply(known: list[Value]) -> None:
        steps, controls = _modified(reading, node.modifiers, gate_modifiers.phase(_real(known[0])), 0)
        _broadcast(reading, steps, controls, qubits)

    _for_each_value(reading, [angle], apply)


def _for_each_value(reading: Reading, values: list[Value], action: Callable[[list[Value]], None]) -> None:
    """Do something once for each combination of values that measurements may give, under that condition."""
    place = next((k for k, value in enumerate(values) if isinstance(value, Table)), None)
    if place is None:
        action(values)
        return
    table = values[place]
    assert isinstance(table, Table)
    for each in dict.fromkeys(table.values):
        rest = [*values[:place], each, *values[place + 1 :]]

        def then(rest: list[Value] = rest) -> None:
            _for_each_value(reading, rest, action)

        reading.conditions.branch(truth(equal(table, each)), then, lambda: None)


def _broadcast(reading: Reading, steps: Sequence[Step], size: int, qubits: Sequence[Qubits]) -> None:
    """Put a gate of `size` qubits into the hub, once for each element of the registers it is given."""
    if len(qubits) != size:
        raise wrong(f"{size} qubits are needed here, not {len(qubits)}")
    lengths = {len(each.places) for each in qubits if not each.scalar}
    if len(lengths) > 1:
        raise wrong("the registers a gate acts on differ in size")
    rounds = lengths.pop() if lengths else 1
    body = reading.gate_body
    if body is not None and reading.conditions.guard != TRUE:
        raise unsupported("a gate's body that depends on a measurement")
    if body is not None:
        reading.builder.spend(len(steps) * rounds)
    for k in range(rounds):
        places = [each.places[0] if each.scalar else each.places[k] for each in qubits]
        if len(set(places)) != len(places):
            raise wrong("a gate acts on one qubit twice")
        if body is not None:
            body.extend([(gate, tuple([places[place] for place in own])) for gate, own in steps])
            continue
        for gate, own in steps:
            if own:  # a global phase of the whole program is seen by nobody
                reading.emit(gate, tuple(places[place] for place in own))


def _steps_of(reading: Reading, name: str, parameters: tuple[float, ...]) -> tuple[list[Step], int]:
    """What a gate is made of, on places 0, 1, ...; and how many."""
    entry = reading.scopes.lookup(name)
    if isinstance(entry, GateDefinition):
        return _defined(reading, entry.node, parameters), len(entry.node.qubits)
    library = reading.library
    known = library.get(name)
    if known is None and "cx" in library and name in standard_gates.EXTRA:
        known = standard_gates.EXTRA[name]
        reading.warn(f"the gate {name!r} is not in stdgates.inc; taken for the usual one")
    if known is None:  # a variable of the same name stands in nobody's way
        hint = "" if "cx" in library else ' (the program does not include "stdgates.inc")'
        raise ProgramError("UNKNOWN_GATE", f"there is no gate {name!r}: define it with `gate`{hint}")
    if len(parameters) != known.parameters:
        raise wrong(f"{name!r} takes {known.parameters} parameters, not {len(parameters)}")
    return known.steps([float(each) for each in parameters]), known.qubits


def _defined(reading: Reading, node: ast.QuantumGateDefinition, parameters: tuple[float, ...]) -> list[Step]:
    if len(parameters) != len(node.arguments):
        raise wrong(f"{node.name.name!r} takes {len(node.arguments)} parameters, not {len(parameters)}")
    key = (id(node), repr(parameters))  # 1 and 1.0 may be divided differently
    kept = reading.expansions.get(key)
    if kept is not None:
        return kept
    names: dict[str, Entry] = {}
    for argument, value in zip(node.arguments, parameters, strict=True):
        names[argument.name] = Variable(argument.name, Type("float"), value, constant=True)
    for place, qubit in enumerate(node.qubits):
        names[qubit.name] = Qubits((place,), scalar=True)
    steps: list[Step] = []
    outer, reading.gate_body = reading.gate_body, steps
    rounds, reading.rounds = reading.rounds, []
    calls, reading.call_guards = reading.call_guards, []
    try:
        with reading.scopes.apart(constants_only=True), reading.conditions.under(TRUE):
            reading.block(node.body, names)
    finally:
        reading.gate_body, reading.rounds, reading.call_guards = outer, rounds, calls
    reading.expansions[key] = steps
    return steps


def _modified(
    reading: Reading, given: Sequence[ast.QuantumGateModifier], steps: list[Step], size: int
) -> tuple[list[Step], int]:
    """Apply inv, pow, ctrl and negctrl, the innermost first; returns the steps and how many qubits they act on."""
    for modifier in reversed(given):
        kind = modifier.modifier.name
        if kind == "inv":
            steps = gate_modifiers.inverse(steps)
        elif kind == "pow":
            assert modifier.argument is not None
            exponent = number(evaluate(reading, modifier.argument))
            if isinstance(exponent, Table):
                raise unsupported("pow() by a number that depends on a measurement")
            steps = gate_modifiers.power(steps, _real(exponent), size, reading.builder.spend)
        else:
            controls = 1 if modifier.argument is None else integer(reading, modifier.argument, "a number of controls")
            if controls < 1:
                raise wrong("ctrl() needs at least one control")
            steps = gate_modifiers.control(steps, controls, None if kind == "ctrl" else 0)
            size += controls
        if len(steps) > 1:
            reading.builder.spend(len(steps))
    return steps, size


def _parameter(reading: Reading, value: Value) -> float:
    """A gate's parameter, which stays a whole number where that makes a difference."""
    return value if reading.division_rounds_down and isinstance(value, int) else _real(value)


def _real(value: Value) -> float:
    if isinstance(value, complex | Bits | Table | Word):
        raise wrong("a gate's parameter is not a real number")
    if not math.isfinite(value):
        raise wrong("a gate's parameter is not a finite number")
    return float(value)
