# SPDX-License-Identifier: Apache-2.0
"""Operands of OpenQASM 3: the qubits and bits that they refer to."""

from __future__ import annotations

from typing import Final

from openqasm3 import ast

from qonduit_server.ir.classical.values import Bits, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, Qubits, Variable, View
from qonduit_server.ir.limits import too_large
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import bit_places, indices

#: More digits than any qubit number of a machine.
_MAX_PHYSICAL_DIGITS: Final = 9


def qubits(context: EvaluationContext, node: object) -> Qubits:
    """Return the qubits of an operand."""
    if isinstance(node, ast.Identifier):
        entry = _named(context, node.name)
        if not isinstance(entry, Qubits):
            raise wrong(f"{node.name!r} is not a qubit of this program")
        return entry
    if isinstance(node, ast.IndexedIdentifier):
        current = qubits(context, node.name)
        for index in node.indices:
            if current.scalar:
                raise wrong(f"{node.name.name!r} is a single qubit and cannot be indexed")
            current = _some_qubits(context, current, index)
        return current
    if isinstance(node, ast.IndexExpression | ast.Concatenation):
        part = aliased(context, node)
        if isinstance(part, Qubits):
            return part
    raise wrong("an operand is not a qubit")


def measured(context: EvaluationContext, node: object) -> tuple[int, ...]:
    """Return the qubits that are measured into bits, in order of the bits, lowest first."""
    places = qubits(context, node).places
    return places[::-1] if context.first_bit_is_highest else places


def bits(context: EvaluationContext, node: ast.Identifier | ast.IndexedIdentifier) -> View:
    """Return the target bits of an assignment."""
    name = target_name(node)
    entry = context.scopes.lookup(name)
    if not isinstance(entry, Variable | View):
        raise wrong(f"{name!r} is not a register of bits")
    view = _whole(entry)
    if isinstance(node, ast.IndexedIdentifier):
        for index in node.indices:
            view = _some_bits(context, view, index)
    return view


def target_name(node: ast.Identifier | ast.IndexedIdentifier) -> str:
    """Return the target name of an assignment."""
    name: str = node.name if isinstance(node, ast.Identifier) else node.name.name
    return name


def aliased(context: EvaluationContext, node: ast.Expression) -> Qubits | Variable | View:
    """Return the operand that `let` aliases."""
    if isinstance(node, ast.Concatenation):
        left, right = aliased(context, node.lhs), aliased(context, node.rhs)
        if isinstance(left, Qubits) and isinstance(right, Qubits):
            return Qubits(left.places + right.places)
        raise unsupported("let with ++ is supported for qubits only")
    if isinstance(node, ast.IndexExpression):
        whole = aliased(context, node.collection)
        if isinstance(whole, Qubits):
            return _some_qubits(context, whole, node.index)
        return _some_bits(context, _whole(whole), node.index)
    if isinstance(node, ast.Identifier):
        entry = _named(context, node.name)
        if isinstance(entry, Qubits | Variable | View):
            return entry
    raise unsupported("let needs qubits or bits")


def _named(context: EvaluationContext, name: str) -> Entry | None:
    if not name.startswith("$"):
        return context.scopes.lookup(name)
    if context.gate_body is not None:
        raise wrong(f"a gate's body cannot use {name}")
    if len(name) > _MAX_PHYSICAL_DIGITS + 1:
        raise too_large(f"a physical qubit has a number of more than {_MAX_PHYSICAL_DIGITS} digits")
    if name not in context.physical:
        context.physical[name] = context.builder.add_qubits(1)[0]
    return Qubits((context.physical[name],), scalar=True)


def _some_qubits(context: EvaluationContext, whole: Qubits, index: ast.IndexElement) -> Qubits:
    places, single = indices(context, index, len(whole.places))
    return Qubits(tuple(whole.places[place] for place in places), scalar=single)


def _some_bits(context: EvaluationContext, whole: View, index: ast.IndexElement) -> View:
    places, _ = bit_places(context, index, len(whole.places))
    return View(whole.variable, tuple(whole.places[place] for place in places))


def _whole(entry: Variable | View) -> View:
    if isinstance(entry, View):
        return entry
    if entry.type.kind != "bit" or not isinstance(entry.value, Bits):
        raise wrong(f"{entry.name!r} is not a register of bits")
    return View(entry, tuple(range(len(entry.value.formulas))))
