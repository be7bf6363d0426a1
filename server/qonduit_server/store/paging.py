# SPDX-License-Identifier: Apache-2.0
"""Pages of lists: their limits, and opaque tokens for the start of the next page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from qonduit_server.errors import InvalidArgument
from qonduit_server.store.column_limits import MAX_ID

T = TypeVar("T")

#: Maximum size of a page, so that clients with gRPC's default limit of 4 MiB can read it: 3 MiB with the token of the
#: next page.
MAX_PAGE_BYTES: Final = 3 * 1024**2 - 1024
_DEFAULT_SIZE: Final = 50
_MAX_SIZE: Final = 1000
_HASH_BYTES: Final = 8
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
#: Begins the part of a token with the number of tested rows. Tokens of scans that tested none have no such part.
_TESTED: Final = "~"


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
    """

    def __init__(self, scope: Iterable[object], page_size: int, page_token: str) -> None:
        if page_size < 0:
            raise InvalidArgument.of("page_size", "page_size.gte", "page_size: must not be negative")
        self.size = min(page_size or _DEFAULT_SIZE, _MAX_SIZE)
        text = "\0".join(map(str, scope)).encode("utf-8", "surrogatepass")
        self._scope_hash = hashlib.sha256(text).digest()[:_HASH_BYTES]
        #: The rows that this page and the previous ones tested and left out.
        self.tested = 0
        self._keys = self._read(page_token) if page_token else None

    def after(self, *kinds: type) -> tuple[Any, ...] | None:
        """Return the sort key of the last item of the previous page; None on the first page.

        Args:
            kinds: the types of its values, int or str.

        Raises:
            InvalidArgument: the token has values of other types.
        """
        if self._keys is not None and [type(key) for key in self._keys] != list(kinds):
            raise self._unknown()
        return self._keys

    def after_in(self, segments: Sequence[Sequence[type]]) -> tuple[int, tuple[Any, ...]] | None:
        """Return the segment of that item and its sort key in a list of several segments; None on the first page.

        Args:
            segments: the types of the values of each segment.

        Raises:
            InvalidArgument: the token has another segment, or values of other types.
        """
        if self._keys is None:
            return None
        number = self._keys[0]
        if number not in range(len(segments)):
            raise self._unknown()
        self.after(int, *segments[number])
        return number, self._keys[1:]

    def _read(self, token: str) -> tuple[Any, ...]:
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
            parts = raw[_HASH_BYTES:].decode().split("\0")
            if parts[-1].startswith(_TESTED):
                self.tested = max(0, int(_unpacked(parts.pop().removeprefix(_TESTED))))
            keys = [_unpacked(part) for part in parts]
        except (ValueError, binascii.Error):
            raise self._unknown() from None
        if raw[:_HASH_BYTES] != self._scope_hash:
            raise self._unknown()
        return tuple(keys)

    def _unknown(self) -> InvalidArgument:
        """Return the error of a token that does not belong to the list."""
        return InvalidArgument.of(
            "page_token",
            "page_token.unknown",
            "page_token: does not belong to this list, filter and order; restart without it",
            reason="INVALID_PAGE_TOKEN",
        )

    def token(self, *keys: int | str) -> str:
        """Return the token of the page that begins after these keys."""
        packed = "\0".join(f"={key}" if isinstance(key, str) else str(key) for key in keys)
        if self.tested:
            packed += f"\0{_TESTED}{self.tested}"
        return base64.b64encode(self._scope_hash + packed.encode(), altchars=b"-_").decode()

    def cut(
        self, rows: list[T], keys: Callable[[T], tuple[int | str, ...]], size: Callable[[T], int]
    ) -> tuple[list[T], str]:
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


def _unpacked(part: str) -> int | str:
    """Return a key of a token. Raises ValueError."""
    if part.startswith("="):
        return part[1:]
    if not _INTEGER.fullmatch(part) or not -MAX_ID - 1 <= int(part) <= MAX_ID:
        raise ValueError("not a 64-bit integer")
    return int(part)
