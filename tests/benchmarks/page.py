# SPDX-License-Identifier: Apache-2.0
"""The page of `make bench`: a Markdown table, and its place in BENCHMARKS.md."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "BENCHMARKS.md"
CORES = os.cpu_count() or 1
_COLUMNS = 5


@dataclass
class Row:
    """One line of the table: measurement, Qonduit, the reference, their ratio, and the goal."""

    what: str
    ours: str
    reference: str
    ratio: str
    goal: str

    @property
    def key(self) -> tuple[str, str]:
        """The measurement and its reference, without figures."""
        return self.what, self.reference.partition(":")[0]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| measurement | Qonduit | reference, same run | ratio | goal |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.what} | {r.ours} | {r.reference} | {r.ratio} | {r.goal} |" for r in rows])


def rows_of(text: str) -> list[Row]:
    """Return the rows of the first table of a page."""
    lines = text.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [Row(*each) for each in cells[1:] if len(each) == _COLUMNS]


def merged(kept: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return the rows of an earlier run, those that were measured again replaced, and further ones behind them."""
    latest = {row.key: row for row in new}
    found = [latest.pop(row.key, row) for row in kept]
    return [*found, *latest.values()]


def write(rows: Sequence[Row], rounds: int, shots: int, *, whole: bool) -> None:
    """Store a table in BENCHMARKS.md; sections under headings are written by hand.

    Args:
        rows: the measurements.
        rounds: the number of rounds.
        shots: of a circuit.
        whole: whether these are all measurements; otherwise other rows of the page stay.
    """
    text = PAGE.read_text()
    _, heading, rest = text.partition("\n## ")
    if not whole:
        start, _, _ = text.partition("\n| measurement")
        PAGE.write_text(start + "\n" + table(merged(rows_of(text), rows)) + "\n" + heading + rest)
        return
    head = (
        "# Benchmarks\n\n`make bench` writes this page. Qonduit and the reference alternate in one run. Each "
        "figure is the median of the rounds, with minimum and maximum. Absolute figures depend on the machine; "
        "compare the ratios.\n\n"
        f"Machine: {CORES} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{datetime.date.today().isoformat()}; {rounds} rounds, {shots} shots a circuit. The load generator (a "
        "Python client) shares the machine with the server. On a virtual machine, load of other machines on the "
        "same host widens the ranges.\n\n"
        'Times with "CPU" are processor time of a worker\'s part of a job: it chooses the method, compiles, runs and '
        "counts. The reference is the SDK in the same process, with its method chosen by hand.\n\n"
    )
    PAGE.write_text(head + table(rows) + "\n" + heading + rest)
