# SPDX-License-Identifier: Apache-2.0
"""Expressions of OpenQASM 3, evaluated while a program is read."""

from __future__ import annotations

import math
from typing import Final

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical import words
from qonduit_server.ir.classical.arithmetic import CONSTANTS, FUNCTIONS, binary
from qonduit_server.ir.classical.values import (
    INTEGER_BITS,
    MAX_ANGLE_BITS,
    MAX_INTEGER_BITS,
    Bits,
    Number,
    Table,
    Type,
    Value,
    Word,
    angle_bits,
    apply,
    as_bits,
    coerce,
    needs_words,
    number,
    of_formula,
    truth,
    unsupported,
    wrong,
)
from qonduit_server.ir.classical.variables import Path, Qubits, Slice, Subroutine, Variable, View, picked
from qonduit_server.ir.formula import FALSE, negation
from qonduit_server.ir.limits import too_large
from qonduit_server.languages.openqasm3.context import EvaluationContext, Undecided

#: Maximum number of elements of an array.
MAX_ELEMENTS: Final = 65_536


def evaluate(context: EvaluationContext, node: object) -> Value:  # noqa: C901 - a table, one case a kind
    """Evaluate to a number or bits."""
    match node:
        case ast.IntegerLiteral() | ast.FloatLiteral() | ast.BooleanLiteral() | ast.DurationLiteral():
            known: Number = node.value
            return known
        case ast.ImaginaryLiteral():
            return complex(0, node.value)
        case ast.BitstringLiteral():
            return as_bits(node.value, node.width)
        case ast.Identifier():
            return _named(context, node.name)
        case ast.UnaryExpression():
            return _unary(context, node)
        case ast.BinaryExpression():
            context.check_time()
            left, right = evaluate(context, node.lhs), evaluate(context, node.rhs)
            return binary(node.op.name, left, right, context.division_rounds_down, context.keep)
        case ast.Cast():
            return _cast(context, node)
        case ast.IndexExpression():
            return _index(context, node)
        case ast.Concatenation():
            left, right = evaluate(context, node.lhs), evaluate(context, node.rhs)
            if isinstance(left, Bits) and isinstance(right, Bits):
                first, second = (right, left) if context.first_bit_is_highest else (left, right)
                return Bits(first.formulas + second.formulas)
            raise unsupported("++ is supported for qubits and bits only")
        case ast.FunctionCall():
            return _function(context, node)
        case ast.SizeOf():
            return _size(context, node)
        case ast.DurationOf():
            raise unsupported("durationof: durations are not supported")
    raise unsupported(f"{type(node).__name__} cannot be used as a value")


def integer(context: EvaluationContext, node: ast.Expression, what: str) -> int:
    """Evaluate to an integer that must be known while reading; `what` names it in messages."""
    decided = context.decided.get(id(node))
    if decided is not None:
        return decided
    value = number(evaluate(context, node))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Table):
        raise Undecided(f"{what} depends on a measurement", node, value)
    if not isinstance(value, int):
        raise wrong(f"{what} is not a whole number")
    return int(value)


def declared_type(context: EvaluationContext, node: ast.ClassicalType) -> Type:
    """Return the type of a declaration."""
    kind = type(node).__name__.removesuffix("Type").lower()
    size = getattr(node, "size", None)
    width = 0
    if size is not None:
        width = integer(context, size, "a size")
        if width < 1:
            raise wrong("a size is not positive")
        if kind != "bit" and width > MAX_INTEGER_BITS:
            raise too_large(f"a number has more than {MAX_INTEGER_BITS} bits")
    return Type(kind, width)


def array_type(context: EvaluationContext, node: ast.ArrayType) -> tuple[Type, list[int]]:
    """Return an array's element type and its dimensions."""
    base = declared_type(context, node.base_type)
    sizes = [integer(context, each, "a size") for each in node.dimensions]
    if min(sizes) < 1 or math.prod(sizes) > MAX_ELEMENTS:
        raise too_large(f"an array has no element, or more than {MAX_ELEMENTS}")
    return base, sizes


def _named(context: EvaluationContext, name: str) -> Value:
    entry = context.scopes.lookup(name)
    if entry is None:
        if name in CONSTANTS:
            return CONSTANTS[name]
        raise ProgramError("SYNTAX_ERROR", f"{name!r} is not declared")
    if isinstance(entry, Variable):
        if isinstance(entry.value, tuple):
            raise unsupported(f"the array {name!r} can be used one element at a time only")
        return entry.value
    if isinstance(entry, View):
        return viewed(entry)
    raise wrong(f"{name!r} is not a classical value")


