# SPDX-License-Identifier: Apache-2.0
"""The Boolean expressions of Cirq's JSON as truth tables. Python parses their text but does not evaluate it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qonduit_server.ir.limits import too_large
from qonduit_server.languages.json_text import shown, wrong

#: A maximum cut of 20 vertices with 190 edges has some 3,000 bytes.
MAX_EXPRESSION_BYTES: Final = 16_384
_OPERATORS: Final = {ast.BitAnd: np.logical_and, ast.BitOr: np.logical_or, ast.BitXor: np.logical_xor}

_NOT_BOOLEAN: Final = "a Boolean expression may contain only names, ~, &, ^, | and parentheses"

Values = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class TruthTable:
    """A Boolean function of the names that occur in it.

    Attributes:
        places: indices of these names in the list of all names, ascending.
        values: 2^len(places) results; bit k of an index is the value of the name at places[k].
    """

    places: tuple[int, ...]
    values: Values


@dataclass(frozen=True)
class Parity:
    """An exclusive or of names, which needs no table.

    Attributes:
        places: indices of these names in the list of all names, ascending.
        inverted: whether the result is inverted.
    """

    places: tuple[int, ...]
    inverted: bool


def read(text: str, names: Sequence[str], most: int, spend: Callable[[int], None]) -> TruthTable | Parity:
    """Read an expression of names, `~`, `&`, `^`, `|` and parentheses, as Cirq 1.7 accepts them.

    Args:
        text: the expression, of at most MAX_EXPRESSION_BYTES; operators bind as they do in Python.
        names: the allowed names.
        most: maximum number of names of a truth table; an exclusive or may have more.
        spend: called before evaluation with the number of names, operators and table entries.

    Returns:
        A parity if there are more than `most` names, otherwise a truth table.

    Raises:
        ProgramError: SYNTAX_ERROR, not such an expression; TOO_LARGE, nested too deep or too many names.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except RecursionError:  # Python limits the depth of a tree; a long chain of operators is deep
        raise too_large("a Boolean expression is nested too deep, or has too many operators in a row") from None
    except (SyntaxError, ValueError, MemoryError):  # ValueError: a null character; MemoryError: nested too deep
        raise wrong(f"a Boolean expression cannot be read: {shown(text)}") from None
    nodes = _operands_first(tree)
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    if unknown := sorted(used - set(names)):
        raise wrong(f"a Boolean expression has the name {shown(unknown[0])}, which is not among parameter_names")
    spend(len(nodes))
    if len(used) > most:
        return _parity(nodes, names, most)
    spend(1 << len(used))
    return _table(nodes, names, used)


def _operands_first(tree: ast.expr) -> list[ast.expr]:
    """Return the names and operators in postfix order; without recursion, since a chain of operators is deep."""
    nodes: list[ast.expr] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            waiting.append(node.operand)
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            waiting += (node.left, node.right)
        elif not isinstance(node, ast.Name):
            raise wrong(_NOT_BOOLEAN)
    nodes.reverse()
    return nodes


def _table(nodes: list[ast.expr], names: Sequence[str], used: set[str]) -> TruthTable:
    places = tuple(place for place, name in enumerate(names) if name in used)
    index = np.arange(1 << len(places))
    values = {names[place]: (index >> bit & 1).astype(bool) for bit, place in enumerate(places)}
    results: list[Values] = []
    for node in nodes:
        if isinstance(node, ast.Name):
            results.append(values[node.id])
        elif isinstance(node, ast.BinOp):
            results.append(_OPERATORS[type(node.op)](results.pop(), results.pop()))
        else:
            results.append(np.logical_not(results.pop()))
    return TruthTable(places, results.pop())


def _parity(nodes: list[ast.expr], names: Sequence[str], most: int) -> Parity:
    """Add names and inversions modulo 2: among `^` only, each `~` inverts the whole result."""
    odd: set[str] = set()
    inverted = False
    for node in nodes:
        if isinstance(node, ast.Name):
            odd ^= {node.id}
        elif isinstance(node, ast.UnaryOp):
            inverted = not inverted
        elif isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitXor):
            raise too_large(f"a Boolean expression with & or | has more than {most} different names")
    return Parity(tuple(place for place, name in enumerate(names) if name in odd), inverted)
