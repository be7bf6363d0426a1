# SPDX-License-Identifier: Apache-2.0
"""Commands that follow a job and show what it measured: run, watch, rerun, result."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from qonduit_client.cli_inputs import input_option
from qonduit_client.cli_session import (
    INTERRUPTED,
    JOB_FAILED,
    NUMBER,
    OK,
    Session,
    emphasized,
    exit_code,
    session,
    shared_options,
)
from qonduit_client.errors import JobCancelled, QonduitError

if TYPE_CHECKING:
    from qonduit_client.boards import Board
    from qonduit_client.client import Client
    from qonduit_client.job import JobHandle
    from qonduit_client.programs import Program
    from qonduit_client.result import Result

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Look:
    """How histograms are drawn: order, number of outcomes, and bits instead of hexadecimal numbers."""

    def __init__(self, sort: Literal["key", "count"] = "key", top: int = 16, bits: bool = False) -> None:
        self.sort = sort
        self.top = top
        self.bits = bits


def _look_options(command: _Command) -> _Command:
    for option in (
        click.option("--bits", is_flag=True, help="Write outcomes as bits instead of hexadecimal numbers."),
        click.option(
            "--top", default=16, show_default=True, metavar="N", help="Show the N most frequent; 0 shows all."
        ),
        click.option("--sort", type=click.Choice(["key", "count"]), default="key", show_default=True, help="Order."),
    ):
        command = option(command)
    return command


_timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop waiting; the job goes on."
)


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILE]...")
@click.option("--device", default="IBM/aer_simulator", show_default=True, metavar="PROVIDER/NAME", help="Where to run.")
@click.option(
    "--shots", type=NUMBER, default=1000, show_default=True, metavar="N", help="How often each circuit is run."
)
@click.option("--language", metavar="NAME", help="QASM2, QASM3 ... [default: found out from the program]")
@click.option("--seed", type=NUMBER, metavar="N", help="Fixes the randomness of simulators.")
@click.option("--name", help="A name for people. [default: the first file's]")
@click.option("--deployment", type=NUMBER, metavar="ID", help="Run this deployment's programs instead of files.")
@click.option("--request-id", metavar="UUID", help="Running again with the same id and request gives the same job.")
@input_option
@click.option("--statevector", is_flag=True, help="Show each program's exact state before its final measurements, too.")
@click.option("--detach", is_flag=True, help="Do not follow the job: write its id and end.")
@click.option("--validate-only", is_flag=True, help="Have the job checked, without running it.")
@_timeout_option
@_look_options
@shared_options()
def run(
    sources: Sequence[str],
    device: str,
    shots: int,
    language: str | None,
    seed: int | None,
    name: str | None,
    deployment: int | None,
    request_id: str | None,
    inputs: dict[str, object] | None,
    statevector: bool,
    detach: bool,
    validate_only: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int,
    bits: bool,
) -> int:
    """Run programs, follow the job and show what was measured.

    Each FILE is a program of the job; - reads one from standard input. Ctrl-C stops following; the job goes on.
    """
    here = session()
    if bool(sources) == (deployment is not None):
        raise click.UsageError("give either program files (- for standard input) or --deployment ID")
    programs = read_sources(sources) if sources else None
    name = name or next((Path(source).name for source in sources if source != "-"), None)
    given_id = request_id
    request_id = request_id or str(uuid.uuid4())
    with here.client() as client:
        if validate_only:
            job = client.check(
                *(programs, device, shots, seed, name, language),
                deployment_id=deployment,
                inputs=inputs,
                statevector=statevector,
            )
            _say(here, {"job": job}, f"valid: {shots} shots on {device}; nothing was run")
            return OK
        try:
            handle = client.run(
                *(programs, device, shots, seed, name, language, request_id),
                deployment_id=deployment,
                inputs=inputs,
                statevector=statevector,
            )
        except KeyboardInterrupt:
            again = f"run the same again with --request-id {request_id}: it gives the same job, never a second one"
            click.echo(f"\nInterrupted while submitting. The job may have been made; {again}", err=True)
            return INTERRUPTED
        if handle.deduplicated and given_id:
            click.echo(f"This request id made job {handle.id} before; here it is.", err=True)
        if detach:
            _say(here, {"job": handle.job() if here.as_json else None}, str(handle.id))
            return OK
        return follow(here, handle, sources, timeout, Look(sort, top, bits), label=device if not deployment else "")


@click.command()
@click.argument("job_id", type=NUMBER, metavar="JOB")
@_timeout_option
@_look_options
@shared_options()
def watch(job_id: int, timeout: float | None, sort: Literal["key", "count"], top: int, bits: bool) -> int:
    """Follow a job until it ends, from its first event, and show what was measured."""
    here = session()
    with here.client() as client:
        return follow(here, client.job(job_id), (), timeout, Look(sort, top, bits))


@click.command()
@click.argument("job_id", type=NUMBER, metavar="JOB")
@click.option("--request-id", metavar="UUID", help="Running again with the same id gives the same job.")
@click.option("--detach", is_flag=True, help="Do not follow the job: write its id and end.")
@_timeout_option
@_look_options
@shared_options()
def rerun(
    job_id: int,
    request_id: str | None,
    detach: bool,
    timeout: float | None,
    sort: Literal["key", "count"],
    top: int,
    bits: bool,
) -> int:
    """Run a job's programs again, as a new job."""
    here = session()
    with here.client() as client:
        handle = client.rerun(job_id, request_id=request_id)
        if detach:
            _say(here, {"job": handle.job() if here.as_json else None}, str(handle.id))
            return OK
        return follow(here, handle, (), timeout, Look(sort, top, bits))


