# SPDX-License-Identifier: Apache-2.0
"""Results of jobs as histograms, as a table of several jobs, as JSON or as CSV, and the exit code."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from qonduit_client.cli.colours import wants_color
from qonduit_client.cli.error_messages import CANCELLED, JOB_FAILED, OK, after_failure, worst
from qonduit_client.cli.output import Column, csv_writer, write_rows
from qonduit_client.cli.session import Session, print_error

if TYPE_CHECKING:
    from qonduit.v1.deployment_pb2 import QuantumProgram
    from qonduit.v1.job_pb2 import Job, ProgramRun
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle
    from qonduit_client.result import Result

_Command = TypeVar("_Command", bound=Callable[..., Any])

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

    def outcomes(self, result: Result) -> dict[str, int]:
        """Return the counts by the displayed keys."""
        return result.bitstrings if self.bits and result.registers else result.counts


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


@dataclass
class Ended:
    """One job and its results.

    Attributes:
        job: its current state.
        results: all results.
        names: of its programs, in their order; may be fewer.
        points: the inputs of a sweep for each program, in their order, all with the same keys.
    """

    job: Job
    results: list[Result]
    names: Sequence[str] = ()
    points: Sequence[Mapping[str, object]] = ()
    _of_run: dict[int, list[Result]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in self.results:
            self._of_run.setdefault(each.program_id, []).append(each)

    def runs(self) -> Iterator[tuple[ProgramRun, list[Result]]]:
        """Yield each program's run and its results."""
        for run in self.job.program_runs:
            yield run, self._of_run.get(run.program_id, [])

    def name(self, index: int) -> str:
        """Return the displayed name of a program."""
        return self.names[index] if index < len(self.names) else f"program {index + 1}"


def ended(
    client: Client, handle: JobHandle, names: Sequence[str] = (), points: Sequence[Mapping[str, object]] = ()
) -> Ended:
    """Read a job and its results; by default, derive the names of its programs from its deployment."""
    job = handle.job()
    return Ended(job, handle.stored_results(), names or _program_names(client, job), points)


def _program_names(client: Client, job: Job) -> list[str]:
    """Return the inputs that differ between the programs of a sweep; no names if the server does not respond."""
    from qonduit_client.errors import QonduitError

    if len(job.program_runs) < 2:
        return []
    try:
        programs = client.deployment(job.deployment_id).programs
    except QonduitError:
        return []
    if [each.id for each in programs] != [run.program_id for run in job.program_runs]:
        return []  # the deployment was updated since
    return [f"program {place}{_inputs(program)}" for place, program in enumerate(programs, 1)]


def _inputs(program: QuantumProgram) -> str:
    from google.protobuf.json_format import MessageToDict

    inputs = MessageToDict(program.python_file_inputs)
    return f" ({', '.join(f'{name}={value_text(value)}' for name, value in inputs.items())})" if inputs else ""


