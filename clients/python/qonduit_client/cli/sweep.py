# SPDX-License-Identifier: Apache-2.0
"""The option --sweep NAME=VALUES: run the programs at every point.

Numbers are the parameter values of one job. Other values, as strings of bits, become part of the programs
(`python_file_inputs`), in as few jobs as the limits allow.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from qonduit_client.cli.ended_jobs import ended
from qonduit_client.cli.error_messages import INTERRUPTED, OK, worst
from qonduit_client.cli.input_options import named_values
from qonduit_client.cli.output import Column, write_rows
from qonduit_client.cli.result_output import ResultOptions, show_several
from qonduit_client.cli.session import Session
from qonduit_client.cli.watch import interruptible, report_errors, unfinished

if TYPE_CHECKING:
    from qonduit.v1.deployment_pb2 import QuantumProgram
    from qonduit.v1.event_pb2 import JobEvent
    from qonduit.v1.sweep_pb2 import ParameterSets
    from qonduit_client.cli.views import Row
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle
    from qonduit_client.multi_watch import WatchedJob

#: Jobs of a sweep that are queued or run at the same time.
_AT_ONCE: Final = 8
_Command = TypeVar("_Command", bound=Callable[..., Any])
Axes = Mapping[str, Sequence[object]]


def sweep_option(command: _Command) -> _Command:
    """Add the option; the command receives `sweep`, the values of each input by name; empty without the option."""
    return click.option(
        "--sweep",
        multiple=True,
        metavar="NAME=VALUES",
        callback=_parsed,
        help="Run the programs for each value of an input: theta=0:2*pi:9 (START:STOP:COUNT, ends included) "
        "or theta='[0, 0.5]'. Repeatable: all combinations are run.",
    )(command)


def _parsed(context: click.Context, option: click.Parameter, pairs: Sequence[str]) -> dict[str, list[object]]:
    axes: dict[str, list[object]] = {}
    if not pairs:
        return axes
    from qonduit_client.input_values import struct_of
    from qonduit_client.sweep import MOST, values_of

    for name, text in named_values(context, option, pairs):
        try:
            axes[name] = values_of(text)
            for value in axes[name]:
                struct_of({name: value})
        except ValueError as error:
            raise click.BadParameter(f"{name}: {error}", context, option) from None
    if (count := prod(map(len, axes.values()))) > MOST:
        raise click.BadParameter(f"a sweep has at most {MOST} points, got {count}; split it", context, option)
    return axes


def run_sweep(
    here: Session,
    client: Client,
    sources: Sequence[str],
    programs: Sequence[Any] | None,
    deployment: int | None,
    axes: Axes,
    result_options: ResultOptions,
    options: dict[str, Any],
    *,
    request_id: str | None,
    timeout: float | None,
    detach: bool,
    validate_only: bool,
) -> int:
    """Run the programs at every point, follow all jobs and show a table; return the exit code."""
    _check_names(axes, options["inputs"])
    base = _uuid(request_id)
    if is_numeric(axes):
        return _run_points(
            here,
            client,
            *(sources, programs, deployment, axes, result_options, options),
            base=base,
            timeout=timeout,
            detach=detach,
            validate_only=validate_only,
        )
    chunks = list(_chunks(client, sources, programs, deployment, axes, options.pop("language")))
    points = sum(len(chunk) for chunk in chunks)
    if validate_only:
        for chunk in chunks:
            client.check([program for _, _, program in chunk], **options)
        click.echo(f"valid: {points} programs in {len(chunks)} jobs on {options['device']}; nothing was run")
        return OK
    parts = [
        _part(client, chunk, str(uuid.uuid5(base, str(place))), place, options) for place, chunk in enumerate(chunks)
    ]
    return _run_parts(here, client, parts, result_options, base, timeout=timeout, detach=detach)


def is_numeric(axes: Axes) -> bool:
    """Return whether all values are numbers or Booleans, so that they can be the parameter values of one job."""
    return all(isinstance(value, int | float) for values in axes.values() for value in values)


def numeric_values(axes: Axes, inputs: Mapping[str, object] | None) -> ParameterSets | None:
    """Return the parameter values of all points of a sweep; None without a sweep.

    Raises:
        click.UsageError: a value is not a number, or an input is also set without a sweep.
    """
    if not axes:
        return None
    from qonduit.v1.sweep_pb2 import ParameterSets
    from qonduit_client.sweep import points_of

    _check_names(axes, inputs)
    if not is_numeric(axes):
        raise click.UsageError("--sweep: values must be numbers; only `qonduit run` sweeps other values")
    values = [float(value) for point in points_of(axes) for value in point.values()]  # type: ignore[arg-type]
    return ParameterSets(names=axes, values=values)


def _check_names(axes: Axes, inputs: Mapping[str, object] | None) -> None:
    both = sorted(set(axes) & set(inputs or {}))
    if both:
        raise click.UsageError(f"{', '.join(both)}: set by both --sweep and --input; set it once")


def _run_points(
    here: Session,
    client: Client,
    sources: Sequence[str],
    programs: Sequence[Any] | None,
    deployment: int | None,
    axes: Axes,
    result_options: ResultOptions,
    options: dict[str, Any],
    *,
    base: uuid.UUID,
    timeout: float | None,
    detach: bool,
    validate_only: bool,
) -> int:
    """Run the programs at every point as one job."""
    from qonduit_client.formatting import plural

    values = numeric_values(axes, options["inputs"])
    points = prod(map(len, axes.values()))
    if validate_only:
        client.check(programs, deployment_id=deployment, parameter_values=values, **options)
        click.echo(f"valid: {plural(points, 'point')} in one job on {options['device']}; nothing was run")
        return OK
    start = partial(
        client.run, programs, deployment_id=deployment, parameter_values=values, request_id=str(base), **options
    )
    part = _Part(start, list(sources), (), plural(points, "point"))
    return _run_parts(here, client, [part], result_options, base, timeout=timeout, detach=detach)


_Chunk = Sequence[tuple[Mapping[str, object], str, "QuantumProgram"]]


def _chunks(
    client: Client,
    sources: Sequence[str],
    programs: Sequence[Any] | None,
    deployment: int | None,
    axes: Axes,
    language: str | None,
) -> Iterator[_Chunk]:
    """Yield the programs of each job, each with its point and its name, ordered by point."""
    from qonduit_client.batch import chunks_of
    from qonduit_client.program_messages import programs_of
    from qonduit_client.sweep import MOST, at_point, points_of

    kept = list(client.deployment(deployment).programs) if deployment is not None else programs_of(programs, language)
    names = list(sources) or [f"program {place}" for place in range(1, len(kept) + 1)]
    if (count := prod(map(len, axes.values())) * len(kept)) > MOST:
        raise click.UsageError(f"a sweep has at most {MOST} programs, got {count}; split it")
    every = [
        (point, name, at_point(program, point))
        for point in points_of(axes)
        for name, program in zip(names, kept, strict=True)
    ]
    begin = 0
    for chunk in chunks_of([program for _, _, program in every], client.server_limits()):
        yield every[begin : begin + len(chunk)]
        begin += len(chunk)


class _Part(NamedTuple):
    """One job of a sweep.

    Attributes:
        start: creates the job.
        names: of its programs.
        points: of each program; empty if the job has parameter values.
        size: for display.
    """

    start: Callable[[], JobHandle]
    names: Sequence[str]
    points: Sequence[Mapping[str, object]]
    size: str


def _part(client: Client, chunk: _Chunk, request_id: str, place: int, options: Mapping[str, Any]) -> _Part:
    from qonduit_client.batch import derived_seed
    from qonduit_client.formatting import plural

    seed = options["seed"]
    own = dict(options)
    # The server rejects an invalid seed.
    own["seed"] = seed if seed is None or seed < 0 else derived_seed(seed, place)
    start = partial(client.run, [program for _, _, program in chunk], request_id=request_id, **own)
    names, points = [name for _, name, _ in chunk], [point for point, _, _ in chunk]
    return _Part(start, names, points, plural(len(chunk), "program"))


def _run_parts(
    here: Session,
    client: Client,
    parts: Sequence[_Part],
    result_options: ResultOptions,
    base: uuid.UUID,
    *,
    timeout: float | None,
    detach: bool,
) -> int:
    """Create the jobs and show a table of their results; with `detach`, print their ids."""
    from qonduit_client.cli.views import view_for
    from qonduit_client.multi_watch import WatchedJob, watch_all

    if detach:
        write_rows(here, [Column("job_id", lambda handle: handle.id, "JOB")], (part.start() for part in parts))
        return OK
    several: list[WatchedJob] = []
    again = f"  show the whole sweep: the same command with --request-id {base}; it creates nothing twice"
    with (
        interruptible(here, lambda: unfinished(several), again) as interrupted,
        view_for(output=here.output, jobs=len(parts)) as view,
    ):
        for place, part in enumerate(parts, 1):
            row = view.row(f"{'sweep' if len(parts) == 1 else f'part {place}'} of {part.size}")
            several.append(WatchedJob(part.start, row if here.as_json else _of_the_whole(row)))
        watch_all(client, several, timeout=timeout, threads=_AT_ONCE, queue_updates=view.queue_updates)
    if interrupted:
        return INTERRUPTED
    shown = (
        ended(client, each.handle, part.names, part.points)
        for each, part in zip(several, parts, strict=True)
        if each.handle is not None and each.job is not None
    )
    return worst([show_several(here, shown, result_options), report_errors(here, several)])


def _of_the_whole(row: Row) -> Row:
    """Omit events of single programs: a sweep may have hundreds."""

    def show(event: JobEvent) -> None:
        if event.WhichOneof("event") not in ("program_run", "result_ready"):
            row(event)

    return show


def _uuid(text: str | None) -> uuid.UUID:
    """Return the id from which the request ids of the jobs are derived: the given one, or a new one."""
    try:
        return uuid.uuid4() if text is None else uuid.UUID(text)
    except ValueError:
        raise click.UsageError(f"--request-id: {text!r} is not a UUID; `uuidgen` creates one") from None
