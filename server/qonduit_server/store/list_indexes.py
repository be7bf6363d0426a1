# SPDX-License-Identifier: Apache-2.0
"""The indexes that yield the rows of large lists in each order, as `list_scan` follows them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, TextClause

from qonduit_server.store.filter_conditions import Term


@dataclass(frozen=True)
class Path:
    """An index that yields the rows of a list in order.

    Attributes:
        order: its columns after those that are compared by =; the last one is the id of the row.
        equals: returns the columns and values that the index compares by =, from the value of a term.
        conditions: the other conditions that the index serves.
        equal: the column of that term, or empty. "label." is any label.
        owner: the column of the owner, with which the index begins.
        tested_owner: the expression of the owner, tested row by row, if the index does not begin with it.
        values: the values of that term that the index serves; None for all.
        is_ranged: compare by ranges instead of = on PostgreSQL (see `Scan`). The first column of the order must be an
            integer.
    """

    order: tuple[Column[Any], ...]
    equals: Callable[[Any], Sequence[tuple[Column[Any], Any]]] = lambda value: ()
    conditions: Sequence[ColumnElement[bool] | TextClause] = ()
    equal: str = ""
    owner: Column[Any] | None = None
    tested_owner: ColumnElement[Any] | None = None
    values: Collection[Any] | None = None
    is_ranged: bool = False

    def serves(self, term: Term) -> bool:
        """Return whether the index finds the rows of a term."""
        if self.equal.endswith("."):
            return term.operator == "=" and term.column.startswith(self.equal)
        served = self.values is None or term.value in self.values
        return term.operator == "=" and term.column == self.equal and served


@dataclass(frozen=True)
class Order:
    """An order of a list.

    Attributes:
        paths: in the order of preference; the last one serves every filter.
        present: for an order by a column that may be NULL, this column.
        after: the paths for the rows where that column is NULL, which are listed last.
        of_all: in place of `paths` for the rows of all owners; empty if they have no such order.
    """

    paths: Sequence[Path]
    present: Column[Any] | None = None
    after: Sequence[Path] = ()
    of_all: Sequence[Path] = ()


def owner_path(*order: Column[Any], by: Column[Any] | None = None, is_ranged: bool = True) -> Path:
    """Return the path of an index that begins with the owner, or with the owner and another column."""
    owner = order[-1].table.c.caller
    if by is None:
        return Path(order, owner=owner, is_ranged=is_ranged)
    return Path(order, lambda value: ((by, value),), equal=str(by.name), owner=owner, is_ranged=is_ranged)


def label_path(*order: Column[Any]) -> Path:
    """Return the path of an index of labels that begins with the owner, the key and the value."""
    labels = order[-1].table.c
    return Path(
        order,
        lambda label: ((labels.key, label[0]), (labels.value, label[1])),
        equal="label.",
        owner=labels.caller,
    )


def present_order(*columns: Column[Any], after: Sequence[Path]) -> Order:
    """Return the order by an index that begins with the owner and a column that may be NULL.

    Args:
        columns: of the index, after the owner.
        after: the paths for the rows where the first column is NULL.
    """
    first = columns[0]
    is_ranged = isinstance(first.type, BigInteger)
    path = Path(columns, conditions=(first.is_not(None),), owner=columns[-1].table.c.caller, is_ranged=is_ranged)
    return Order([path], present=first, after=after)


def whole_path(*order: Column[Any]) -> Path:
    """Return the path of an index of all rows."""
    # The condition makes databases read the index, not the table.
    return Path(order, conditions=(order[0] > 0,))


@dataclass(frozen=True)
class ScannedList:
    """A large list.

    Attributes:
        id: its primary key.
        rows: the name of its rows in messages.
        orders: by the name of the field; the first one is the default, descending.
        fields: the names of fields whose column, or `Path.equal`, has another name.
    """

    id: Column[Any]
    rows: str
    orders: Mapping[str, Order]
    fields: Mapping[str, str]

    def indexed(self, paths: Sequence[Path]) -> str:
        """Describe the comparisons that the indexes of an order serve."""
        equal = [self.fields.get(path.equal, path.equal) for path in paths if path.equal]
        first = paths[-1].order[0].name if len(paths[-1].order) > 1 else "id"
        ranges = f"ranges of {self.fields.get(first, first)}"
        return f"= on {', '.join(dict.fromkeys(equal))}, and {ranges}" if equal else ranges
