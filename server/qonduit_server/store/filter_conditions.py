# SPDX-License-Identifier: Apache-2.0
"""Filters of lists as SQL: each field of a list turns its comparisons into conditions on columns.

A comparison with a field that a row does not have is false, also with !=. NOT inverts it, so NOT matches such rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, case, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from qonduit_server.errors import InvalidArgument
from qonduit_server.store.column_limits import MAX_ID
from qonduit_server.store.filter_language import All, AnyOf, Comparison, FilterError, Node, Not, Value, parse
from qonduit_server.store.ownership import owner_of_project

ORDER: Final = ("<", "<=", ">", ">=")
_EQUALITY: Final = ("=", "!=", ":")


@dataclass(frozen=True)
class Term:
    """One of the conditions that a filter joins by AND.

    Attributes:
        condition: the condition. It may be NULL instead of false.
        column: the column that it compares with one value; empty for other conditions. An index may serve it.
        operator: one of = < <= > >=.
        value: the value.
    """

    condition: ColumnElement[bool]
    column: str = ""
    operator: str = ""
    value: Any = None


class Field(Protocol):
    """A field that a list can be filtered by."""

    @property
    def usage(self) -> str:
        """What follows the name of the field in messages that list the fields."""
        ...

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison. Raises FilterError."""
        ...


@dataclass(frozen=True)
class Scalar:
    """A field of numbers, times, Boolean values or values of an enum.

    Attributes:
        column: the column.
        read: converts the text of a value; raises ValueError.
        is_ordered: whether it can be compared with < <= > >=.
        kind: the type of the values in SQL.
        name: of an expression that an index serves; that of a column is the column's.
    """

    column: ColumnElement[Any]
    read: Callable[[str], int | bool]
    is_ordered: bool = True
    kind: Any = BigInteger
    name: str = ""
    usage: str = ""

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison."""
        operator, value = comparison.operator, comparison.value
        _require(comparison, (*_EQUALITY, *ORDER) if self.is_ordered else _EQUALITY)
        if operator == ":" and value.is_anything:
            return Term(self.column.is_not(None))
        try:
            if not value.is_exact:
                raise ValueError("it must not contain the wildcard *")
            number = self.read(value.text)
        except ValueError as error:
            raise FilterError(f"{value.given} is not a value of {comparison.field}: {error}") from error
        operator = "=" if operator == ":" else operator
        condition = self.column.op(operator, is_comparison=True)(sa.literal(number, self.kind()))
        name = self.column.name if isinstance(self.column, Column) else self.name
        if operator == "!=" or not name:
            return Term(condition)
        return Term(condition, name, operator, number)


@dataclass(frozen=True)
class Words:
    """A field of text. The wildcard * may stand at the start and at the end of a value.

    Attributes:
        column: the column, or a subquery for its value.
        name: of the column; empty if no index serves it.
    """

    column: ColumnElement[Any]
    name: str = ""
    usage: str = ""

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison."""
        _require(comparison, _EQUALITY)
        value = comparison.value
        if comparison.operator == "!=":
            return Term(self.column.is_not(None) & sa.not_(self._matches(value)))
        if value.is_exact and self.name:
            return Term(self._matches(value), self.name, "=", value.text)
        return Term(self._matches(value))

    def _matches(self, value: Value) -> ColumnElement[bool]:
        text = sa.literal(value.text, sa.Text())
        if value.is_exact:
            return self.column == text
        if not value.text:
            return self.column.is_not(None)
        if value.starts_open and value.ends_open:
            return _Position(self.column, text) > 0
        if value.ends_open:
            return func.substr(self.column, 1, len(value.text)) == text
        return func.substr(self.column, func.length(self.column) - (len(value.text) - 1)) == text


@dataclass(frozen=True)
class Prefixed:
    """A field of names that are stored in a column with a prefix. Rows without it do not have the field.

    Attributes:
        column: the column.
        prefix: the prefix.
    """

    column: Column[Any]
    prefix: str
    usage: str = ""

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison."""
        value = comparison.value
        if comparison.operator != "!=" and value.is_exact:
            stored = self.prefix + value.text
            return Term(self.column == sa.literal(stored, sa.Text()), self.column.name, "=", stored)
        name = func.substr(self.column, len(self.prefix) + 1)
        is_prefixed = func.substr(self.column, 1, len(self.prefix)) == self.prefix
        return Words(case((is_prefixed, name), else_=sa.null())).term(comparison)


@dataclass(frozen=True)
class Named:
    """A field of names for which the rows contain ids.

    Attributes:
        column: the column of the ids.
        ids: by name.
    """

    column: Column[Any]
    ids: Mapping[str, int]
    usage: str = ""

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison."""
        _require(comparison, _EQUALITY)
        found = sorted({number for name, number in self.ids.items() if _fits(name, comparison.value)})
        if comparison.operator == "!=":
            return Term(self.column.not_in(found))
        if len(found) == 1:
            return Term(self.column == sa.literal(found[0], BigInteger()), self.column.name, "=", found[0])
        return Term(self.column.in_(found))


@dataclass(frozen=True)
class Labels:
    """The labels of a row: `label.KEY` is the value of one, `label:KEY` is true for rows that have it.

    Attributes:
        value_of: returns the subquery for the value of a label by its key; NULL for rows without.
        any_of: the subquery for any value; NULL for rows without labels.
    """

    value_of: Callable[[str], ColumnElement[Any]]
    any_of: ColumnElement[Any]
    usage: str = ".KEY"

    def term(self, comparison: Comparison) -> Term:
        """Return the condition of a comparison."""
        key = comparison.key
        if key is None:
            value = comparison.value
            if comparison.operator != ":" or not (value.is_exact or value.is_anything):
                raise FilterError(
                    f"{comparison.field} needs a key: label.KEY = VALUE, or label:KEY for rows that have the label"
                )
            return Term((self.any_of if value.is_anything else self.value_of(value.text)).is_not(None))
        if not key:
            raise FilterError(f"{comparison.field} needs a key after the dot")
        term = Words(self.value_of(key), "label").term(comparison)
        return Term(term.condition, f"label.{key}", "=", (key, term.value)) if term.column else term