@click.command()
@click.argument("job_id", type=NUMBER, metavar="JOB")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@_timeout_option
@_look_options
@shared_options()
def result(job_id: int, wait: bool, timeout: float | None, sort: Literal["key", "count"], top: int, bits: bool) -> int:
    """Show what a job measured."""
    from qonduit_client.job import TERMINAL, state_name

    here = session()
    with here.client() as client:
        handle = client.job(job_id)
        with _interruptible(here, handle) as interrupted:
            job = handle.wait(timeout) if wait else handle.job()
        if interrupted:
            return INTERRUPTED
        code = _show_end(here, handle, (), Look(sort, top, bits))
        if job.state not in TERMINAL and not here.as_json:
            click.echo(
                f"job {job_id} is {state_name(job.state)}; wait for it: qonduit watch {job_id}{here.server_hint()}"
            )
        return code


def run_and_show(
    client: Client,
    program: Program | Sequence[Program],
    device: str = "IBM/aer_simulator",
    shots: int = 1000,
    *,
    seed: int | None = None,
    timeout: float | None = None,
) -> int:
    """Runs programs, shows live progress and then histograms on standard output; returns the exit code.

    Raises:
        QonduitError: the server refused, or went away, or the timeout passed.
    """
    handle = client.run(program, device, shots, seed)
    return follow(Session(server=client.target), handle, (), timeout, Look(), label=device)


def follow(
    here: Session,
    handle: JobHandle,
    sources: Sequence[str],
    timeout: float | None,
    look: Look,
    *,
    label: str = "",
) -> int:
    """Shows a job's events until it has ended, then its results; returns the exit code."""
    from qonduit_client.boards import board_for

    with _interruptible(here, handle) as interrupted:
        board: Board
        with board_for(json=here.as_json) as board:
            row = board.row(label)
            for event in handle.events(timeout=timeout):
                row(event)
    if interrupted:
        return INTERRUPTED
    return _show_end(here, handle, sources, look)


@contextmanager
def _interruptible(here: Session, handle: JobHandle) -> Iterator[list[bool]]:
    """Turns Ctrl-C into a word on how to go on; the server is asked nothing, so this works without one too."""
    interrupted: list[bool] = []
    try:
        yield interrupted
    except KeyboardInterrupt:
        hint = here.server_hint()
        click.echo(
            f"\nStopped following; job {handle.id} goes on.\n"
            f"  follow it:  qonduit watch {handle.id}{hint}\n  cancel it:  qonduit cancel {handle.id}{hint}",
            err=True,
        )
        interrupted.append(True)
    except QonduitError as error:
        if error.status in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
            error.add_note(f"follow it again: qonduit watch {handle.id}{here.server_hint()}")
        raise


def _show_end(here: Session, handle: JobHandle, sources: Sequence[str], look: Look) -> int:
    from qonduit.v1.job_pb2 import JobState

    job = handle.job()
    results = handle.stored_results()
    if here.as_json:
        from qonduit_client.as_json import as_dict, as_line, result_as_dict

        click.echo(as_line({"job": as_dict(job), "results": [result_as_dict(each) for each in results]}))
    else:
        places = {run.program_id: run.index for run in job.program_runs}
        for each in results:
            index = places.get(each.program_id, 0)
            name = sources[index] if index < len(sources) else f"program {index + 1}"
            click.echo(_drawn(each, name, look))
    if job.state == JobState.JOB_STATE_FAILED:
        from qonduit_client.telling import failure_words

        click.echo(f"{emphasized('Failed')}: {failure_words(job.failure)}", err=True)
        return JOB_FAILED
    if job.state == JobState.JOB_STATE_CANCELLED:
        click.echo(f"job {job.id} was cancelled", err=True)
        return exit_code(JobCancelled(job))
    return OK


def _drawn(result: Result, name: str, look: Look) -> str:
    import os
    import shutil

    from qonduit_client.histogram import amplitudes_text, can_write_bars, text_of

    if (state := result.statevector) is not None:
        return f"\n{name}: statevector of {result.message.statevector.num_qubits} qubits\n" + amplitudes_text(
            state, top=look.top
        )
    counts = result.bitstrings if look.bits and result.registers else result.counts
    registers = " ".join(f"{register.name}[{register.size}]" for register in result.registers)
    title = f"{name}: {result.shots} shots, {len(counts)} outcomes" + (f" of {registers}" if registers else "")
    ascii_only = not can_write_bars(sys.stdout)
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    drawn = text_of(counts, sort=look.sort, top=look.top, width=width, color=color, ascii_only=ascii_only)
    return f"\n{title}\n{drawn}"


def read_sources(sources: Sequence[str]) -> list[Program]:
    """Reads the programs of these files; "-" is standard input.

    Raises:
        click.UsageError: a file cannot be read.
    """
    programs: list[Program] = []
    for source in sources:
        if source == "-":
            programs.append(sys.stdin.buffer.read())
            continue
        path = Path(source)
        try:
            with path.open("rb"):
                programs.append(path)
        except OSError as error:
            raise click.UsageError(f"{source}: {error.strerror or error}") from None
    return programs


def _say(here: Session, answer: dict[str, Any], text: str) -> None:
    if here.as_json:
        from qonduit_client.as_json import as_dict, as_line

        click.echo(as_line({key: as_dict(message) for key, message in answer.items()}))
    else:
        click.echo(text)
