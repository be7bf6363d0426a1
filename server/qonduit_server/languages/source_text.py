# SPDX-License-Identifier: Apache-2.0
"""Source text before parsing: comments, positions, nesting, and detection of the language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.limits import MAX_DEPTH

_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\"[^\"\n]*\"", re.DOTALL)
#: Consecutive signs, and powers of powers: both make a parser recurse.
_CHAIN: Final = re.compile(rf"(?:[-+!~]\s*){{{MAX_DEPTH}}}|(?:(?:\^|\*\*)[^;^*]*){{{MAX_DEPTH}}}")
_VERSION: Final = re.compile(r"\A\s*OPENQASM\s+([0-9]{1,9})(?:\.([0-9]{1,9}))?\s*;")
_HEADER: Final = re.compile(r"\A\s*OPENQASM\b")
#: Beginnings of programs in other languages, to detect a wrong assembler_language.
_OTHERS: Final = (
    (re.compile(r"\A\s*[{\[]"), "JSON (a Cirq or IonQ circuit?)"),
    (re.compile(r"\A\s*(from\s+[\w.]+\s+import|import\s+[\w.]+|def\s+\w+\([^)]*\)\s*(->[^:]*)?:|#!)"), "Python"),
    (
        re.compile(r"\A\s*(DECLARE|DEFGATE|DEFCIRCUIT|PRAGMA|MEASURE|[A-Z]+(\([^)]*\))?(\s+\d+)+\s*$)", re.MULTILINE),
        "Quil",
    ),
    (re.compile(r"\AQISKIT"), "QPY"),
)


@dataclass(frozen=True)
class Position:
    """A position in a program; line and column count from 1."""

    line: int
    column: int


def place(text: str, offset: int) -> Position:
    """Return the line and column of an offset."""
    return Position(text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def refusal(reason: str, message: str, where: Position) -> ProgramError:
    """Return an error with its position in the program."""
    return ProgramError(
        reason, f"line {where.line}, column {where.column}: {message}", line=where.line, column=where.column
    )


def without_comments(text: str) -> str:
    """Blank out the comments; all other characters and line ends keep their position."""
    if "//" not in text and "/*" not in text:
        return text
    return _COMMENT.sub(
        lambda match: match.group() if match.group().startswith('"') else re.sub(r"[^\n]", " ", match.group()), text
    )


def check_language(code: str, version: int) -> None:
    """Reject a program that is obviously not OpenQASM `version`."""
    header = _VERSION.match(code)
    if header is not None:
        if int(header.group(1)) != version:
            raise ProgramError(
                "WRONG_LANGUAGE",
                f"the program says it is OpenQASM {header.group(1)}, but was sent as QASM{version}: "
                f"set assembler_language to QASM{header.group(1)}"
                if header.group(1) in ("2", "3")
                else f"OpenQASM {header.group(1)} is not a supported version: use 2.0 or 3.0",
                line=place(code, header.start(1)).line,
                column=place(code, header.start(1)).column,
            )
        return
    if _HEADER.match(code):
        return
    for pattern, name in _OTHERS:
        if pattern.match(code):
            raise ProgramError(
                "WRONG_LANGUAGE",
                f"the program was sent as QASM{version}, but looks like {name}: set assembler_language to what it is",
                line=1,
                column=1,
            )


def check_nesting(code: str) -> None:
    """Reject brackets and operators nested so deep that a recursive parser would overflow its stack."""
    chain = _CHAIN.search(code)
    if chain is not None:
        message = f"more than {MAX_DEPTH} operators follow one another"
        raise refusal("TOO_LARGE", message, place(code, chain.start()))
    depth = 0
    for match in re.finditer(r"[()\[\]{}]", code):
        depth += 1 if match.group() in "([{" else -1
        if depth > MAX_DEPTH:
            message = f"brackets are nested more than {MAX_DEPTH} deep"
            raise refusal("TOO_LARGE", message, place(code, match.start()))