def viewed(view: View) -> Bits:
    """Return the current bits of a view."""
    value = view.variable.value
    assert isinstance(value, Bits)
    return Bits(tuple(value.formulas[place] for place in view.places), scalar=False)


def _unary(context: EvaluationContext, node: ast.UnaryExpression) -> Value:
    value = evaluate(context, node.expression)
    match node.op.name:
        case "!":
            return of_formula(negation(truth(value)))
        case "~":
            if isinstance(value, Bits):
                return Bits(tuple(negation(formula) for formula in value.formulas), value.scalar)
            return words.inverted(value)
    return words.negative(value, context.keep)


def _cast(context: EvaluationContext, node: ast.Cast) -> Value:
    kind = declared_type(context, node.type)
    value: Value | None = _bits_of_angle(context, node.argument) if kind.kind == "bit" and kind.width else None
    if value is not None:
        return coerce(kind, value)
    value = evaluate(context, node.argument)
    if kind.kind == "bit" and kind.width and isinstance(value, Bits) and value.scalar:
        value = Bits(value.formulas + (FALSE,) * (kind.width - 1))
    return coerce(kind, value)


def _bits_of_angle(context: EvaluationContext, node: ast.Expression) -> Bits | None:
    """Return the bits of an angle variable declared with a size; None for anything else."""
    entry = context.scopes.lookup(node.name) if isinstance(node, ast.Identifier) else None
    if not isinstance(entry, Variable) or entry.type.kind != "angle" or isinstance(entry.value, tuple):
        return None
    return angle_bits(entry.value, entry.type.width) if 0 < entry.type.width < MAX_ANGLE_BITS else None


def _function(context: EvaluationContext, node: ast.FunctionCall) -> Value:
    name = node.name.name
    entry = context.scopes.lookup(name)
    if isinstance(entry, Subroutine):
        returned = context.call(node, entry)
        if returned is None:
            raise wrong(f"{name!r} returns nothing")
        return returned
    arguments = [evaluate(context, each) for each in node.arguments]
    if name == "popcount" and len(arguments) == 1:
        counted = words.ones(arguments[0], context.keep) if needs_words(arguments[0]) else None
        return apply(lambda v: bin(int(v)).count("1"), arguments[0]) if counted is None else counted
    if name in ("rotl", "rotr") and len(arguments) == 2 and isinstance(arguments[0], Bits):
        by = number(arguments[1])
        if not isinstance(by, int):
            raise unsupported(f"{name} by a number that depends on a measurement")
        formulas = arguments[0].formulas
        by = (by if name == "rotr" else -by) % len(formulas)
        return Bits(formulas[by:] + formulas[:by])
    function = FUNCTIONS.get(name)
    if function is None:
        raise ProgramError("SYNTAX_ERROR", f"there is no function {name!r}")
    return apply(function, *arguments)


def _size(context: EvaluationContext, node: ast.SizeOf) -> int:
    target = node.target
    dimension = 0 if node.index is None else integer(context, node.index, "a dimension")
    array: object = whole_array(context, target)
    if array is not None:
        for _ in range(dimension):
            array = array[0] if isinstance(array, tuple) else None
        if not isinstance(array, tuple) or dimension < 0:
            raise wrong(f"an array has no dimension {dimension}")
        return len(array)
    if dimension:
        raise wrong("only an array has several dimensions")
    if isinstance(target, ast.Identifier):
        entry = context.scopes.lookup(target.name)
        if isinstance(entry, Qubits):
            return len(entry.places)
    value = evaluate(context, target)
    if isinstance(value, Bits):
        return len(value.formulas)
    raise wrong("sizeof needs a register or an array")


def indices(context: EvaluationContext, index: ast.IndexElement, size: int) -> tuple[tuple[int, ...], bool]:
    """Return the places that an index selects, and whether it is a single one."""
    if isinstance(index, ast.DiscreteSet):
        return tuple(_place(context, each, size) for each in index.values), False
    if len(index) != 1:
        raise unsupported("an index has more than one dimension")
    element = index[0]
    if isinstance(element, ast.RangeDefinition):
        return tuple(selected(context, element, size)), False
    return (_place(context, element, size),), True


def bit_places(context: EvaluationContext, index: ast.IndexElement, size: int) -> tuple[tuple[int, ...], bool]:
    """Return the places of bits that an index selects, lowest first, and whether it is a single one."""
    places, single = indices(context, index, size)
    if context.first_bit_is_highest:
        places = tuple(size - 1 - place for place in reversed(places))
    return places, single


