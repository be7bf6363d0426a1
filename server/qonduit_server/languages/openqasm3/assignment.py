# SPDX-License-Identifier: Apache-2.0
"""Assignments of OpenQASM 3, including measurements: to variables, bits of registers, elements of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from openqasm3 import ast

from qonduit_server.ir.classical.arithmetic import binary
from qonduit_server.ir.classical.values import (
    INTEGER_BITS,
    MAX_ANGLE_BITS,
    Bits,
    Value,
    angle_bits,
    as_bits,
    coerce,
    truth_bit,
    unsupported,
    wrong,
)
from qonduit_server.ir.classical.variables import Held, Variable
from qonduit_server.languages.openqasm3 import measurement, operands
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import (
    bit_places,
    evaluate,
    integer,
    selected,
    viewed,
    whole_array,
)

#: Operators that apply to the bits of an angle.
_BITWISE: Final = frozenset(("<<", ">>", "&", "|", "^"))


def assign(context: EvaluationContext, node: ast.ClassicalAssignment) -> None:
    """Execute an assignment, `=` or a compound one such as `+=`."""
    array = whole_array(context, node.rvalue)
    value: Held = evaluate(context, node.rvalue) if array is None else array
    _store(context, node.lvalue, node.op.name.removesuffix("="), value)


def measure(context: EvaluationContext, node: ast.QuantumMeasurementStatement) -> None:
    """Execute `c = measure q`, or a measurement without a target."""
    if node.target is None:
        measured = measurement.measure(context, operands.qubits(context, node.measure.qubit).places).formulas
        if not context.runtime_loops:  # iterations of an IR loop are read more than once
            context.unnamed += measured
        return
    places = operands.measured(context, node.measure.qubit)
    entry = context.scopes.lookup(operands.target_name(node.target))
    operator = getattr(node, "operator", "")  # of `c |= measure q`
    if operator or (isinstance(entry, Variable) and entry.type.kind != "bit"):
        _store(context, node.target, operator, measurement.measure(context, places))
    else:
        measurement.measure_into(context, places, operands.bits(context, node.target))


def _store(
    context: EvaluationContext, target: ast.Identifier | ast.IndexedIdentifier, operator: str, value: Held
) -> None:
    entry = context.scopes.lookup(operands.target_name(target))
    if isinstance(entry, Variable) and isinstance(entry.value, tuple):
        _store_elements(context, entry, target, operator, value)
        return
    if isinstance(value, tuple):
        raise wrong(f"an array cannot be assigned to {operands.target_name(target)!r}")
    if isinstance(entry, Variable) and entry.type.kind != "bit":
        if isinstance(target, ast.Identifier):
            old = entry.value
            assert not isinstance(old, tuple)
            context.conditions.write(entry, _combined(context, entry, operator, old, value))
        else:
            _store_bits(context, entry, target, operator, value)
    else:
        view = operands.bits(context, target)
        if operator:
            value = binary(operator, viewed(view), value, context.division_rounds_down, context.keep)
        context.conditions.write_bits(view, _fitting(value, len(view.places)).formulas)


def _fitting(value: Value, width: int) -> Bits:
    return as_bits(truth_bit(value) if width == 1 else value, width)


def _combined(context: EvaluationContext, entry: Variable, operator: str, old: Value, value: Value) -> Value:
    """Return the value of a variable or array element after `old operator= value`."""
    if operator in _BITWISE and entry.type.kind == "angle" and entry.type.width:
        value = binary(operator, _bits_of(entry, old), value)
    elif operator:
        value = binary(operator, old, value, context.division_rounds_down, context.keep)
    return coerce(entry.type, value)


def _store_bits(
    context: EvaluationContext, entry: Variable, target: ast.IndexedIdentifier, operator: str, value: Value
) -> None:
    """Write some bits of an integer or an angle."""
    old = entry.value
    assert not isinstance(old, tuple)
    if context.first_bit_is_highest and not entry.type.width:
        raise wrong(f"{entry.name!r} is not declared with a size, as in int[8], so its bits cannot be indexed")
    whole = _bits_of(entry, old)
    places: tuple[int, ...] = tuple(range(len(whole.formulas)))
    for index in target.indices:
        own, _ = bit_places(context, index, len(places))
        places = tuple(places[place] for place in own)
    if operator:
        value = binary(operator, Bits(tuple(whole.formulas[place] for place in places)), value)
    formulas = list(whole.formulas)
    for place, formula in zip(places, _fitting(value, len(places)).formulas, strict=True):
        formulas[place] = formula
    context.conditions.write(entry, coerce(entry.type, Bits(tuple(formulas))))


def _bits_of(entry: Variable, value: Value) -> Bits:
    """Return the bits of an integer, or of an angle declared with a size."""
    kind, width = entry.type.kind, entry.type.width
    if kind == "angle" and 0 < width < MAX_ANGLE_BITS:
        return angle_bits(value, width)
    if kind not in ("int", "uint"):
        raise wrong(f"{entry.name!r} has no writable bits: a {kind}{'' if width else ' without a size'}")
    return as_bits(value, width or INTEGER_BITS)


def _store_elements(
    context: EvaluationContext,
    entry: Variable,
    target: ast.Identifier | ast.IndexedIdentifier,
    operator: str,
    value: Held,
) -> None:
    """Write an element, a row or a slice of an array."""
    path: list[ast.Expression | ast.RangeDefinition] = []
    for index in target.indices if isinstance(target, ast.IndexedIdentifier) else ():
        if isinstance(index, ast.DiscreteSet):
            raise unsupported(f"a set as the index of the array {entry.name!r}")
        path += index

    def put(old: Held, rest: Sequence[ast.Expression | ast.RangeDefinition], given: Held) -> Held:
        if rest:
            if not isinstance(old, tuple):
                raise wrong(f"the array {entry.name!r} has fewer dimensions")
            new = list(old)
            first = rest[0]
            if isinstance(first, ast.RangeDefinition):
                places = selected(context, first, len(old))
                for place, each in zip(places, _elements(entry, given, len(places)), strict=True):
                    new[place] = put(old[place], rest[1:], each)  # type: ignore[arg-type]
            else:
                place = integer(context, first, "an index")
                if not -len(old) <= place < len(old):
                    raise wrong(f"index {place} of {entry.name!r} is out of range: the size is {len(old)}")
                new[place] = put(old[place], rest[1:], given)  # type: ignore[arg-type]
            return tuple(new)
        if isinstance(old, tuple):
            same = _elements(entry, given, len(old))
            return tuple(put(a, (), b) for a, b in zip(old, same, strict=True))  # type: ignore[arg-type]
        if isinstance(given, tuple):
            raise wrong(f"an array cannot be assigned to an element of {entry.name!r}")
        return context.conditions.shortened(_combined(context, entry, operator, old, given))

    context.conditions.write(entry, put(entry.value, path, value))


def _elements(entry: Variable, given: Held, size: int) -> tuple[Held, ...]:
    """Return the elements of an array of this size."""
    if not isinstance(given, tuple) or len(given) != size:
        raise wrong(f"{entry.name!r} needs an array of the same shape")
    return given  # type: ignore[return-value]
