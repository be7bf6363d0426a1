# SPDX-License-Identifier: Apache-2.0
"""Programs in JSON: bounded parsing, and typed access to values."""

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

#: Maximum nesting depth of arrays and objects: some ten levels for each nested circuit.
MAX_NESTING: Final = 400
_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_TEXT: Final = re.compile(rb'"[^"]*"')
_OTHER_SIGNS: Final = bytes(set(range(256)) - set(b'"[]{}'))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord('"'): 0}


def parse(text: str, hook: Callable[[Node], object] | None = None) -> object:
    """Return the tree of a program.

    Args:
        hook: called with each object, innermost first; returns its replacement.

    Raises:
        ProgramError: with line and column if known.
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
    """Reject nesting that would overflow a recursive parser; compute the location only for an error."""
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
    """Return the error for a program that its language does not allow."""
    return ProgramError("SYNTAX_ERROR", message)


def unsupported(message: str) -> ProgramError:
    """Return the error for a construct of a language that no device or this reader supports."""
    return ProgramError("UNSUPPORTED_CONSTRUCT", message)


def shown(value: object) -> str:
    """Return a short form of a value for messages."""
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
    """Return whether a value is a number, not a Boolean."""
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
    """Return an integer; 2.0 is accepted."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"{what} is {shown(value)}, not a whole number")
    return value


def text(value: object, what: str, most_bytes: int = MAX_NAME_BYTES) -> str:
    """Return a text, by default of at most a name's length."""
    if not isinstance(value, str):
        raise wrong(f"{what} is {shown(value)}, not a text")
    if (size := len(value.encode("utf-8", "replace"))) > most_bytes:
        raise too_large(f"{what} is longer than {most_bytes} bytes: it has {size}")
    if any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
        raise wrong(f"{what} contains a lone surrogate")
    return value
