# SPDX-License-Identifier: Apache-2.0
"""Results of jobs as histograms, as a table of several jobs, as JSON or as CSV, and the exit code."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from qonduit_client.cli.colours import wants_color
from qonduit_client.cli.ended_jobs import Ended, Entry, value_text
from qonduit_client.cli.error_messages import CANCELLED, JOB_FAILED, OK, after_failure, worst
from qonduit_client.cli.estimate_output import write_estimates
from qonduit_client.cli.output import Column, csv_writer, write_rows
from qonduit_client.cli.session import Session, print_error

if TYPE_CHECKING:
    from qonduit.v1.job_pb2 import Job, ProgramRun
    from qonduit_client.result import Result

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Shots that are listed in their order.
_FIRST_SHOTS: Final = 8
#: The columns of results in CSV: one row per outcome or amplitude, or one for a program without results.
CSV_COLUMNS: Final = (
    *("job_id", "program", "program_id", "state", "result_type"),
    *("outcome", "count", "probability", "real", "imaginary", "failure"),
)


@dataclass(frozen=True)
class ResultOptions:
    """How results are shown: order, number of outcomes, and bits instead of hexadecimal numbers."""

    sort: Literal["key", "count"] = "key"
    top: int | None = None
    bits: bool = False

    def shares(self, result: Result) -> dict[str, float]:
        """Return the share of each outcome by the displayed keys."""
        from qonduit_client.result import as_bits
        from qonduit_client.samples import Sample, is_sample

        found = Sample(result).quasi_probabilities if is_sample(result) else result.probabilities
        registers = result.registers
        return {as_bits(key, registers): share for key, share in found.items()} if self.bits and registers else found


def add_result_options(command: _Command) -> _Command:
    """Add the options that make a `ResultOptions`: sort, top, bits."""
    for option in (
        click.option("--bits", is_flag=True, help="Write outcomes as bits instead of hexadecimal numbers."),
        click.option(
            "--top",
            type=click.IntRange(min=0),
            metavar="N",
            help="Show the N most frequent; 0 shows all. [default: 16, 4 in tables of several programs]",
        ),
        click.option(
            "--sort", type=click.Choice(["key", "count"]), default="key", show_default=True, help="Order of outcomes."
        ),
    ):
        command = option(command)
    return command


def show_one(here: Session, one: Ended, result_options: ResultOptions) -> int:
    """Write the results of one job as histograms, or its failure; return the exit code."""
    if here.output != "table" or one.is_estimator or one.has_parameter_sets:
        return show_several(here, [one], result_options)
    for entry in one.entries():
        for each in entry.results:
            click.echo(_drawn(each, entry.name, result_options), color=wants_color(sys.stdout))
    return report_end(one.job)


def show_several(here: Session, several: Iterable[Ended], result_options: ResultOptions) -> int:
    """Write the results of jobs, one line per program and point, or their failures; return the worst exit code."""
    if here.output == "json":
        return _write_json(several)
    jobs = iter(several)
    first = next(jobs, None)
    several = jobs if first is None else itertools.chain([first], jobs)
    if here.output == "csv":
        if first is None or not first.is_estimator:
            return _write_csv(several)
        several = list(several)
        if not all(each.is_estimator for each in several):
            return _write_csv(several)
    kept = list(several)
    estimators = [each for each in kept if each.is_estimator]
    others = [each for each in kept if not each.is_estimator]
    if estimators:
        write_estimates(here, estimators)
    if others or not estimators:
        _write_table(here, others, result_options)
    return worst([report_end(each.job) for each in kept])


def _write_json(several: Iterable[Ended]) -> int:
    from qonduit_client.cli.as_json import as_dict, as_line, result_as_dict

    codes = []
    for each in several:
        results = [result_as_dict(result) for result in each.results]
        line = {"job": as_dict(each.job), "results": results}
        click.echo(as_line(line | ({"points": [dict(point) for point in each.points]} if each.points else {})))
        codes.append(report_end(each.job))
    return worst(codes)


def _write_table(here: Session, several: Sequence[Ended], result_options: ResultOptions) -> None:
    names = list(dict.fromkeys(name for each in several for point in each.points for name in point))
    rows = [entry for each in several for entry in each.entries()]
    columns = [
        *map(_point_column, names),
        Column("job", lambda entry: entry.job.id, "JOB", right=True),
        Column("program", lambda entry: entry.name, "PROGRAM"),
        Column("state", lambda entry: _state(entry.run.state), "STATE"),
        Column("outcomes", lambda entry: _shares(entry.run, entry.results, result_options), "OUTCOMES"),
    ]
    if rows:
        click.echo()
    write_rows(here, columns, rows, empty="no results")


def report_end(job: Job) -> int:
    """Report a failed or cancelled job on standard error with the next step; return the exit code."""
    from qonduit.v1.job_pb2 import JobState
    from qonduit_client.formatting import failure_text

    if job.state == JobState.JOB_STATE_FAILED:
        print_error("Failed", f"{failure_text(job.failure)}\n{after_failure(job.failure, job.id)}")
        return JOB_FAILED
    if job.state == JobState.JOB_STATE_CANCELLED:
        click.echo(f"job {job.id} was cancelled; run it again with `qonduit rerun {job.id}`", err=True)
        return CANCELLED
    return OK


def _write_csv(several: Iterable[Ended]) -> int:
    write: Callable[[Sequence[object]], None] | None = None
    codes = []
    for each in several:
        names = list(each.points[0]) if each.points else []
        write = write or csv_writer([*(f"input.{name}" for name in names), *CSV_COLUMNS])
        for entry in each.entries():
            point = [entry.point.get(name) for name in names]
            about = [*point, each.job.id, entry.run.index + 1, entry.run.program_id, _state(entry.run.state)]
            for row in _csv_rows(entry.run, entry.results):
                write([*about, *row])
        codes.append(report_end(each.job))
    if write is None:
        csv_writer(CSV_COLUMNS)
    return worst(codes)


def _csv_rows(run: ProgramRun, results: Sequence[Result]) -> Iterator[tuple[object, ...]]:
    reason = run.failure.reason if run.HasField("failure") else None
    some = False
    for each in results:
        for row in _rows_of(each):
            some = True
            yield (*row, reason)
    if not some:
        yield None, None, None, None, None, None, reason


def _rows_of(result: Result) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a result: its type, outcome, count, probability, real and imaginary part."""
    from qonduit_client.samples import Sample, is_sample

    if (state := result.amplitudes) is not None:
        for place, amplitude in enumerate(map(complex, state)):
            yield "STATEVECTOR", place, None, abs(amplitude) ** 2, amplitude.real, amplitude.imag
    elif is_sample(result):
        sample = Sample(result)
        for key, share in sample.quasi_probabilities.items():
            yield "QUASI_DISTRIBUTION", key, None, share, None, None
        for numbers in sample.rows():
            yield "SHOT", " ".join(map(hex, numbers)), None, None, None, None
    elif result.message.HasField("expectation_values"):
        from qonduit_client.estimates import rows_of

        for row in rows_of(result):
            yield "EXPECTATION_VALUES", row.observable, None, None, row.value, None
    else:
        for key, count in result.counts.items():
            yield "COUNTS", key, count, count / result.shots, None, None