def integer(text: str) -> int:
    """Read a 64-bit integer."""
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII) or not -MAX_ID - 1 <= int(text) <= MAX_ID:
        raise ValueError("it must be a 64-bit integer")
    return int(text)


def boolean(text: str) -> bool:
    """Read a Boolean value."""
    if text not in ("true", "false"):
        raise ValueError("it must be true or false")
    return text == "true"


def time(text: str) -> int:
    """Read a time; return microseconds since 1970."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it must be a time with its zone, such as 2026-01-31T12:00:00Z")
    # Seconds and microseconds separately: a float would lose microseconds.
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def enum(kind: Any) -> Callable[[str], int]:
    """Return the function that reads the names of an enum, with or without their prefix."""
    # The prefix is that of the zero value.
    prefix = kind.Name(0).removesuffix("UNSPECIFIED")
    values = {name.removeprefix(prefix): int(number) for name, number in kind.items() if number}

    def read(text: str) -> int:
        if (number := values.get(text.removeprefix(prefix))) is None:
            raise ValueError(f"it must be one of {', '.join(values)}")
        return number

    return read


def number_field(column: Column[Any]) -> Scalar:
    """Return a field of integers."""
    return Scalar(column, integer)


def time_field(column: Column[Any]) -> Scalar:
    """Return a field of times."""
    return Scalar(column, time)


def enum_field(column: Column[Any], kind: Any) -> Scalar:
    """Return a field of an enum's values."""
    return Scalar(column, enum(kind), is_ordered=False)


def boolean_field(column: ColumnElement[Any], name: str = "") -> Scalar:
    """Return a field of Boolean values; `name` is that of an expression that an index serves."""
    return Scalar(column, boolean, is_ordered=False, kind=Boolean, name=name)


def text_field(column: Column[Any]) -> Words:
    """Return a field of text."""
    return Words(column, column.name)


def project_field(owner: Column[Any]) -> Prefixed:
    """Return a field of the projects that own the rows."""
    return Prefixed(owner, owner_of_project(""))


def filter_terms(text: str, fields: Mapping[str, Field]) -> list[Term]:
    """Return the conditions that a filter joins by AND.

    Raises:
        InvalidArgument: reason INVALID_FILTER, with a message that lists the fields.
    """
    try:
        return list(_conjuncts(parse(text), fields))
    except FilterError as error:
        known = ", ".join(f"{name}{field.usage}" for name, field in fields.items())
        raise InvalidArgument.of(
            "filter",
            "filter.syntax",
            f"filter: {error}. Write comparisons (field = value) joined by AND, OR, NOT. The fields are {known}",
            reason="INVALID_FILTER",
        ) from error


def filter_conditions(text: str, fields: Mapping[str, Field]) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter of a small list; raises as `filter_terms`."""
    return [term.condition for term in filter_terms(text, fields)]


def names_any(text: str, fields: Collection[str]) -> bool:
    """Return whether a valid filter compares one of some fields."""
    return _names(parse(text), fields)


def _names(node: Node, fields: Collection[str]) -> bool:
    if isinstance(node, Comparison):
        return node.field in fields
    return any(_names(part, fields) for part in ([node.part] if isinstance(node, Not) else node.parts))


def _conjuncts(node: Node, fields: Mapping[str, Field]) -> Iterable[Term]:
    if isinstance(node, All):
        for part in node.parts:
            yield from _conjuncts(part, fields)
    elif isinstance(node, Comparison):
        yield _term(node, fields)
    else:
        yield Term(_condition(node, fields))


def _condition(node: Node, fields: Mapping[str, Field]) -> ColumnElement[bool]:
    """Return the condition of a part of a filter; it is never NULL, so that NOT inverts it."""
    if isinstance(node, Comparison):
        return func.coalesce(_term(node, fields).condition, sa.false(), type_=Boolean())
    if isinstance(node, Not):
        return sa.not_(_condition(node.part, fields))
    join = sa.or_ if isinstance(node, AnyOf) else sa.and_
    parts = [_condition(part, fields) for part in node.parts]
    return join(*parts).self_group() if parts else sa.true()


def _term(comparison: Comparison, fields: Mapping[str, Field]) -> Term:
    field = fields.get(comparison.field)
    name = comparison.field if len(comparison.field) <= 40 else comparison.field[:37] + "..."
    if field is None:
        raise FilterError(f"no field {name!r}")
    if comparison.key is not None and not isinstance(field, Labels):
        raise FilterError(f"{name} has no parts, got {comparison.key[:40]!r} after its dot")
    return field.term(comparison)


def _require(comparison: Comparison, operators: Collection[str]) -> None:
    if comparison.operator not in operators:
        raise FilterError(
            f"{comparison.field} can be compared with {' '.join(operators)} only, got {comparison.operator!r}"
        )


def _fits(name: str, value: Value) -> bool:
    if value.is_exact:
        return name == value.text
    if value.starts_open and value.ends_open:
        return value.text in name
    return name.endswith(value.text) if value.starts_open else name.startswith(value.text)


class _Position(FunctionElement[int]):
    """The place of a text in another one, from 1; 0 if it does not occur."""

    name = "position_of"
    type = BigInteger()
    inherit_cache = True


@compiles(_Position, "sqlite")
def _instr(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(_Position, "postgresql")
def _strpos(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"
