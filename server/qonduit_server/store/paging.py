# SPDX-License-Identifier: Apache-2.0
"""Pages of lists: opaque tokens for the start of the next page, and the filters of lists."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Column, ColumnElement

from qonduit_server.errors import InvalidArgument
from qonduit_server.store.column_limits import MAX_ID

T = TypeVar("T")

#: Maximum size of a page, so that clients with gRPC's default limit of 4 MiB can read it: 3 MiB with the token of the
#: next page.
MAX_PAGE_BYTES: Final = 3 * 1024**2 - 1024
_DEFAULT_SIZE: Final = 50
_MAX_SIZE: Final = 1000
_HASH_BYTES: Final = 8


@dataclass(frozen=True)
class Page(Generic[T]):
    """Part of a list. `next_page_token` is empty on the last page."""

    items: list[T]
    next_page_token: str = ""


class Cursor:
    """The start and maximum size of a page of a list, and the token of the next page.

    Args:
        scope: the values that a token is bound to: the list's name, the caller, the filter.
        page_size: 0 means 50; more than 1000 means 1000.
        page_token: the token from the previous page, or empty.
        keys: the number of integers in the sort key of the list.
    """

    def __init__(self, scope: Iterable[object], page_size: int, page_token: str, keys: int = 1) -> None:
        if page_size < 0:
            raise InvalidArgument.of("page_size", "page_size.gte", "page_size: must not be negative")
        self.size = min(page_size or _DEFAULT_SIZE, _MAX_SIZE)
        text = "\0".join(map(str, scope)).encode("utf-8", "surrogatepass")
        self._scope_hash = hashlib.sha256(text).digest()[:_HASH_BYTES]
        self._form = struct.Struct(f">{keys}q")
        #: The keys of the last item of the previous page; None on the first page.
        self.after: tuple[int, ...] | None = self._read(page_token) if page_token else None

    def _read(self, token: str) -> tuple[int, ...]:
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) != _HASH_BYTES + self._form.size or raw[:_HASH_BYTES] != self._scope_hash:
            raise InvalidArgument.of(
                "page_token",
                "page_token.unknown",
                "page_token: does not belong to this list and filter; restart without it",
                reason="INVALID_PAGE_TOKEN",
            )
        return self._form.unpack(raw[_HASH_BYTES:])

    def token(self, *keys: int) -> str:
        """Return the token of the page that begins after these keys."""
        return base64.b64encode(self._scope_hash + self._form.pack(*keys), altchars=b"-_").decode()

    def cut(self, rows: list[T], keys: Callable[[T], tuple[int, ...]], size: Callable[[T], int]) -> tuple[list[T], str]:
        """Cut rows to a page.

        Args:
            rows: up to one row more than the page can hold.
            keys: returns the sort key of a row.
            size: returns the size of a row in bytes; an estimate if the resulting items are cut again.

        Returns:
            The rows of the page (at least one, if there is any), and the token of the next page.
        """
        total = 0
        kept = rows[: self.size]
        for place, row in enumerate(kept):
            total += size(row)
            if total > MAX_PAGE_BYTES and place:
                kept = kept[:place]
                break
        return kept, self.token(*keys(kept[-1])) if len(kept) < len(rows) else ""


def sent_bytes(item: Message) -> int:
    """Return the size of an item in a response, with a margin for fields that are set later."""
    return item.ByteSize() + 24


@dataclass(frozen=True)
class FilterField:
    """A field that a list can be filtered by.

    Attributes:
        column: the column.
        kind: the type of its values: int, str, bool, datetime, or a protobuf enum.
        ordered: whether <, <=, > and >= are allowed as well as =; this requires an index in the order of the list.
    """

    column: Column[Any]
    kind: Any
    ordered: bool = False


_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<operator><=|>=|!=|=|<|>|:) | (?P<word>[^\s"'=<>!:()]+) | (?P<other>\S) )""",
    re.VERBOSE | re.DOTALL,
)


def conditions(text: str, fields: Mapping[str, FilterField]) -> list[ColumnElement[bool]]:
    """Parse a filter: comparisons joined by AND, such as `state = "RUNNING" AND deployment_id = 7`.

    Raises:
        InvalidArgument: reason INVALID_FILTER, with a message that lists the allowed fields.
    """
    tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup]
    found: list[ColumnElement[bool]] = []
    place = 0
    while place < len(tokens):
        if found:
            if tokens[place].group("word") != "AND":
                raise _invalid_filter(fields, f"expected AND at {_quoted(tokens[place])}")
            place += 1
        comparison = tokens[place : place + 3]
        if len(comparison) < 3:
            raise _invalid_filter(fields, "it ends in the middle of a comparison")
        found.append(_condition(comparison, fields))
        place += 3
    return found


def _condition(comparison: list[re.Match[str]], fields: Mapping[str, FilterField]) -> ColumnElement[bool]:
    name, operator, value = comparison
    field = fields.get(name.group("word") or "")
    if field is None:
        raise _invalid_filter(fields, f"no field {_quoted(name)}")
    sign = operator.group("operator")
    offered = ("=", "<", "<=", ">", ">=") if field.ordered else ("=",)
    if sign not in offered:
        raise _invalid_filter(
            fields, f"{name.group('word')} can be compared with {' '.join(offered)} only, not {_quoted(operator)}"
        )
    string = value.group("string")
    word = re.sub(r"\\(.)", r"\1", string[1:-1], flags=re.DOTALL) if string else value.group("word")
    if word is None or (string is None and field.kind is str):
        raise _invalid_filter(fields, f'expected a value at {_quoted(value)} (text goes in quotes: name = "bell")')
    try:
        number = _value(word, field)
    except ValueError as error:
        raise _invalid_filter(fields, f"{_quoted(value)} is not a value of {name.group('word')}: {error}") from error
    compared: ColumnElement[bool] = field.column.op(sign, is_comparison=True)(number)
    return compared


def _value(word: str, field: FilterField) -> int | str | bool:
    if field.kind is str:
        if "\0" in word:
            raise ValueError("must not contain NUL")
        word.encode()
        return word
    if field.kind is bool:
        if word not in ("true", "false"):
            raise ValueError("must be true or false")
        return word == "true"
    if field.kind is int:
        if not re.fullmatch(r"-?\d{1,19}", word, re.ASCII) or not -MAX_ID - 1 <= int(word) <= MAX_ID:
            raise ValueError("must be a 64-bit integer")
        return int(word)
    if field.kind is datetime:
        return _microseconds(word)
    # Values of an enum may have its prefix, which is that of its zero value.
    prefix = field.kind.Name(0).removesuffix("UNSPECIFIED")
    values = {name.removeprefix(prefix): number for name, number in field.kind.items() if number}
    if (number := values.get(word.removeprefix(prefix))) is None:
        raise ValueError(f"must be one of {', '.join(values)}")
    return int(number)


def _microseconds(word: str) -> int:
    moment = datetime.fromisoformat(word)
    if moment.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-01-31T12:00:00Z")
    # Seconds and microseconds separately: a float would lose microseconds.
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def _quoted(match: re.Match[str]) -> str:
    text = match.group(match.lastgroup or 0)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _invalid_filter(fields: Mapping[str, FilterField], what: str) -> InvalidArgument:
    known = ", ".join(f"{name}{' (also < <= > >=)' if field.ordered else ''}" for name, field in fields.items())
    return InvalidArgument.of(
        "filter",
        "filter.syntax",
        f"filter: {what}. Write comparisons (field = value) joined by AND; the fields are {known}",
        reason="INVALID_FILTER",
    )