def _point_column(name: str) -> Column:
    """Return a column of a sweep's input."""

    def value(entry: Entry) -> object:
        return entry.point.get(name, "")

    return Column(name, value, name, lambda entry: value_text(value(entry)), right=True)


def _state(state: int) -> str:
    from qonduit_client.job import state_name

    return state_name(state)


def _shares(run: ProgramRun, results: Sequence[Result], result_options: ResultOptions) -> str:
    """Return the most frequent outcomes of a program on one line, or the reason for their absence."""
    from qonduit_client.result import most_frequent

    for each in results:
        if each.amplitudes is None:
            shares = result_options.shares(each)
            top = 4 if result_options.top is None else result_options.top or len(shares)
            kept = most_frequent(shares, top) if result_options.sort == "count" or len(shares) > top else list(shares)
            text = ", ".join(f"{key} {shares[key]:.1%}" for key in kept)
            return text + (f", {len(shares) - len(kept)} more" if len(shares) > len(kept) else "")
    return run.failure.reason


def _drawn(result: Result, name: str, result_options: ResultOptions) -> str:
    from qonduit_client.histogram import amplitudes_text, can_write_bars, text_of
    from qonduit_client.samples import Sample, is_sample

    top = 16 if result_options.top is None else result_options.top
    if (state := result.amplitudes) is not None:
        return f"\n{name}: statevector of {result.message.statevector.num_qubits} qubits\n" + amplitudes_text(
            state, top=top
        )
    shares = result_options.shares(result)
    exact = is_sample(result) and Sample(result).exact
    registers = " ".join(f"{register.name}[{register.size}]" for register in result.registers)
    title = f"{name}: {'exact' if exact else f'{result.shots} shots'}, {len(shares)} outcomes"
    title += (f" of {registers}" if registers else "") + _method_text(result.meta_data)
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    drawn = text_of(
        shares if exact else {key: round(share * result.shots) for key, share in shares.items()},
        sort=result_options.sort,
        top=top,
        width=width,
        color=wants_color(sys.stdout),
        ascii_only=not can_write_bars(sys.stdout),
        only_shares=exact,
    )
    return f"\n{title}\n{drawn}{_first_shots(result)}"


def _first_shots(result: Result) -> str:
    """Return the first shots of a sample that has them in order, on a line."""
    from qonduit_client.samples import Sample, is_sample

    rows = Sample(result).rows() if is_sample(result) else iter(())
    first = [" ".join(map(hex, numbers)) for numbers in itertools.islice(rows, _FIRST_SHOTS)]
    return f"\n  first shots: {', '.join(first)}" if first else ""


def _method_text(meta_data: Mapping[str, Any]) -> str:
    """Return the simulation method of a result, and by how much it may be wrong."""
    if not (method := meta_data.get("method")):
        return ""
    if not meta_data.get("approximate"):
        return f", {method}"
    facts = (("discarded weight", "discarded_weight"), ("fidelity at least", "fidelity_bound"))
    known = ", ".join(f"{words} {meta_data[key]:.4g}" for words, key in facts if key in meta_data)
    return f", {method}, approximate" + (f": {known}" if known else "")
