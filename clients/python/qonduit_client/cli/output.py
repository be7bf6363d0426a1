# SPDX-License-Identifier: Apache-2.0
"""Lists in the requested format: a table, JSON lines, or CSV with stable columns."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from qonduit_client.cli.error_messages import worst
from qonduit_client.cli.session import Session, report
from qonduit_client.errors import QonduitError
from qonduit_client.text_table import table_of

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp


#: The id of a resource, or its name.
Key = TypeVar("Key", int, str)


class Column(NamedTuple):
    """One column.

    Attributes:
        name: in CSV; stable.
        value: of one item, for programs: a number, text, Boolean, or None.
        head: in the table; empty: the table omits the column.
        shown: the cell of the table, if it is not the value as text.
        right: whether the cell is aligned to the right.
    """

    name: str
    value: Callable[[Any], object]
    head: str = ""
    shown: Callable[[Any], str] | None = None
    right: bool = False


def write_rows(
    here: Session,
    columns: Sequence[Column],
    things: Iterable[Any],
    *,
    line: Callable[[Any], Message | Mapping[str, Any]] | None = None,
    empty: str = "",
) -> int:
    """Write items to standard output and return their number; JSON and CSV are written as items arrive.

    Args:
        here: selects the format.
        columns: of table and CSV.
        things: one row each.
        line: returns the JSON of an item; by default, the columns of CSV.
        empty: message instead of an empty table.
    """
    count = 0
    if here.output == "json":
        from qonduit_client.cli.as_json import as_line

        for each in things:
            count += 1
            found = {column.name: column.value(each) for column in columns} if line is None else line(each)
            click.echo(as_line(dict(found) if isinstance(found, Mapping) else found))
        return count
    if here.output == "csv":
        writer = csv_writer([column.name for column in columns])
        for each in things:
            count += 1
            writer([column.value(each) for column in columns])
        return count
    shown = [column for column in columns if column.head]
    rows = [[_cell(column, each) for column in shown] for each in things]
    if rows or not empty:
        right = {place for place, column in enumerate(shown) if column.right}
        click.echo(table_of([column.head for column in shown], rows, right=right))
    else:
        click.echo(empty)
    return len(rows)


def csv_writer(head: Sequence[str]) -> Callable[[Sequence[object]], None]:
    """Write the head of a CSV table to standard output; return the function that writes a row.

    Booleans are true and false, None is an empty cell; lines end with a line feed.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)

    def write(row: Sequence[object]) -> None:
        writer.writerow([str(each).lower() if isinstance(each, bool) else each for each in row])

    return write


def moment(stamp: Timestamp) -> str:
    """Return a time as RFC 3339 in UTC; empty if it is not set."""
    return stamp.ToJsonString() if stamp.seconds else ""


def size(count: int) -> str:
    """Return a number of bytes with its unit, in powers of 1024."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as NAME=VALUE, sorted by name."""
    return ", ".join(f"{name}={labels[name]}" for name in sorted(labels))


def _cell(column: Column, each: Any) -> str:
    if column.shown is not None:
        return column.shown(each)
    value = column.value(each)
    return "" if value is None else str(value)


def act_on(
    here: Session,
    ids: Iterable[Key],
    act: Callable[[Key], Any],
    columns: Sequence[Column],
    *,
    line: Callable[[Any], Message | Mapping[str, Any]] | None = None,
    outcome: Callable[[Any], str],
) -> int:
    """Act on several resources and write the outcomes; an error does not stop the rest.

    Args:
        here: selects the format.
        ids: of the resources, or their names.
        act: acts on one and returns its outcome.
        columns: of CSV.
        line: returns the JSON of an outcome; by default, the columns of CSV.
        outcome: returns the line of the table.

    Returns:
        The most severe exit code.
    """
    codes: list[int] = []

    def done() -> Iterator[Any]:
        for each in ids:
            try:
                yield act(each)
            except QonduitError as error:
                codes.append(report(error, here))

    if here.output == "table":
        for each in done():
            click.echo(outcome(each))
    else:
        write_rows(here, columns, done(), line=line)
    return worst(codes)


def remove_each(
    here: Session, word: str, ids: Iterable[Key], remove: Callable[[Key], object], outcome: Callable[[Key], str]
) -> int:
    """Remove several resources, as `act_on`; in JSON and CSV, the field `word` contains the id or name of each.

    Args:
        here: selects the format.
        word: what happened to a resource, for example "deleted".
        ids: of the resources, or their names.
        remove: removes one.
        outcome: returns the line of the table.
    """

    def act(each: Key) -> Key:
        remove(each)
        return each

    return act_on(here, ids, act, [Column(word, lambda each: each)], outcome=outcome)
