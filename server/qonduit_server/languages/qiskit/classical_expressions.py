# SPDX-License-Identifier: Apache-2.0
"""Classical expressions of Qiskit's circuits, evaluated while a circuit is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr, types

from qonduit_server.ir.classical.arithmetic import binary
from qonduit_server.ir.classical.values import (
    Bits,
    Table,
    Type,
    Value,
    Word,
    apply,
    as_bits,
    checked,
    equal,
    number,
    truth,
    unsupported,
    wrong,
)
from qonduit_server.ir.formula import FALSE, Formula, choice, constant, negation

#: Returns the value of a bit, a register or a variable of the circuit at the expression.
Read: TypeAlias = Callable[[Clbit | ClassicalRegister | expr.Var], Value]

_SIGNS = {
    expr.Binary.Op.BIT_AND: "&",
    expr.Binary.Op.BIT_OR: "|",
    expr.Binary.Op.BIT_XOR: "^",
    expr.Binary.Op.LOGIC_AND: "&&",
    expr.Binary.Op.LOGIC_OR: "||",
    expr.Binary.Op.EQUAL: "==",
    expr.Binary.Op.NOT_EQUAL: "!=",
    expr.Binary.Op.LESS: "<",
    expr.Binary.Op.LESS_EQUAL: "<=",
    expr.Binary.Op.GREATER: ">",
    expr.Binary.Op.GREATER_EQUAL: ">=",
    expr.Binary.Op.ADD: "+",
    expr.Binary.Op.SUB: "-",
    expr.Binary.Op.MUL: "*",
    expr.Binary.Op.DIV: "/",
}


def condition(given: Any, read: Read) -> Formula:
    """Return the condition of a branch or loop: an expression, or a bit or register with its required value."""
    if isinstance(given, expr.Expr):
        return truth(evaluate(given, read))
    target, value = given
    return truth(equal(read(target), int(value)))


def evaluate(node: expr.Expr, read: Read) -> Value:
    """Return the value of an expression, in the form of its type: bits for Booleans and integers.

    Raises:
        ProgramError: the expression is not supported.
    """
    if isinstance(node, expr.Var):
        return read(node if node.standalone else node.var)
    return typed(node.type, _computed(node, read))


def typed(kind: types.Type, value: Value) -> Value:
    """Return a value converted to a Qiskit type; higher bits are cut off."""
    if isinstance(kind, types.Bool):
        return Bits((truth(value),), scalar=True)
    if isinstance(kind, types.Uint):
        if isinstance(value, Bits):
            return Bits((value.formulas + (FALSE,) * kind.width)[: kind.width])
        width = kind.width
        if isinstance(value, Word):
            return as_bits(value, width)
        return as_bits(apply(lambda v: _floor(v) & (1 << width) - 1, value), width)
    if isinstance(kind, types.Float):
        return apply(_float, value)
    raise unsupported("durations are not computed with: this server keeps no times")


def declared(kind: types.Type) -> Type:
    """Return the type of a variable, for checks of inputs."""
    if isinstance(kind, types.Uint):
        return Type("uint", kind.width)
    return Type("bool" if isinstance(kind, types.Bool) else "float" if isinstance(kind, types.Float) else "duration")


def indexed(bits: Bits, place: Value) -> Formula:
    """Return one of several bits; the index may depend on measurements."""
    place = number(place)
    if isinstance(place, Table):
        result = FALSE
        for k, formula in enumerate(bits.formulas):
            result = checked(choice(truth(equal(place, k)), formula, result))
        return result
    if not isinstance(place, int) or place >= len(bits.formulas):
        raise wrong(f"index {place} is out of range: the size is {len(bits.formulas)}")
    return bits.formulas[place]


def replaced(bits: Bits, place: Value, formula: Formula) -> Bits:
    """Return the bits with one of them replaced; the index may depend on measurements."""
    if not isinstance(number(place), Table):
        indexed(bits, place)
    return Bits(
        tuple(checked(choice(truth(equal(place, k)), formula, old)) for k, old in enumerate(bits.formulas)),
        bits.scalar,
    )


def _computed(node: expr.Expr, read: Read) -> Value:
    if isinstance(node, expr.Value):
        if isinstance(node.value, bool | int | float):
            return Bits((constant(node.value),), scalar=True) if isinstance(node.value, bool) else node.value
        raise unsupported("durations are not computed with: this server keeps no times")
    if isinstance(node, expr.Cast):
        return evaluate(node.operand, read)
    if isinstance(node, expr.Unary):
        value = evaluate(node.operand, read)
        if node.op is expr.Unary.Op.LOGIC_NOT:
            return Bits((negation(truth(value)),), scalar=True)
        if node.op is expr.Unary.Op.BIT_NOT and isinstance(value, Bits):
            return Bits(tuple(negation(formula) for formula in value.formulas), value.scalar)
        return apply(lambda v: -v, number(value))
    if isinstance(node, expr.Index):
        target = evaluate(node.target, read)
        if isinstance(target, Bits):
            return Bits((indexed(target, evaluate(node.index, read)),), scalar=True)
    if isinstance(node, expr.Binary):
        return _binary(node, evaluate(node.left, read), evaluate(node.right, read))
    raise unsupported(f"{type(node).__name__} cannot be used as a value")


def _binary(node: expr.Binary, left: Value, right: Value) -> Value:
    ops = expr.Binary.Op
    if node.op in (ops.SHIFT_LEFT, ops.SHIFT_RIGHT):
        by = number(right)
        if isinstance(node.type, types.Uint) and not isinstance(by, Table):
            sign = "<<" if node.op is ops.SHIFT_LEFT else ">>"
            return binary(sign, typed(node.type, left), by)
        shift = _left if node.op is ops.SHIFT_LEFT else _right
        return apply(lambda value, places: shift(int(value), int(places)), number(left), by)
    if node.op is ops.DIV and isinstance(node.type, types.Uint):
        return apply(lambda a, b: a // b, number(left), number(right))
    return binary(_SIGNS[node.op], left, right)


def _left(value: int, places: int) -> int:
    return value << places if places < 4096 else 0


def _right(value: int, places: int) -> int:
    return value >> places


def _floor(value: Any) -> int:
    return int(value)


def _float(value: Any) -> float:
    return float(value)


def either(left: Value, right: Value) -> Value:
    """Return the disjunction of two conditions."""
    return binary("||", left, right)
