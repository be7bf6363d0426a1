# SPDX-License-Identifier: Apache-2.0
"""Lists of messages that are displayed as tables, in notebooks and as text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, SupportsIndex, TypeVar, overload

from qonduit_client.errors import QonduitError
from qonduit_client.message_table import ROWS, nouns, table_html, table_text

Item = TypeVar("Item")

#: Timeout in seconds for displaying a listing.
_SHOWING: Final = 10.0


class Table(list[Item]):
    """A list of messages of one type, displayed as a table.

    Args:
        items: the messages.
        kind: their name, for example "Device".
        providers: the names of providers by their ids, for the names of devices.
    """

    def __init__(self, items: Iterable[Item], kind: str, providers: Mapping[int, str] | None = None) -> None:
        super().__init__(items)
        self._kind = kind
        self._providers = dict(providers or {})

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Item: ...

    @overload
    def __getitem__(self, index: slice, /) -> Table[Item]: ...

    def __getitem__(self, index: SupportsIndex | slice, /) -> Item | Table[Item]:
        if isinstance(index, slice):
            return Table(super().__getitem__(index), self._kind, self._providers)
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return table_text(self._kind, self, self._providers)

    def _repr_html_(self) -> str:
        return table_html(self._kind, self, self._providers)


class Listing(Generic[Item]):
    """A list on the server, read page by page on demand.

    Each `for` loop reads the list again from the newest item. `next()` has a separate position. An index or a slice
    reads only the items it needs. The text and the notebook display are a table of the first items.

    Args:
        read: reads at most `limit` items, with `timeout` seconds per request (None: the client's timeout).
        kind: the name of the items, for example "Job".
        limit: the maximum number of items.
    """

    def __init__(
        self, read: Callable[[int | None, float | None], Iterator[Item]], kind: str, limit: int | None = None
    ) -> None:
        self._read = read
        self._kind = kind
        self._limit = limit
        self._position: Iterator[Item] | None = None

    def __iter__(self) -> Iterator[Item]:
        return self._read(self._limit, None)

    def __next__(self) -> Item:
        if self._position is None:
            self._position = iter(self)
        return next(self._position)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Table[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Table[Item]:
        if isinstance(index, slice):
            return Table(self._first(index.stop), self._kind)[index]
        return self._first(index + 1 if index >= 0 else None)[index]

    def __repr__(self) -> str:
        try:
            return table_text(self._kind, *self._shown())
        except QonduitError as error:  # a repr must not fail
            return f"<{nouns(self._kind)}, not available: {error}>"

    def _repr_html_(self) -> str:
        return table_html(self._kind, *self._shown())

    def _first(self, number: int | None) -> list[Item]:
        """Read the first items, or all without a number or for a negative one."""
        return list(self if number is None or number < 0 else self._read(self._at_most(number), None))

    def _shown(self) -> tuple[list[Item], dict[int, str], str]:
        """Return the items of the table, no provider names (only devices need them), and a note on further items."""
        items = list(self._read(self._at_most(ROWS + 1), _SHOWING))
        return items, {}, "... and more" if len(items) > ROWS else ""

    def _at_most(self, number: int) -> int:
        return number if self._limit is None else min(number, self._limit)


class AsyncListing(Generic[Item]):
    """A list on the server: iterate with `async for`, page by page, or `await` it as a `Table`.

    Args:
        read: reads the items.
        kind: their name, for example "Job".
    """

    def __init__(self, read: Callable[[], AsyncGenerator[Item, None]], kind: str) -> None:
        self._read = read
        self._kind = kind
        self._position: AsyncGenerator[Item, None] | None = None

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._read()

    async def __anext__(self) -> Item:
        if self._position is None:
            self._position = self._read()
        return await anext(self._position)

    def __await__(self) -> Generator[Any, None, Table[Item]]:
        return self._table().__await__()

    def __repr__(self) -> str:
        return f"<{nouns(self._kind)}: use `async for`, or `await` for a table>"

    async def aclose(self) -> None:
        """Close the iterator of `anext`."""
        if self._position is not None:
            await self._position.aclose()

    async def _table(self) -> Table[Item]:
        return Table([item async for item in self._read()], self._kind)