def _width(context: EvaluationContext, node: ast.Expression) -> int:
    """Return the width of an integer whose bits are counted from the highest."""
    entry = context.scopes.lookup(node.name) if isinstance(node, ast.Identifier) else None
    if not isinstance(entry, Variable) or not entry.type.width:
        raise wrong("only an integer that is declared with a size, as in int[8], has bits that can be indexed")
    return entry.type.width


def _place(context: EvaluationContext, node: ast.Expression, size: int) -> int:
    place = integer(context, node, "an index")
    if not -size <= place < size:
        raise wrong(f"index {place} is out of range: the size is {size}")
    return place % size


def selected(context: EvaluationContext, node: ast.RangeDefinition, size: int | None = None) -> range:
    """Return a range with its end included.

    With a size, it selects from a register, and ends may be missing or negative.
    """
    step = 1 if node.step is None else integer(context, node.step, "a step")
    if step == 0:
        raise wrong("a range has step 0")
    if size is None:
        if node.start is None or node.end is None:
            raise wrong("a range needs a start and an end here")
        start, end = integer(context, node.start, "a range"), integer(context, node.end, "a range")
    else:
        start = _place(context, node.start, size) if node.start is not None else (0 if step > 0 else size - 1)
        end = _place(context, node.end, size) if node.end is not None else (size - 1 if step > 0 else 0)
    return range(start, end + (1 if step > 0 else -1), step)


def _index(context: EvaluationContext, node: ast.IndexExpression) -> Value:
    array = whole_array(context, node.collection)
    if array is not None:
        element = _pick(context, array, node.index)
        if isinstance(element, tuple):
            raise unsupported("an array can be assigned or passed to a subroutine, but not used in an expression")
        return element  # type: ignore[return-value]
    value = _bits_of_angle(context, node.collection) or evaluate(context, node.collection)
    if isinstance(value, Bits):
        if value.scalar:
            raise wrong("a single bit cannot be indexed")
        places, single = bit_places(context, node.index, len(value.formulas))
        return Bits(tuple(value.formulas[place] for place in places), scalar=single)
    if isinstance(value, int | Table | Word):
        width = _width(context, node.collection) if context.first_bit_is_highest else INTEGER_BITS
        bits = as_bits(value, width)
        places, single = bit_places(context, node.index, width)
        return Bits(tuple(bits.formulas[place] for place in places), scalar=single)
    raise wrong("this value cannot be indexed")


def whole_array(context: EvaluationContext, node: ast.Expression) -> tuple[object, ...] | None:
    """Return the array, or part of one, that an expression refers to; None for any other expression."""
    if isinstance(node, ast.Identifier):
        entry = context.scopes.lookup(node.name)
        return entry.value if isinstance(entry, Variable) and isinstance(entry.value, tuple) else None
    if isinstance(node, ast.IndexExpression):
        outer = whole_array(context, node.collection)
        if outer is not None:
            element = _pick(context, outer, node.index)
            return element if isinstance(element, tuple) else None
    return None


def _pick(context: EvaluationContext, array: tuple[object, ...], index: ast.IndexElement) -> object:
    return picked(array, _path(context, array, index))


def _path(context: EvaluationContext, array: tuple[object, ...], index: ast.IndexElement) -> Path:
    """Return the path that an index selects in an array."""
    if isinstance(index, ast.DiscreteSet):
        raise unsupported("a set as the index of an array")
    path: list[int | range] = []
    element: object = array
    for each in index:
        if not isinstance(element, tuple):
            raise wrong("an array has fewer dimensions than its index")
        size = len(element)
        path.append(
            selected(context, each, size) if isinstance(each, ast.RangeDefinition) else _place(context, each, size)
        )
        element = element[0] if element else None
    return tuple(path)


def array_slice(context: EvaluationContext, node: ast.Expression, name: str, constant: bool) -> Slice | None:
    """Return an alias of the array, or part of one, that an expression refers to; None for other expressions."""
    if isinstance(node, ast.Identifier):
        entry = context.scopes.lookup(node.name)
        if isinstance(entry, Variable) and isinstance(entry.value, tuple):
            return Slice(name, entry, (), constant)
    elif isinstance(node, ast.IndexExpression):
        whole = array_slice(context, node.collection, name, constant)
        if whole is not None:
            assert isinstance(whole.value, tuple)
            found = Slice(name, whole, _path(context, whole.value, node.index), constant)
            return found if isinstance(found.value, tuple) else None
    return None
