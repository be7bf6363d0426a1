# SPDX-License-Identifier: Apache-2.0
"""OpenQASM 3 (arXiv:2104.14722 and the specification at version 3.1) read into the hub."""

from __future__ import annotations

import re
from typing import Any, Final

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
from antlr4.error.ErrorListener import ErrorListener  # type: ignore[import-untyped]
from openqasm3 import ast
from openqasm3.parser import QASM3ParsingError, QASMNodeVisitor, qasm3Lexer, qasm3Parser

from qonduit_server.circuit import Circuit
from qonduit_server.errors import ProgramError
from qonduit_server.languages.evaluation import statements
from qonduit_server.languages.source import Position, check_language, check_nesting, place, refusal, without_comments

_INCLUDE: Final = re.compile(r"\binclude\b\s*(\"[^\"\n]*\"?|'[^'\n]*'?|[^;\s]*)")

_PLACED: Final = re.compile(r"^L(\d+):C(\d+): (.*)$", re.DOTALL)


def read(text: str) -> Circuit:
    """Read an OpenQASM 3 program.

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
        return statements.read(_parse(text).statements)
    except RecursionError:
        raise ProgramError("TOO_LARGE", "an expression or a block is nested too deep") from None


class _Listener(ErrorListener):  # type: ignore[misc]
    """Stops at the first error, and knows where it is."""

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
    # The grammar needs no more than the simpler prediction, which is several times faster.
    parser._interp.predictionMode = PredictionMode.SLL
    try:
        program: ast.Program = QASMNodeVisitor().visitProgram(parser.program())
    except QASM3ParsingError as error:
        match = _PLACED.match(str(error))
        if match is None:
            raise ProgramError("SYNTAX_ERROR", str(error)) from None
        where = Position(int(match.group(1)), int(match.group(2)) + 1)
        raise refusal("SYNTAX_ERROR", match.group(3), where) from None
    return program
