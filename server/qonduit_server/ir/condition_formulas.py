# SPDX-License-Identifier: Apache-2.0
"""Conditions of an IR circuit's control flow as formulas, for providers without Qiskit's control flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qiskit.circuit import ClassicalRegister, Clbit
from qiskit.circuit.classical import expr, types

from qonduit_server.errors import DeviceError
from qonduit_server.ir.formula import FALSE, Formula, choice, conjunction, constant, disjunction, negation, parity

#: Returns the value of a classical bit at the condition.
Read = Callable[[Clbit], Formula]


def condition_formula(condition: Any, read: Read) -> Formula:
    """Return the condition of an if_else or while_loop: a pair of a bit or register and a value, or an expression."""
    if isinstance(condition, expr.Expr):
        return disjunction(bits_of_expression(condition, read))
    target, value = condition
    if isinstance(target, Clbit):
        return read(target) if value else negation(read(target))
    return equals([read(clbit) for clbit in target], int(value))


def equals(bits: Sequence[Formula], value: int) -> Formula:
    """Return whether bits, lowest first, equal a number."""
    if value < 0 or value >> len(bits):
        return FALSE
    return conjunction(each if value >> place & 1 else negation(each) for place, each in enumerate(bits))


def bits_of_expression(node: expr.Expr, read: Read) -> list[Formula]:
    """Return the bits of an expression, lowest first; a Boolean is one bit.

    Raises:
        DeviceError: the expression has operations other than logic and comparison.
    """
    if isinstance(node, expr.Var):
        if isinstance(node.var, Clbit):
            return [read(node.var)]
        if isinstance(node.var, ClassicalRegister):
            return [read(clbit) for clbit in node.var]
    if isinstance(node, expr.Value):
        width = node.type.width if isinstance(node.type, types.Uint) else 1
        return [constant(int(node.value) >> place & 1) for place in range(width)]
    result = None
    if isinstance(node, expr.Cast):
        result = _cast(node.type, bits_of_expression(node.operand, read))
    elif isinstance(node, expr.Unary):
        result = _unary(node.op, bits_of_expression(node.operand, read))
    elif isinstance(node, expr.Index):
        bits = bits_of_expression(node.target, read)
        if isinstance(node.index, expr.Value) and int(node.index.value) < len(bits):
            result = [bits[int(node.index.value)]]
    elif isinstance(node, expr.Binary):
        result = _binary(node.op, bits_of_expression(node.left, read), bits_of_expression(node.right, read))
    if result is not None:
        return result
    raise DeviceError(
        "UNSUPPORTED_CONSTRUCT", "only logic and comparison of measured bits are supported in conditions here"
    )


def _cast(kind: types.Type, bits: list[Formula]) -> list[Formula] | None:
    if isinstance(kind, types.Bool):
        return [disjunction(bits)]
    if isinstance(kind, types.Uint):
        return (bits + [FALSE] * kind.width)[: kind.width]
    return None


def _unary(op: expr.Unary.Op, bits: list[Formula]) -> list[Formula] | None:
    if op is expr.Unary.Op.BIT_NOT:
        return [negation(each) for each in bits]
    if op is expr.Unary.Op.LOGIC_NOT:
        return [negation(disjunction(bits))]
    return None


def _binary(op: expr.Binary.Op, left: list[Formula], right: list[Formula]) -> list[Formula] | None:
    width = max(len(left), len(right))
    pairs = list(zip(left + [FALSE] * (width - len(left)), right + [FALSE] * (width - len(right)), strict=True))
    ops = expr.Binary.Op
    match op:
        case ops.BIT_AND:
            return [conjunction(pair) for pair in pairs]
        case ops.BIT_OR:
            return [disjunction(pair) for pair in pairs]
        case ops.BIT_XOR:
            return [parity(pair) for pair in pairs]
        case ops.LOGIC_AND:
            return [conjunction((disjunction(left), disjunction(right)))]
        case ops.LOGIC_OR:
            return [disjunction((disjunction(left), disjunction(right)))]
        case ops.EQUAL:
            return [conjunction(negation(parity(pair)) for pair in pairs)]
        case ops.NOT_EQUAL:
            return [disjunction(parity(pair) for pair in pairs)]
        case ops.LESS:
            return [_less(pairs)]
        case ops.GREATER_EQUAL:
            return [negation(_less(pairs))]
        case ops.GREATER:
            return [_less([(b, a) for a, b in pairs])]
        case ops.LESS_EQUAL:
            return [negation(_less([(b, a) for a, b in pairs]))]
    return None


def _less(pairs: Sequence[tuple[Formula, Formula]]) -> Formula:
    result = FALSE
    for a, b in pairs:
        result = choice(parity((a, b)), b, result)
    return result
