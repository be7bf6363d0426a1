# SPDX-License-Identifier: Apache-2.0
"""Fast path for plain gates of OpenQASM 3, as in `rz(pi/2) q[0];`: ANTLR needs a minute for a megabyte."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, TypeAlias

from openqasm3 import ast
from openqasm3.parser import qasm3Lexer

#: Line (from 1) and column (from 0) of a run's first gate -> the gates after it.
Runs: TypeAlias = dict[tuple[int, int], list[ast.QuantumGate]]

#: ANTLR reads shorter runs.
_SHORTEST_RUN: Final = 4
_NUMBER: Final = r"(?:pi\b|(?:\d{1,15}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?)"
_ANGLE: Final = rf"-?{_NUMBER}(?:[*/]{_NUMBER}){{0,4}}"
_QUBIT: Final = r"[A-Za-z_]\w*(?:\[\d{1,9}\])?"
_GATE: Final = re.compile(
    rf"\s*(?P<all>(?P<name>[A-Za-z_]\w*)(?:\((?P<angles>{_ANGLE}(?:,[ ]?{_ANGLE})*)\))?"
    rf"[ ]+(?P<qubits>{_QUBIT}(?:,[ ]?{_QUBIT})*);)",
    re.ASCII,
)
_PART: Final = re.compile(rf"[*/]|{_NUMBER}", re.ASCII)
_PUNCTUATION: Final = re.compile(r"[;()\[\]{}]")
#: Constructs that take the rest of their line, or a block, verbatim: a semicolon in them ends no statement.
_RAW: Final = re.compile(r"\bpragma\b|#|@\w|cal\b|/\*|defcalgrammar")
#: A pragma, to the end of its line.
PRAGMA: Final = re.compile(r"^[ \t]*#?pragma\b[^\r\n]*", re.MULTILINE)
_KEYWORDS: Final = frozenset(name.strip("'") for name in qasm3Lexer.literalNames) - {"U"}


def take_out(code: str) -> tuple[str, Runs]:
    """Blank out runs of plain gates except the first gate of each, which marks their position.

    Only gates after a semicolon outside of all brackets are removed; all other characters keep their position.
    """
    runs: Runs = {}
    # Pragmas end runs: they may apply to gates before or after.
    seen = PRAGMA.sub(lambda match: "\1" * len(match.group()), code) if "pragma" in code else code
    if _RAW.search(seen):
        return code, runs
    lines = [0, *(match.end() for match in re.finditer("\n", code))]
    kept: list[str] = []
    done = depth = 0
    at = 0
    while (mark := _PUNCTUATION.search(seen, at)) is not None:
        at = mark.end()
        if mark.group() != ";":
            depth += 1 if mark.group() in "([{" else -1
        elif depth == 0:
            gates = _run(seen, at)
            if len(gates) >= _SHORTEST_RUN:
                first, at = gates[0], gates[-1].end()
                blank = code[first.end() : at]
                kept += [code[done : first.end()], "\n" * blank.count("\n"), " " * (len(blank) - blank.rfind("\n") - 1)]
                done = at
                runs[_place(lines, first.start("all"))] = [_node(lines, each) for each in gates[1:]]
    kept.append(code[done:])
    return "".join(kept), runs


def put_back(program: ast.Program, runs: Runs) -> bool:
    """Insert the removed gates into the program; return whether each run's first gate was found in it."""
    statements: list[ast.Statement | ast.Pragma] = []
    found = 0
    for each in program.statements:
        statements.append(each)
        span = each.span
        if span is not None and isinstance(each, ast.QuantumGate):
            rest = runs.get((span.start_line, span.start_column))
            if rest is not None:
                statements += rest
                found += 1
    program.statements = statements
    return found == len(runs)


def _run(code: str, at: int) -> list[re.Match[str]]:
    gates = []
    while (match := _GATE.match(code, at)) is not None and match["name"] not in _KEYWORDS:
        gates.append(match)
        at = match.end()
    return gates


def _place(lines: list[int], offset: int) -> tuple[int, int]:
    line = bisect_right(lines, offset)
    return line, offset - lines[line - 1]


def _node(lines: list[int], match: re.Match[str]) -> ast.QuantumGate:
    angles = match["angles"]
    gate = ast.QuantumGate(
        modifiers=[],
        name=ast.Identifier(match["name"]),
        arguments=[_angle(each.strip()) for each in angles.split(",")] if angles else [],
        qubits=[_qubit(each.strip()) for each in match["qubits"].split(",")],
    )
    line, column = _place(lines, match.start("all"))
    gate.span = ast.Span(line, column, line, column)
    return gate


def _qubit(text: str) -> ast.Identifier | ast.IndexedIdentifier:
    name, bracket, rest = text.partition("[")
    if not bracket:
        return ast.Identifier(name)
    return ast.IndexedIdentifier(ast.Identifier(name), [[ast.IntegerLiteral(int(rest[:-1]))]])


def _angle(text: str) -> ast.Expression:
    parts = _PART.findall(text.removeprefix("-"))
    angle = _number(parts[0])
    if text.startswith("-"):
        angle = ast.UnaryExpression(ast.UnaryOperator["-"], angle)
    for sign, each in zip(parts[1::2], parts[2::2], strict=True):
        angle = ast.BinaryExpression(ast.BinaryOperator[sign], angle, _number(each))
    return angle


def _number(text: str) -> ast.Expression:
    if text == "pi":
        return ast.Identifier(text)
    return ast.IntegerLiteral(int(text)) if text.isdigit() else ast.FloatLiteral(float(text))
