# SPDX-License-Identifier: Apache-2.0
"""Programs in JSON: parsed within bounds, and values of expected kinds taken out of the tree."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Final, TypeAlias, TypeGuard

from qonduit_server.errors import ProgramError
from qonduit_server.ir.limits import MAX_NAME_BYTES, too_large
from qonduit_server.languages.source_text import Position, place, refusal

#: A JSON object.
Node: TypeAlias = dict[str, object]

#: How deep arrays and objects may be nested: some ten levels for each circuit within another.
MAX_NESTING: Final = 400
_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_TEXT: Final = re.compile(rb'"[^"]*"')
_OTHER_SIGNS: Final = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord('"'): 0}


def parse(text: str, hook: Callable[[Node], object] | None = None) -> object:
    """Return the tree of a program.

    Args:
        hook: is given each object, the inner ones first, and returns what is put in its place.

    Raises:
        ProgramError: with line and column where they are known.
    """
    text = text.removeprefix("\ufeff")
    _check_nesting(text)
    try:
        return json.loads(text, object_hook=hook, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise refusal("SYNTAX_ERROR", f"this is not JSON: {error.msg}", Position(error.lineno, error.colno)) from None
    except RecursionError:
        raise too_large(f"brackets are nested more than {MAX_NESTING} deep") from None
    except ValueError:  # an integer with more digits than Python reads
        raise too_large("a number has thousands of digits") from None


def _constant(name: str) -> object:
    raise wrong(f"{name} is not a number that a program may use")


def _check_nesting(text: str) -> None:
    """Refuse what a recursive parser would run out of stack with; the place is looked for only where it is needed."""
    plain = _ESCAPE.sub("", text) if "\\" in text else text
    signs = _TEXT.sub(b"", plain.encode("utf-8", "replace").translate(None, _OTHER_SIGNS))
    if max(accumulate(map(_STEPS.__getitem__, signs)), default=0) <= MAX_NESTING:
        return
    depth = 0
    for match in _TEXT_OR_BRACKET.finditer(text):
        depth += _STEPS[ord(match.group()[0])]
        if depth > MAX_NESTING:
            message = f"brackets are nested more than {MAX_NESTING} deep"
            raise refusal("TOO_LARGE", message, place(text, match.start()))


def wrong(message: str) -> ProgramError:
    """Return the error of a program that its language does not allow."""
    return ProgramError("SYNTAX_ERROR", message)


def unsupported(message: str) -> ProgramError:
    """Return the error of what a language has and no device here can do, or this reader does not know."""
    return ProgramError("UNSUPPORTED_CONSTRUCT", message)


def shown(value: object) -> str:
    """Return a value as messages show it: short, whatever it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) < 60 else text[:60] + "..."


def mapping(value: object, what: str) -> Node:
    """Return an object."""
    if not isinstance(value, dict):
        raise wrong(f"{what} is {shown(value)}, not an object")
    return value


def sequence(value: object, what: str) -> list[object]:
    """Return a list."""
    if not isinstance(value, list):
        raise wrong(f"{what} is {shown(value)}, not a list")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object, what: str) -> float:
    """Return a finite number."""
    if is_number(value):
        try:
            real = float(value)
        except OverflowError:
            real = math.inf
        if math.isfinite(real):
            return real
    raise wrong(f"{what} is {shown(value)}, not a finite number")


def integer(value: object, what: str) -> int:
    """Return a whole number; 2.0 is one, too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{what} is {shown(value)}, not a whole number")
    return value


def text(value: object, what: str, most_bytes: int = MAX_NAME_BYTES) -> str:
    """Return a text, by default of a length that names have."""
    if not isinstance(value, str):
        raise wrong(f"{what} is {shown(value)}, not a text")
    if (size := len(value.encode("utf-8", "replace"))) > most_bytes:
        raise too_large(f"{what} is longer than {most_bytes} bytes: it has {size}")
    if any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
        raise wrong(f"{what} holds half a character")
    return value
