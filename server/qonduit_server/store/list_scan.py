# SPDX-License-Identifier: Apache-2.0
"""Reads rows of large lists by filter and order, in bounded time for any number of rows.

A list names the indexes that yield its rows in each order (`list_indexes.py`). A scan follows the best one for a
filter. If the index covers the whole filter, each row that it reads is in the list. Otherwise the scan reads keys in
chunks, tests the rows of each chunk, and stops after a time: the page is then short or empty, and the next one
continues there. All pages together test a bounded number of rows that do not match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import Message
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    Select,
    TextClause,
    literal,
    select,
    tuple_,
    union_all,
)

from qonduit_server.errors import InvalidArgument, ResourceExhausted
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import MAX_ID, checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.filter_conditions import Term, names_any
from qonduit_server.store.list_indexes import Order, Path, ScannedList
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.paging import Cursor, Page, sent_bytes

#: After this time a scan for a page ends with the current chunk.
PAGE_SECONDS: Final = 0.25
#: The number of rows of the first chunk, which grows to the largest: few rows are read if most match.
_FIRST_CHUNK: Final = 256
_MAX_CHUNK: Final = 4096

M = TypeVar("M", bound=Message)
Row: TypeAlias = Any
Keys: TypeAlias = tuple[int | str, ...]
#: Columns of an index with the values that they equal.
_Equals: TypeAlias = Sequence[tuple[Column[Any], Any]]


def chosen_owners(visible: Visibility, terms: Sequence[Term], filter: str) -> Collection[str] | None:
    """Return the owners of the rows to scan; None for all owners.

    A filter that names the owner or the project selects from the rows of all owners if the caller may see them, else
    from those of its owners.
    """
    if not visible.sees_all or not names_any(filter, ("owner", "project")):
        checked_text("caller", visible.caller)
        return visible.owners
    return {str(term.value) for term in terms if term.column == "caller" and term.operator == "="} or None


class Position(NamedTuple):
    """A row's place in a scan: its segment, and its values of the columns of the order."""

    segment: int
    keys: Keys


class Found(NamedTuple):
    """A row with its place."""

    row: Row
    position: Position


class Scanned(NamedTuple):
    """The end of a scan.

    Attributes:
        found: the rows.
        stopped: where a scan that ran out of time continues; None if it did not.
        tested: the number of rows that were tested and left out.
    """

    found: list[Found]
    stopped: Position | None
    tested: int


class _Chunk(NamedTuple):
    """The matching rows of a part of an index, the keys of its last row (None at the end), and its number of rows."""

    rows: Sequence[Row]
    last: Keys | None
    size: int


@dataclass(frozen=True)
class Segment:
    """A part of a scan: the rows of one index, merged from one range of it for each owner.

    Attributes:
        path: the index.
        ranges: the columns and values that the index compares by =, for each owner.
        served: the other conditions that the index serves.
        tested: the conditions that each row is tested for.
    """

    path: Path
    ranges: Sequence[_Equals]
    served: Sequence[ColumnElement[bool] | TextClause]
    tested: Sequence[ColumnElement[bool]]

    @property
    def is_covered(self) -> bool:
        """Whether the index serves all conditions."""
        return not self.tested


