# SPDX-License-Identifier: Apache-2.0
"""Estimates as a table or as CSV: one row for each observable at each point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from qonduit_client.cli.ended_jobs import Ended, Entry, value_text
from qonduit_client.cli.output import Column, write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qonduit_client.cli.session import Session
    from qonduit_client.estimates import EstimateRow

#: Longer observables are cut in tables.
_LONGEST: Final = 40


class _Row(NamedTuple):
    """One estimate. Without a row, the program failed."""

    entry: Entry
    point: Mapping[str, object]
    observable: str
    row: EstimateRow | None


def write_estimates(here: Session, several: Iterable[Ended]) -> None:
    """Write the estimates of jobs as a table or CSV."""
    kept = list(several)
    names = list(dict.fromkeys(name for each in kept for point in each.points for name in point))
    parameters = list(dict.fromkeys(name for each in kept for name in _parameters(each)))
    has_several = len(kept) > 1 or any(len(each.job.program_runs) > 1 for each in kept)
    if here.output == "table":
        click.echo()
    rows = (row for each in kept for row in _rows(each))
    write_rows(here, _columns(names, parameters, has_several=has_several), rows, empty="no estimates")


def _parameters(one: Ended) -> list[str]:
    """Return the names of the parameters of the gradients."""
    return list(
        dict.fromkeys(
            name
            for each in one.results
            if each.message.HasField("expectation_values")
            for name in each.message.expectation_values.parameters
        )
    )


def _rows(one: Ended) -> Iterator[_Row]:
    from qonduit_client.estimates import is_estimate, rows_of

    # A reference replaces large options: their observables have numbers only.
    texts = [each.expression for each in one.job.estimator.observables]
    for entry in one.entries():
        found = [each for each in entry.results if is_estimate(each)]
        if not found:
            yield _Row(entry, {}, "", None)
        for result in found:
            for row in rows_of(result):
                text = texts[row.observable] if row.observable < len(texts) else ""
                point = one.points[row.point] if row.point < len(one.points) else {}
                yield _Row(entry, point, text, row)


def _columns(names: Sequence[str], parameters: Sequence[str], *, has_several: bool) -> list[Column]:
    def number(name: str, attribute: str, head: str = "") -> Column:
        def value(each: _Row) -> object:
            return None if each.row is None else getattr(each.row, attribute)

        return Column(name, value, head, lambda each: _text(value(each)), right=True)

    def input_column(name: str) -> Column:
        return Column(
            f"input.{name}",
            lambda each: each.point.get(name),
            name,
            lambda each: value_text(each.point.get(name, "")),
            right=True,
        )

    def derivative(place: int, name: str) -> Column:
        def value(each: _Row) -> object:
            return each.row.gradient[place] if each.row is not None and place < len(each.row.gradient) else None

        return Column(f"gradient.{name}", value, f"d/d {name}", lambda each: _text(value(each)), right=True)

    return [
        *map(input_column, names),
        Column("job_id", lambda each: each.entry.job.id, "JOB" if has_several else "", right=True),
        Column("program", lambda each: each.entry.run.index + 1, "PROGRAM" if has_several else "", _name),
        number("observable", "observable"),
        Column("expression", lambda each: each.observable, "OBSERVABLE", _shown),
        number("value", "value", "VALUE"),
        number("standard_error", "standard_error", "STANDARD ERROR"),
        number("variance", "variance"),
        number("confidence_low", "lower", "LOW"),
        number("confidence_high", "upper", "HIGH"),
        number("shots", "shots", "SHOTS"),
        number("bounded", "bounded"),
        *(derivative(place, name) for place, name in enumerate(parameters)),
        Column("failure", lambda each: each.entry.run.failure.reason),
    ]


def _name(each: _Row) -> str:
    return each.entry.name


def _shown(each: _Row) -> str:
    if each.row is None:
        return each.entry.run.failure.reason
    text = each.observable or f"observable {each.row.observable}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _text(value: Any) -> str:
    return "" if value is None else value_text(value)
