# SPDX-License-Identifier: Apache-2.0
"""Lists of messages that show themselves as tables, in a notebook and as text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, SupportsIndex, TypeVar, overload

from qonduit_client.errors import QonduitError
from qonduit_client.message_table import ROWS, table_html, table_text

Item = TypeVar("Item")

#: Seconds that showing a listing may wait for the server.
_SHOWING: Final = 10.0


class Table(list[Item]):
    """A list of messages of one kind. It is a list in every way, and its text is a table.

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
    """A list on the server, read a page at a time as it is iterated over.

    Each `for` loop starts at the newest item and asks the server again. `next()` keeps a position of its own. An index
    or a slice reads as far as it has to. Shown as text or in a notebook, it is a table of its first items.

    Args:
        read: reads the items, at most `limit` of them, each request within `timeout` seconds (None: the client's own).
        kind: the name of the items, for example "Job".
        limit: how many items at most.
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
            return f"<{self._kind.lower()}s, not read: {error}>"

    def _repr_html_(self) -> str:
        return table_html(self._kind, *self._shown())

    def _first(self, number: int | None) -> list[Item]:
        """Read the first items; all of them when the number is None or counts from the end."""
        return list(self if number is None or number < 0 else self._read(self._at_most(number), None))

    def _shown(self) -> tuple[list[Item], dict[int, str], str]:
        """Read what a table shows: items, no provider names (only devices need them), and whether there are more."""
        items = list(self._read(self._at_most(ROWS + 1), _SHOWING))
        return items, {}, "... and more" if len(items) > ROWS else ""

    def _at_most(self, number: int) -> int:
        return number if self._limit is None else min(number, self._limit)


class AsyncListing(Generic[Item]):
    """A list on the server: iterate over it with `async for`, a page at a time, or `await` it as a `Table`.

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
        return f"<{self._kind.lower()}s: use `async for`, or `await` for a table>"

    async def aclose(self) -> None:
        """End what `anext` began."""
        if self._position is not None:
            await self._position.aclose()

    async def _table(self) -> Table[Item]:
        return Table([item async for item in self._read()], self._kind)