class Scan:
    """A filter and an order of a list.

    Several indexes can have the order of a list. PostgreSQL chooses among them by how often values occur, as if they
    were spread evenly over time. The list of an owner with many old jobs would then read the newer jobs of all others.
    So equal values are written as a range of rows, (owner, state) between two equal pairs, and are part of the order:
    only one index has that order. SQLite keeps no statistics and prefers the index with more equal columns.

    Args:
        listed: the list.
        owners: whose rows; each costs one more range of an index. None for those of all owners.
        terms: the filter. A term on the owner selects among the owners.
        order_by: a field of `listed.orders`, with "asc" (the default) or "desc"; empty for the default order.
        within: terms of which each gives a segment of the scan; the segments follow each other.

    Raises:
        InvalidArgument: order_by is invalid.
    """

    def __init__(
        self,
        listed: ScannedList,
        owners: Collection[str] | None,
        terms: Sequence[Term],
        order_by: str = "",
        within: Sequence[Term] = (),
    ) -> None:
        self._id = listed.id
        self._listed = listed
        order, self._descending = _ordered(listed, order_by, of_all=owners is None)
        self._order = order
        wanted: Sequence[str] = ()
        if owners is not None:
            wanted, terms = _of_owners(listed.id.table.c.caller, owners, terms)
        self._segments: list[Segment] = []
        for chosen in [[*terms, term] for term in within] or [list(terms)]:
            if (wanted or owners is None) and not _is_contradictory(chosen):
                self._segments += _segments(order, wanted, chosen)

    def position(self, cursor: Cursor) -> Position | None:
        """Return the place after which the page of a cursor begins; None for the first page.

        Raises:
            InvalidArgument: the token of the cursor does not belong to this scan.
        """
        kinds = [[column.type.python_type for column in segment.path.order] for segment in self._segments]
        after = cursor.after_in(kinds)
        return None if after is None else Position(*after)

    def read(
        self,
        connection: Connection,
        query: Select[Any],
        after: Position | None,
        wanted: int,
        seconds: float | None = None,
    ) -> Scanned:
        """Read rows in order.

        Args:
            connection: to the database.
            query: selects the columns, among them those of the order.
            after: the place after which the rows begin; None for the first.
            wanted: the maximum number of rows.
            seconds: the time after which the scan ends with the current chunk; None for that of a page.
        """
        deadline = time.monotonic() + (PAGE_SECONDS if seconds is None else seconds)
        found: list[Found] = []
        tested = 0
        for number in range(after.segment if after else 0, len(self._segments)):
            segment = self._segments[number]
            keys = after.keys if after and after.segment == number else None
            size = max(_FIRST_CHUNK, wanted)
            while True:
                left = wanted - len(found)
                if segment.is_covered and len(segment.ranges) == 1 and segment.path.order[-1] is self._id:
                    found_by = self._after(connection, query, segment, segment.ranges[0], keys)
                    rows = connection.execute(found_by.limit(left)).all()
                    last = None
                else:
                    rows, last, read = self._chunk(
                        connection, query, segment, keys, left if segment.is_covered else size, left
                    )
                    # The next page tests the rest of a chunk that fills this one again.
                    tested += read - len(rows) if len(rows) < left else 0
                found += [Found(row, Position(number, _keys(row, segment.path))) for row in rows]
                if len(found) >= wanted:
                    return Scanned(found, None, tested)
                if last is None:
                    break
                if time.monotonic() > deadline:
                    return Scanned(found, Position(number, last), tested)
                keys = last
                size = min(4 * size, _MAX_CHUNK)
        return Scanned(found, None, tested)

    def require_index(self, cursor: Cursor, most: int) -> None:
        """Refuse a page if the earlier pages have tested too many rows that did not match.

        Args:
            cursor: of the page.
            most: the maximum number of rows; 0: no limit.

        Raises:
            ResourceExhausted: the filter needs another condition.
        """
        if most and cursor.tested >= most:
            paths = self._order.paths
            raise ResourceExhausted(
                f"filter: {cursor.tested} {self._listed.rows} were tested that do not match, and more are left "
                f"(max_tested_rows = {most}). Add a condition that an index serves in this order: "
                f"{self._listed.indexed(paths)}",
                subject="max_tested_rows",
                retry_after=None,
            )

    def _chunk(
        self, connection: Connection, query: Select[Any], segment: Segment, keys: Keys | None, size: int, wanted: int
    ) -> _Chunk:
        """Return the next rows of an index."""
        order = segment.path.order
        read = connection.execute(self._keys_after(connection, segment, keys, size)).all()
        if not read:
            return _Chunk([], None, 0)
        own = [self._id.table.c[column.name] for column in order[:-1]] + [self._id]
        tested = query.where(among(self._id, "ids"), *segment.tested).order_by(*self._directed(own)).limit(wanted)
        rows = connection.execute(tested, {"ids": [row[-1] for row in read]}).all()
        return _Chunk(rows, tuple(read[-1]) if len(read) == size else None, len(read))

    def _keys_after(self, connection: Connection, segment: Segment, keys: Keys | None, size: int) -> Executable:
        """Return the query for the next keys of a segment."""
        order = segment.path.order
        queries = [
            self._after(connection, select(*order), segment, equals, keys).limit(size) for equals in segment.ranges
        ]
        if len(queries) == 1:
            return queries[0]
        # Each part reads its index in order and stops after `size` rows: the merge sorts that number for each owner.
        merged = union_all(*(select(query.subquery()) for query in queries)).subquery()
        return select(merged).order_by(*self._directed(merged.c[column.name] for column in order)).limit(size)

    def _after(
        self, connection: Connection, query: Select[Any], segment: Segment, equals: _Equals, keys: Keys | None
    ) -> Select[Any]:
        query = query.where(*segment.served)
        order: Sequence[Column[Any]] = segment.path.order
        place = None if keys is None else _literals(order, keys)
        columns, values = zip(*equals, strict=True) if equals else ((), ())
        same = _literals(columns, values)
        if segment.path.is_ranged and connection.dialect.name == "postgresql":
            # The planner does not know the value of a subquery, nor how many rows are in such a range. Otherwise it
            # would sort all rows of an owner that it takes for a small one.
            same[0] = select(same[0]).scalar_subquery()
            within = tuple_(*columns, order[0])
            query = query.where(within >= tuple_(*same, -MAX_ID), within <= tuple_(*same, MAX_ID))
            order = (*columns, *order)
            place = place and [*same, *place]
        else:
            query = query.where(*(column == value for column, value in zip(columns, same, strict=True)))
        query = query.order_by(*self._directed(order))
        if place is None:
            return query
        return query.where(tuple_(*order) < tuple_(*place) if self._descending else tuple_(*order) > tuple_(*place))

    def _directed(self, columns: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
        return [column.desc() if self._descending else column.asc() for column in columns]


def read_page(
    db: Database,
    scan: Scan,
    cursor: Cursor,
    query: Select[Any],
    size: Callable[[Row], int],
    messages: Callable[[Connection, Sequence[Row]], Sequence[M]],
) -> Page[M]:
    """Return a page of the rows of a scan.

    Args:
        db: the database.
        scan: the scan.
        cursor: of the page.
        query: as of `Scan.read`.
        size: returns the estimated size of a row in bytes.
        messages: returns the messages of rows.

    Raises:
        InvalidArgument: the token of the cursor does not belong to the scan.
        ResourceExhausted: the earlier pages have tested too many rows.
    """

    def keys(found: Found) -> Keys:
        return (found.position.segment, *found.position.keys)

    after = scan.position(cursor)
    scan.require_index(cursor, db.max_tested_rows)
    with db.read() as connection:
        found, stopped, tested = scan.read(connection, query, after, cursor.size + 1)
        cursor.tested += tested
        kept, token = cursor.cut(found, keys, lambda each: size(each.row))
        made = list(zip(messages(connection, [each.row for each in kept]), kept, strict=True))
    if not token and stopped is not None:
        token = cursor.token(stopped.segment, *stopped.keys)
    exact, earlier_token = cursor.cut(made, lambda pair: keys(pair[1]), lambda pair: sent_bytes(pair[0]))
    return Page([message for message, _ in exact], earlier_token or token)


def _ordered(listed: ScannedList, order_by: str, *, of_all: bool) -> tuple[Order, bool]:
    """Return an order, and whether it is descending."""
    orders = listed.orders
    if of_all:
        orders = {name: Order(order.of_all) for name, order in orders.items() if order.of_all}
    words = order_by.split()
    if not words:
        return next(iter(orders.values())), True
    directions = {"": False, "asc": False, "desc": True}
    direction = " ".join(words[1:])
    which = " for all owners" if len(orders) < len(listed.orders) else ""
    if words[0] not in orders or direction not in directions:
        raise InvalidArgument.of(
            "order_by",
            "order_by.field",
            f"order_by: must be one of {', '.join(orders)}{which}, with or without "
            f"asc or desc after it, got {order_by[:100]!r}",
        )
    return orders[words[0]], directions[direction]


def _is_contradictory(terms: Iterable[Term]) -> bool:
    """Return whether no row can meet the terms, because they compare a column with two values."""
    values: dict[str, Any] = {}
    return any(term.operator == "=" and values.setdefault(term.column, term.value) != term.value for term in terms)


def _of_owners(column: Column[Any], owners: Collection[str], terms: Sequence[Term]) -> tuple[list[str], list[Term]]:
    """Return the owners that the terms select, and the other terms."""
    named = {term.value for term in terms if term.operator == "=" and term.column == column.name}
    wanted = sorted(owner for owner in owners if named <= {owner})
    return wanted, [term for term in terms if not (term.operator == "=" and term.column == column.name)]


def _segments(order: Order, owners: Sequence[str], terms: Sequence[Term]) -> Iterator[Segment]:
    yield _segment(order.paths, owners, terms)
    if order.present is not None and all(term.column != order.present.name for term in terms):
        yield _segment(order.after, owners, [*terms, Term(order.present.is_(None))])


def _segment(paths: Sequence[Path], owners: Sequence[str], terms: Sequence[Term]) -> Segment:
    path, chosen = next(
        (path, term) for path in paths for term in (*terms, None) if (path.serves(term) if term else not path.equal)
    )
    served = list(path.conditions)
    tested: list[ColumnElement[bool]] = []
    if path.tested_owner is not None:
        tested.append(path.tested_owner.in_(owners))
    # An index also serves comparisons with the first column of its order.
    column = path.order[0]
    name = "id" if len(path.order) == 1 else column.name
    for term in terms:
        if term.operator and term.column == name:
            served.append(column.op(term.operator, is_comparison=True)(literal(term.value, column.type)))
        elif term is not chosen:
            tested.append(term.condition)
    equals = path.equals(chosen.value if chosen else None)
    owner = path.owner
    ranges = [equals] if owner is None else [[(owner, each), *equals] for each in owners]
    return Segment(path, ranges, served, tested)


def _literals(columns: Sequence[Column[Any]], values: Sequence[Any]) -> list[ColumnElement[Any]]:
    return [literal(value, column.type) for column, value in zip(columns, values, strict=True)]


def _keys(row: Row, path: Path) -> Keys:
    return (*(getattr(row, column.name) for column in path.order[:-1]), row.id)
