# SPDX-License-Identifier: Apache-2.0
"""Reader of OpenQASM 3 (arXiv:2104.14722 and the specification at version 3.1)."""

from __future__ import annotations

import re
from typing import Any, Final

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
from openqasm3 import ast
from openqasm3.parser import QASM3ParsingError, QASMNodeVisitor, qasm3Lexer, qasm3Parser

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages import plain_gates
from qonduit_server.languages.openqasm3 import statements
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs
from qonduit_server.languages.source_text import (
    Position,
    check_language,
    check_nesting,
    place,
    refusal,
    without_comments,
)

_INCLUDE: Final = re.compile(r"\binclude\b\s*(\"[^\"\n]*\"?|'[^'\n]*'?|[^;\s]*)")

#: ANTLR takes 0.1 to 0.2 ms for each token. Runs of plain gates bypass it and do not count; a pragma counts as one.
MAX_TOKENS: Final = 100_000
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_PLACED: Final = re.compile(r"^L(\d+):C(\d+): (.*)$", re.DOTALL)


def read(text: str, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read an OpenQASM 3 program; gates of these names that it defines are kept whole.

    Raises:
        ProgramError: with line and column where they are known.
    """
    context = statements.start(inputs, gate_names)
    walk(context, text)
    return statements.finish(context, statements.registers(context))


def walk(context: EvaluationContext, text: str) -> None:
    """Read a program's statements into a context.

    Raises:
        ProgramError: with line and column where they are known.
    """
    code = without_comments(text)
    check_language(code, version=3)
    check_nesting(code)
    for match in _INCLUDE.finditer(code):
        if match.group(1).strip("\"'") != "stdgates.inc":
            where = place(code, match.start())
            raise ProgramError(
                "UNSUPPORTED_CONSTRUCT",
                f'line {where.line}: only include "stdgates.inc" is read; put other definitions into the program',
                line=where.line,
                column=where.column,
            )
    try:
        statements.read(context, _program(text, code).statements)
    except RecursionError:
        raise ProgramError("TOO_LARGE", "an expression or a block is nested too deep") from None


def _program(text: str, code: str) -> ast.Program:
    """Return the program's tree; `code` is its text without comments."""
    rest, runs = plain_gates.take_out(code) if "/*" not in text else (code, {})
    _check_tokens(rest)
    if runs:
        program = _parse(rest)
        if plain_gates.put_back(program, runs):
            return program
        _check_tokens(code)
    return _parse(text)


def _check_tokens(code: str) -> None:
    for count, match in enumerate(_TOKEN.finditer(plain_gates.PRAGMA.sub(_as_token, code))):
        if count == MAX_TOKENS:
            message = f"the program has more than {MAX_TOKENS} tokens, without plain gates: write loops"
            raise refusal("TOO_LARGE", message, place(code, match.start()))


def _as_token(pragma: re.Match[str]) -> str:
    """Return blanks of the same length, so that positions stay."""
    return "#" + " " * (len(pragma.group()) - 1)


class _Reader(QASMNodeVisitor):  # type: ignore[misc]
    """Keeps constructs that the parser's own visitor drops silently."""

    def visitAssignmentStatement(self, context: Any) -> Any:  # noqa: N802 - ANTLR's name
        node = super().visitAssignmentStatement(context)
        if context.measureExpression():
            node.operator = context.op.text.removesuffix("=")
        return node


class _Listener(ErrorListener):  # type: ignore[misc]
    """Raises at the first error, with its location."""

    def syntaxError(  # noqa: N802 - ANTLR's name
        self, recognizer: Any, symbol: Any, line: int, column: int, message: str, error: Any
    ) -> None:
        shown = message if len(message) < 120 else message[:120] + "..."
        raise refusal("SYNTAX_ERROR", shown, Position(line, column + 1))


def _parse(text: str) -> ast.Program:
    lexer = qasm3Lexer(InputStream(text))
    parser = qasm3Parser(CommonTokenStream(lexer))
    listener = _Listener()
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(listener)
    # SLL prediction suffices for the grammar and is several times faster.
    parser._interp.predictionMode = PredictionMode.SLL
    try:
        program: ast.Program = _Reader().visitProgram(parser.program())
    except QASM3ParsingError as error:
        match = _PLACED.match(str(error))
        if match is None:
            raise ProgramError("SYNTAX_ERROR", str(error)) from None
        where = Position(int(match.group(1)), int(match.group(2)) + 1)
        raise refusal("SYNTAX_ERROR", match.group(3), where) from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # The visitor does not validate numbers and operators.
        raise ProgramError("SYNTAX_ERROR", f"the parser failed on this program: {str(error)[:120]}") from error
    return program
