# SPDX-License-Identifier: Apache-2.0
"""Preprocessing of Quil text: limits, and rewriting of constructs that the parser rejects or misreads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.errors import ProgramError
from qonduit_server.ir.limits import MAX_OPERATIONS
from qonduit_server.languages.source_text import Position, check_nesting, refusal

#: Maximum characters of a program and of a word, and maximum operators of an expression.
MAX_TEXT: Final = 4_000_000
_MAX_WORD: Final = 1000
_MAX_OPERATORS: Final = 200
_MAX_COMMAS: Final = 1024
#: Maximum number of rows of a gate's matrix.
MAX_ROWS: Final = 64
_LARGEST: Final = (1 << 63) - 1

_STRING: Final = r'"(?:\\.|[^"\\\n])*(?:"|\\?$)'
_COMMENT: Final = re.compile(rf"{_STRING}|#[^\n]*", re.MULTILINE)
_PIECES: Final = re.compile(rf"({_STRING})", re.MULTILINE)
_HEADER: Final = re.compile(r"(DEFGATE|DEFCIRCUIT|DEFCAL|DEFFRAME|DEFWAVEFORM)\b.*:$", re.DOTALL)
_NAMED: Final = re.compile(r"(DECLARE|DEFGATE|DEFCIRCUIT)\s+([A-Za-z_][\w-]*)")
_CIRCUIT: Final = re.compile(r"^\s*DEFCIRCUIT\s+([A-Za-z_][\w-]*)", re.MULTILINE)
_NO_INSTRUCTION: Final = re.compile(r"(DECLARE|DEF[A-Z]+|PRAGMA\s+EXTERN)\b")
_FIRST_WORD: Final = re.compile(r"[A-Za-z_][\w-]*")
_LONG_INTEGER: Final = re.compile(r"(?<![\w.])([0-9]\w{15,})(?![.\w])")
_REFERENCE: Final = re.compile(r"([A-Za-z_][\w-]*)\s?\[\s?(\d{1,9})\s?\]")
_BARE: Final = re.compile(r"(?<![\w%@-])([A-Za-z_](?:[\w-]*\w)?)(?!\s?[\w(\[:-])")
_TOKEN: Final = re.compile(r"[A-Za-z_%](?:[\w-]*\w)?|[0-9.](?:[eE][-+]?\d|[\w.])*|\S")
_RESERVED: Final = frozenset(("i", "pi", "cis", "cos", "exp", "sin", "sqrt"))
_OTHER_LANGUAGE: Final = ((re.compile(r"\A\s*OPENQASM\b"), "OpenQASM"), (re.compile(r"\A\s*[{\[]"), "JSON"))


@dataclass
class Prepared:
    """A preprocessed program: one statement a line, bodies of definitions indented by four spaces."""

    code: str = ""
    #: For each line of the code, its line in the program, and whether it is unchanged.
    lines: list[tuple[int, bool]] = field(default_factory=list)
    #: The line of each instruction outside of definitions.
    statements: list[int] = field(default_factory=list)
    #: The names of declared memory, in order; the parser loses the order.
    declared: list[str] = field(default_factory=list)
    #: Placeholders of memory elements, where the parser accepts names only.
    references: dict[str, tuple[str, int]] = field(default_factory=dict)


def prepare(text: str) -> Prepared:
    """Check a program's text, and rewrite it for the parser.

    Raises:
        ProgramError: it is too large, or has an obvious error.
    """
    if len(text) > MAX_TEXT:
        raise ProgramError("TOO_LARGE", f"the program has more than {MAX_TEXT} characters")
    for pattern, name in _OTHER_LANGUAGE:
        if pattern.match(text):
            message = f"the program was sent as QUIL, but looks like {name}: set assembler_language to what it is"
            raise ProgramError("WRONG_LANGUAGE", message, line=1, column=1)
    code = _COMMENT.sub(lambda match: match[0] if match[0].startswith('"') else "", text.replace("\r\n", "\n"))
    check_nesting(_PIECES.sub("", code) if '"' in code else code)
    return _Preparing(code).done


class _Preparing:
    """Processes the lines of a program."""

    def __init__(self, code: str) -> None:
        self.done = Prepared()
        self._code = code
        self._circuits = frozenset(_CIRCUIT.findall(code))
        self._names: set[str] = set()
        self._out: list[str] = []
        #: The open definition: indentation of its header and body, its lines, and its maximum number of lines.
        self._outer, self._inner, self._rows, self._most = -1, -1, 0, 0
        for number, line in enumerate(code.split("\n"), 1):
            self._line(number, line)
        self.done.code = "\n".join(self._out) + "\n"

    def _line(self, number: int, line: str) -> None:
        statement = line.strip()
        if not statement:
            return
        indent = len(line[: len(line) - len(line.lstrip())].expandtabs(4))
        inside = self._outer >= 0 and indent > self._outer
        if not inside:
            self._outer = -1
        elif self._inner < 0:
            self._inner = indent
        elif indent != self._inner:
            raise refusal("SYNTAX_ERROR", "the lines of a definition are not indented alike", Position(number, 1))
        parts = _split(statement)
        for part in parts:
            self._part(number, line, part, inside)
        if parts and _HEADER.match(parts[-1]):
            if inside:
                raise refusal("SYNTAX_ERROR", "a definition is nested in another", Position(number, indent + 1))
            self._outer, self._inner, self._rows = indent, -1, 0
            kind = re.search(r"\bAS (SEQUENCE|PAULI-SUM)\b", parts[-1])
            if not parts[-1].startswith("DEFGATE") or (kind and kind[1] == "SEQUENCE"):
                self._most = MAX_OPERATIONS
            else:
                self._most = MAX_ROWS * MAX_ROWS if kind else MAX_ROWS

    def _part(self, number: int, line: str, part: str, inside: bool) -> None:
        where = Position(number, 1)
        self._check(part, where)
        named = _NAMED.match(part)
        if named is not None:
            key = named[2] if named[1] == "DECLARE" else f"{named[2]} "
            if key in self._names:
                raise refusal("SYNTAX_ERROR", f"{named[2]!r} is declared or defined twice", where)
            self._names.add(key)
            if named[1] == "DECLARE" and not inside:
                self.done.declared.append(named[2])
        if inside:
            self._rows += 1
            if self._rows > self._most or (self._most == MAX_ROWS and part.count(",") >= MAX_ROWS):
                raise refusal("TOO_LARGE", f"a gate is defined by more than {self._most} rows", where)
        elif not _NO_INSTRUCTION.match(part):
            self.done.statements.append(number)
        written = ("    " if inside else "") + self._rewritten(part)
        self._out.append(written)
        if len(self._out) > MAX_OPERATIONS:
            raise refusal("TOO_LARGE", f"the program has more than {MAX_OPERATIONS} statements", where)
        self.done.lines.append((number, written == line))

    def _check(self, part: str, where: Position) -> None:
        if len(part) <= 15:
            return
        for match in _LONG_INTEGER.finditer(part):
            if len(match[1]) > _MAX_WORD or _number(match[1]) > _LARGEST:
                raise refusal("TOO_LARGE", f"an integer is larger than {_LARGEST}", where)
        if len(part) > _MAX_OPERATORS:
            bare = _PIECES.sub("", part)
            if re.search(rf"[\w-]{{{_MAX_WORD}}}", bare):
                raise refusal("TOO_LARGE", f"a word has more than {_MAX_WORD} characters", where)
            pieces = bare.split(",")
            if len(pieces) > _MAX_COMMAS or max(len(re.findall(r"[-+*/^]", each)) for each in pieces) > _MAX_OPERATORS:
                raise refusal("TOO_LARGE", f"an expression has more than {_MAX_OPERATORS} operators", where)

    def _rewritten(self, part: str) -> str:
        if '"' in part:
            pieces = _PIECES.split(part)
            return "".join(each if each.startswith('"') else re.sub(r"\s+", " ", each) for each in pieces)
        part = " ".join(part.split())
        word = _FIRST_WORD.match(part)
        if word is not None and word[0] in self._circuits and "[" in part:
            part = _outside_brackets(part, self._with_aliases)
        if "(" in part:
            part = _inside_brackets(part)
        return _grouped(part) if part.count("^") > 1 else part

    def _with_aliases(self, text: str) -> str:
        def alias(match: re.Match[str]) -> str:
            element = (match[1], int(match[2]))
            word = f"{match[1]}_{match[2]}_"
            while self.done.references.get(word, element) != element or (
                word not in self.done.references and word in self._code
            ):
                word += "_"
            self.done.references[word] = element
            return word

        return _REFERENCE.sub(alias, text)


def _number(word: str) -> int:
    """Return the value of a Quil integer; 0 for other words."""
    try:
        return int(word.replace("_", ""), 0 if word[:2].lower() in ("0x", "0o", "0b") else 10)
    except ValueError:
        return 0


def _split(statement: str) -> list[str]:
    """Return the statements between semicolons."""
    if ";" not in statement:
        return [statement]
    if '"' not in statement:
        return [each.strip() for each in statement.split(";") if each.strip()]
    parts = [""]
    for piece in _PIECES.split(statement):
        if piece.startswith('"'):
            parts[-1] += piece
        else:
            first, *others = piece.split(";")
            parts[-1] += first
            parts.extend(others)
    return [each.strip() for each in parts if each.strip()]


def _outside_brackets(part: str, change: Callable[[str], str]) -> str:
    """Rewrite the text outside of round brackets."""
    depth, start, out = 0, 0, []
    for match in re.finditer(r"[()]", part):
        if match[0] == "(" and depth == 0:
            out.append(change(part[start : match.start()]))
            start = match.start()
        depth += 1 if match[0] == "(" else -1
        if match[0] == ")" and depth == 0:
            out.append(part[start : match.end()])
            start = match.end()
    out.append(change(part[start:]) if depth == 0 else part[start:])
    return "".join(out)


def _inside_brackets(part: str) -> str:
    """Write memory in an expression as `Name[0]`: the parser loses the case of a bare name."""
    first = part.index("(")

    def element(match: re.Match[str]) -> str:
        name = match[1]
        return name if name == name.lower() or name.lower() in _RESERVED else f"{name}[0]"

    last = part.rfind(")")
    if last < first or part[first:last] == part[first:last].lower():
        return part
    return part[:first] + _BARE.sub(element, part[first:last]) + part[last:]


def _grouped(part: str) -> str:
    """Bracket powers of powers: they are right-associative in Quil, and left-associative in the parser."""
    tokens = _TOKEN.findall(part)
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place] == "^":
            end = _operand(tokens, place + 1)
            if end < len(tokens) and tokens[end] == "^":
                end = _operand(tokens, end + 1)
                tokens[place + 1 : end] = ["(", *tokens[place + 1 : end], ")"]
    return " ".join(tokens)


def _operand(tokens: list[str], place: int) -> int:
    """Return the end of the operand that begins at a place."""
    while place < len(tokens) and tokens[place] == "-":
        place += 1
    place += tokens[place : place + 1] != ["("]
    if place < len(tokens) and tokens[place] == "i":
        return place + 1
    if place < len(tokens) and tokens[place] in ("(", "["):
        depth = 0
        while place < len(tokens):
            depth += (tokens[place] in ("(", "[")) - (tokens[place] in (")", "]"))
            place += 1
            if depth == 0:
                break
    return place
