# SPDX-License-Identifier: Apache-2.0
"""The Boolean expressions of Cirq's JSON as truth tables. Python parses their text, and nothing of it is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qonduit_server.hub.limits import too_large
from qonduit_server.languages.json_text import shown, wrong

_OPERATORS: Final = {ast.BitAnd: np.logical_and, ast.BitOr: np.logical_or, ast.BitXor: np.logical_xor}

Values = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class TruthTable:
    """A Boolean function of the names that occur in it.

    Attributes:
        places: where these names stand in the list of all names, ascending.
        values: 2^len(places) results; bit k of an index is the value of the name at places[k].
    """

    places: tuple[int, ...]
    values: Values


def truth_table(text: str, names: Sequence[str], most: int) -> TruthTable:
    """Return the truth table of an expression of names, `~`, `&`, `^`, `|` and parentheses, as Cirq 1.7 takes them.

    Args:
        text: the expression, of a length that the caller has bounded; operators bind as they do in Python.
        names: the names that may occur.
        most: how many different names one expression may have.

    Raises:
        ProgramError: SYNTAX_ERROR, it is another expression; TOO_LARGE, it is nested too deep or has too many names.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError):  # ValueError: a null character; MemoryError: nested too deep
        raise wrong(f"a Boolean expression cannot be read: {shown(text)}") from None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if unknown := sorted(used - set(names)):
        raise wrong(f"a Boolean expression has the name {shown(unknown[0])}, which is not among parameter_names")
    if len(used) > most:
        raise too_large(f"a Boolean expression has more than {most} different names")
    places = tuple(place for place, name in enumerate(names) if name in used)
    index = np.arange(1 << len(places))
    values = {names[place]: (index >> bit & 1).astype(bool) for bit, place in enumerate(places)}
    try:
        return TruthTable(places, _evaluate(tree, values))
    except RecursionError:
        raise too_large("a Boolean expression is nested too deep") from None


def _evaluate(node: ast.expr, values: dict[str, Values]) -> Values:
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        inverted: Values = np.logical_not(_evaluate(node.operand, values))
        return inverted
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        joined: Values = _OPERATORS[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
        return joined
    raise wrong("a Boolean expression has something else than names, ~, &, ^, | and parentheses")
