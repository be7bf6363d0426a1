# SPDX-License-Identifier: Apache-2.0
"""The filter language of lists (AIP-160): text becomes a tree of comparisons.

    filter     = sequence {"AND" sequence}          sequence = factor {factor}, joined by AND
    factor     = term {"OR" term}                   so that OR binds tighter than AND
    term       = ["NOT" | "-"] ("(" filter ")" | "*" | comparison)
    comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=" | ":") value

The module knows no field and no SQL. The length of the text, the nesting and the number of comparisons are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

MAX_BYTES: Final = 2048
MAX_DEPTH: Final = 16
MAX_COMPARISONS: Final = 64


class FilterError(ValueError):
    """The filter is invalid; the message contains the reason."""


@dataclass(frozen=True)
class Value:
    """The right side of a comparison.

    Attributes:
        text: without quotes, escapes and wildcards.
        starts_open: whether a wildcard stands before the text.
        ends_open: whether a wildcard stands after the text.
        given: as the filter has it, shortened, for messages.
    """

    text: str
    starts_open: bool = False
    ends_open: bool = False
    given: str = ""

    @property
    def is_anything(self) -> bool:
        """Whether it is the wildcard alone."""
        return self.starts_open and not self.text

    @property
    def is_exact(self) -> bool:
        """Whether it has no wildcard."""
        return not (self.starts_open or self.ends_open)


@dataclass(frozen=True)
class Comparison:
    """A field, one of = != < <= > >= :, and a value. `key` is what follows the first dot of the field."""

    field: str
    key: str | None
    operator: str
    value: Value


@dataclass(frozen=True)
class All:
    """All of some conditions hold; without any, everything matches."""

    parts: tuple[Node, ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """At least one of some conditions holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """A condition does not hold."""

    part: Node


Node: TypeAlias = Comparison | All | AnyOf | Not

_SPACE: Final = re.compile(r"\s*")
_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|' + r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_FIELD: Final = re.compile(r"""[^\s"'=<>!:()]+""")
_OPERATOR: Final = re.compile(r"<=|>=|!=|=|<|>|:")
#: Unquoted values may contain colons, as times do.
_VALUE: Final = re.compile(r"""[^\s"'=<>!()]+""")
_PIECE: Final = re.compile(r"\\(.)|(\*)|([^\\*]+|\\)", re.DOTALL)
_KEYWORDS: Final = ("AND", "OR", "NOT")


def parse(text: str) -> Node:
    """Return the tree of a filter; of an empty one, a tree that matches everything.

    Raises:
        FilterError: the filter is invalid.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise FilterError("it must be valid Unicode") from error
    if "\0" in text:
        raise FilterError("it must not contain the character NUL")
    if size > MAX_BYTES:
        raise FilterError(f"it must have at most {MAX_BYTES} bytes, got {size}")
    parser = _Parser(text)
    if parser.rest() == "":
        return All()
    tree = parser.filter()
    if parser.rest():
        raise FilterError(f"unexpected {parser.shown()}")
    return tree


class _Parser:
    """Reads a filter from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._comparisons = 0

    def rest(self) -> str:
        """Skip white space, and return the next character; "" at the end."""
        self._at = self._matched(_SPACE).end()
        return self._text[self._at : self._at + 1]

    def shown(self) -> str:
        """Return what follows, shortened and quoted, for messages."""
        following = self._text[self._at :].split(None, 1)
        return _shortened(following[0]) if following else "the end"

    def filter(self) -> Node:
        parts = [self._factor()]
        while self.rest() not in ("", ")"):
            if self._keyword() == "AND":
                self._at += len("AND")
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _factor(self) -> Node:
        parts = [self._term()]
        while self.rest() and self._keyword() == "OR":
            self._at += len("OR")
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _term(self) -> Node:
        following = self.rest()
        negation = "-" if following == "-" else self._keyword()
        if negation in ("-", "NOT"):
            self._at += len(negation)
            with _Nested(self):
                return Not(self._term())
        if following == "(":
            self._at += 1
            with _Nested(self):
                inner = self.filter()
            if self.rest() != ")":
                raise FilterError("a closing parenthesis is missing")
            self._at += 1
            return inner
        if negation or following in ("", ")"):
            raise FilterError(f"expected a comparison, got {self.shown()}")
        if following == "*" and (word := _FIELD.match(self._text, self._at)) and word[0] == "*":
            self._at += 1
            return All()
        return self._comparison()

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise FilterError(f"it must have at most {MAX_COMPARISONS} comparisons")
        word = _FIELD.match(self._text, self._at)
        if word is None:
            raise FilterError(f"expected a field, got {self.shown()}")
        self._at = word.end()
        name, dot, key = word[0].partition(".")
        if word[0].endswith(".") and (quoted := _STRING.match(self._text, self._at)):
            self._at = quoted.end()
            key += _unescaped(quoted)
        self.rest()
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            hint = "; keywords are in capitals" if name.upper() in _KEYWORDS else ""
            raise FilterError(f"expected one of = != < <= > >= : after {_shortened(word[0])}, got {self.shown()}{hint}")
        self._at = operator.end()
        return Comparison(name, key if dot else None, operator[0], self._value())

    def _value(self) -> Value:
        self.rest()
        match = _STRING.match(self._text, self._at) or _VALUE.match(self._text, self._at)
        if match is None:
            unclosed = self._text[self._at : self._at + 1] in ('"', "'")
            raise FilterError(f"expected a value, got {self.shown()}{'; a quote is not closed' if unclosed else ''}")
        self._at = match.end()
        raw = next((group for group in match.groups() if group is not None), match[0])
        pieces = [(literal or escaped, bool(star)) for escaped, star, literal in _PIECE.findall(raw)]
        stars = [place for place, (_, star) in enumerate(pieces) if star]
        if any(0 < place < len(pieces) - 1 for place in stars):
            raise FilterError(
                f"the wildcard * must be at the start or the end of {_shortened(match[0])}; \\* is the character"
            )
        text = "".join(piece for piece, star in pieces if not star)
        return Value(text, 0 in stars, bool(stars) and stars[-1] == len(pieces) - 1, _shortened(match[0]))

    def _keyword(self) -> str:
        """Return the keyword that follows; "" if something else follows."""
        word = _FIELD.match(self._text, self._at)
        return word[0] if word and word[0] in _KEYWORDS else ""

    def _matched(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._at)
        assert match is not None
        return match

    def enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"it must be nested at most {MAX_DEPTH} deep")

    def leave(self) -> None:
        self._depth -= 1


class _Nested:
    """Counts one level of nesting."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser

    def __enter__(self) -> None:
        self._parser.enter()

    def __exit__(self, *error: object) -> None:
        self._parser.leave()


def _unescaped(match: re.Match[str]) -> str:
    raw = match[1] if match[1] is not None else match[2]
    return re.sub(r"\\(.)", r"\1", raw, flags=re.DOTALL)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
