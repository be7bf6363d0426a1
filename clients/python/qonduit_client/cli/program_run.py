# SPDX-License-Identifier: Apache-2.0
"""The command `qonduit program run`: run a server program, and show what it publishes while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qonduit_client.cli.completion import devices
from qonduit_client.cli.credential_options import credential_options, take_credential
from qonduit_client.cli.error_messages import INTERRUPTED, OK
from qonduit_client.cli.input_options import input_option, label_option
from qonduit_client.cli.job_options import project_option, suggesting_devices
from qonduit_client.cli.run import print_jobs
from qonduit_client.cli.schedule_options import schedule_options
from qonduit_client.cli.session import Session, session, shared_options
from qonduit_client.cli.watch import interruptible, timeout_option

if TYPE_CHECKING:
    from qonduit.v1.event_pb2 import JobEvent
    from qonduit_client.program_runs import ProgramRun


@click.command()
@click.argument("program", metavar="PROGRAM")
@click.option(
    "--device",
    default="IBM/aer_simulator",
    show_default=True,
    metavar="PROVIDER/NAME",
    help="The device that the program gets as its backend.",
    shell_complete=devices,
)
@click.option("--name", help="Name of the job.")
@click.option("--environment", metavar="NAME", help="For a file: its Python environment.")
@click.option("--entry-point", metavar="FUNCTION", help="For a file: the function to run. [default: main]")
@click.option("--request-id", metavar="UUID", help="Idempotency key: the same id and request return the same job.")
@label_option("job")
@project_option("job and of those that the program submits")
@schedule_options
@credential_options
@input_option
@click.option("--detach", is_flag=True, help="Print the job's id and exit without following the job.")
@timeout_option
@shared_options()
def run(
    program: str,
    device: str,
    environment: str | None,
    entry_point: str | None,
    inputs: dict[str, Any] | None,
    detach: bool,
    timeout: float | None,
    **options: Any,
) -> int:
    """Run a server program, and show the values that it publishes while it runs.

    PROGRAM is NAME or NAME@VERSION of an uploaded program, the id of its deployment, or a Python file, which runs once
    and is not stored under a name. Ctrl-C stops following; the job continues.
    """
    here = session()
    given = {"environment": environment, "entry_point": entry_point}
    chosen = {name: value for name, value in given.items() if value is not None}
    wanted = _program(program)
    if chosen and not isinstance(wanted, Path):
        raise click.UsageError("--environment and --entry-point are options of a file: a stored program has its own")
    with here.client() as client, suggesting_devices(client, device):
        take_credential(client, options)
        try:
            handle = client.programs.run(wanted, device, inputs, options=chosen or None, **options)
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"cannot read {program}: {error}") from None
        if detach:
            return print_jobs(here, [handle.job() if here.as_json else handle.id])
        return follow_program(here, handle, timeout)


def follow_program(here: Session, handle: ProgramRun, timeout: float | None) -> int:
    """Show what a program publishes, prints and reports until it has ended, then its output; return the exit code.

    Raises:
        JobFailed: the program failed.
        JobCancelled: it was cancelled.
        TimedOut: it has not ended in time; it continues.
    """
    with interruptible(here, lambda: [handle.id]) as interrupted:
        if here.output == "table":
            click.echo(f"job {handle.id}", err=True)
        for event in handle.events(timeout=timeout):
            _show(here, event)
        value = handle.output()
    if interrupted:
        return INTERRUPTED
    click.echo(_line({"job_id": handle.id, "output": value}) if here.as_json else _line(value))
    return OK


def _show(here: Session, event: JobEvent) -> None:
    """Show one event: published values on standard output, the rest on standard error."""
    from qonduit_client.program_runs import published

    if (found := published(event)) is not None:
        if here.as_json:
            interim = {"value": found.value, "final": found.final}
            click.echo(_line({"job_id": event.job_id, "sequence": found.sequence, "interim_result": interim}))
        else:
            click.echo(_line(found.value))
    elif event.HasField("log"):
        click.echo(event.log.message, err=True)
    elif event.HasField("progress"):
        click.echo(f"{event.progress.progress:.0%} {event.progress.message}".rstrip(), err=True)


def _line(value: Any) -> str:
    """Return a value of a program as a line of JSON, in the encoding of docs/server-programs.md."""
    from qonduit_client.program_values import encode

    return json.dumps(encode(value), ensure_ascii=False)


def _program(text: str) -> str | int | Path:
    """Return what an argument names: a Python file, the id of a deployment, or a stored program."""
    if text.endswith(".py"):
        return Path(text)
    return int(text) if text.isdecimal() else text