def value_text(value: object) -> str:
    """Format a value of an input: floats with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def show_one(here: Session, one: Ended, result_options: ResultOptions) -> int:
    """Write the results of one job as histograms, or its failure; return the exit code."""
    if here.output != "table":
        return show_several(here, [one], result_options)
    for run, results in one.runs():
        for each in results:
            click.echo(_drawn(each, one.name(run.index), result_options), color=wants_color(sys.stdout))
    return report_end(one.job)


def show_several(here: Session, several: Iterable[Ended], result_options: ResultOptions) -> int:
    """Write the results of jobs, one line per program, or their failures; return the most severe exit code."""
    if here.output == "json":
        from qonduit_client.cli.as_json import as_dict, as_line, result_as_dict

        codes = []
        for each in several:
            results = [result_as_dict(result) for result in each.results]
            line = {"job": as_dict(each.job), "results": results}
            click.echo(as_line(line | ({"points": [dict(point) for point in each.points]} if each.points else {})))
            codes.append(report_end(each.job))
        return worst(codes)
    if here.output == "csv":
        return _write_csv(several)
    kept = list(several)
    names = list(dict.fromkeys(name for each in kept for point in each.points for name in point))
    shares = {
        (each.job.id, run.index): _shares(run, results, result_options) for each in kept for run, results in each.runs()
    }
    rows = [(each, run) for each in kept for run, _ in each.runs()]
    columns = [
        *map(_point_column, names),
        Column("job", lambda row: row[0].job.id, "JOB", right=True),
        Column("program", lambda row: row[0].name(row[1].index), "PROGRAM"),
        Column("state", lambda row: _state(row[1].state), "STATE"),
        Column("outcomes", lambda row: shares[row[0].job.id, row[1].index], "OUTCOMES"),
    ]
    if rows:
        click.echo()
    write_rows(here, columns, rows, empty="no results")
    return worst([report_end(each.job) for each in kept])


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
        for run, results in each.runs():
            point = [each.points[run.index][name] for name in names] if run.index < len(each.points) else []
            about = [*point, each.job.id, run.index + 1, run.program_id, _state(run.state)]
            for row in _csv_rows(run, results):
                write([*about, *row])
        codes.append(report_end(each.job))
    if write is None:
        csv_writer(CSV_COLUMNS)
    return worst(codes)


def _csv_rows(run: ProgramRun, results: Sequence[Result]) -> Iterator[tuple[object, ...]]:
    reason = run.failure.reason if run.HasField("failure") else None
    some = False
    for each in results:
        if (state := each.amplitudes) is not None:
            for place, amplitude in enumerate(map(complex, state)):
                some = True
                yield "STATEVECTOR", place, None, abs(amplitude) ** 2, amplitude.real, amplitude.imag, reason
        else:
            for key, count in each.counts.items():
                some = True
                yield "COUNTS", key, count, count / each.shots, None, None, reason
    if not some:
        yield None, None, None, None, None, None, reason


def _point_column(name: str) -> Column:
    """Return a column of a sweep's input."""

    def value(row: tuple[Ended, ProgramRun]) -> object:
        one, run = row
        return one.points[run.index].get(name) if run.index < len(one.points) else ""

    return Column(name, value, name, lambda row: value_text(value(row)), right=True)


def _state(state: int) -> str:
    from qonduit_client.job import state_name

    return state_name(state)


def _shares(run: ProgramRun, results: Sequence[Result], result_options: ResultOptions) -> str:
    """Return the most frequent outcomes of a program on one line, or the reason for their absence."""
    from qonduit_client.result import most_frequent

    if run.HasField("failure"):
        return run.failure.reason
    for each in results:
        if each.amplitudes is None:
            counts = result_options.outcomes(each)
            top = 4 if result_options.top is None else result_options.top or len(counts)
            kept = most_frequent(counts, top) if result_options.sort == "count" or len(counts) > top else list(counts)
            text = ", ".join(f"{key} {counts[key] / each.shots:.1%}" for key in kept)
            return text + (f", {len(counts) - len(kept)} more" if len(counts) > len(kept) else "")
    return ""


def _drawn(result: Result, name: str, result_options: ResultOptions) -> str:
    from qonduit_client.histogram import amplitudes_text, can_write_bars, text_of

    top = 16 if result_options.top is None else result_options.top
    if (state := result.amplitudes) is not None:
        return f"\n{name}: statevector of {result.message.statevector.num_qubits} qubits\n" + amplitudes_text(
            state, top=top
        )
    counts = result_options.outcomes(result)
    registers = " ".join(f"{register.name}[{register.size}]" for register in result.registers)
    title = f"{name}: {result.shots} shots, {len(counts)} outcomes" + (f" of {registers}" if registers else "")
    title += _method_text(result.meta_data)
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    drawn = text_of(
        counts,
        sort=result_options.sort,
        top=top,
        width=width,
        color=wants_color(sys.stdout),
        ascii_only=not can_write_bars(sys.stdout),
    )
    return f"\n{title}\n{drawn}"


def _method_text(meta_data: Mapping[str, Any]) -> str:
    """Return the simulation method of a result, and by how much it may be wrong."""
    if not (method := meta_data.get("method")):
        return ""
    if not meta_data.get("approximate"):
        return f", {method}"
    facts = (("discarded weight", "discarded_weight"), ("fidelity at least", "fidelity_bound"))
    known = ", ".join(f"{words} {meta_data[key]:.4g}" for words, key in facts if key in meta_data)
    return f", {method}, approximate" + (f": {known}" if known else "")
