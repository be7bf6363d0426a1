# SPDX-License-Identifier: Apache-2.0
"""Commands of operators that keep jobs waiting: pause, drain, resume, pauses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qonduit_client.cli import completion
from qonduit_client.cli.error_messages import OK, TIMED_OUT
from qonduit_client.cli.output import Column, moment, write_rows
from qonduit_client.cli.session import Session, session, shared_options

if TYPE_CHECKING:
    from qonduit.v1.pause_pb2 import Pause
    from qonduit_client.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: The time between two questions for the number of running jobs.
_POLL_SECONDS: Final = 1.0

_subject = click.argument("subject", metavar="SUBJECT", shell_complete=completion.subjects)
_message = click.option(
    "--message", default="", metavar="TEXT", help="Text for callers: why, and until when. At most 500 bytes."
)


@click.command()
@_subject
@_message
@shared_options()
def pause(subject: str, message: str) -> int:
    """Pause SUBJECT: "PROVIDER/device", a provider, or "server" for all servers.

    New jobs are accepted and wait, running jobs continue, and a restart of a server keeps the pause.
    """
    here = session()
    with here.client() as client:
        _write(here, [client.pause(subject, message)])
    return OK


@click.command()
@_subject
@_message
@click.option("--wait", is_flag=True, help="Wait until no job runs there.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: at most this long.")
@shared_options()
def drain(subject: str, message: str, wait: bool, timeout: float | None) -> int:
    """Pause SUBJECT, and show how many of its jobs still run; with --wait, until the last one has ended."""
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    here = session()
    deadline = None if timeout is None else time.monotonic() + timeout
    with here.client() as client:
        found = client.pause(subject, message)
        while wait and not found.drained:
            if deadline is not None and time.monotonic() >= deadline:
                _write(here, [found])
                return TIMED_OUT
            time.sleep(_POLL_SECONDS)
            found = _own(client, found)
        _write(here, [found])
    return OK


def _own(client: Client, known: Pause) -> Pause:
    """Return the current state of a pause.

    Raises:
        ClickException: another operator ended it.
    """
    for each in client.pauses():
        if each.subject == known.subject:
            return each
    raise click.ClickException(f"{known.subject} is not paused any more: another operator resumed it")


@click.command()
@_subject
@shared_options()
def resume(subject: str) -> int:
    """End the pause of SUBJECT: "PROVIDER/device", a provider, or "server" for all servers."""
    here = session()
    with here.client() as client:
        client.resume(subject)
    if here.output == "table":
        click.echo(f"{subject} is not paused")
    else:
        write_rows(here, [Column("resumed", lambda each: each)], [subject])
    return OK


@click.command()
@shared_options()
def pauses() -> int:
    """List the pauses, with the jobs that still run there."""
    here = session()
    with here.client() as client:
        _write(here, client.pauses())
    return OK


def _write(here: Session, found: Iterable[Pause]) -> None:
    from qonduit_client.formatting import local_time

    columns = [
        Column("subject", lambda each: each.subject, "PAUSED"),
        Column("paused_at", lambda each: moment(each.paused_at), "SINCE", lambda each: local_time(each.paused_at)),
        Column("running_jobs", lambda each: each.running_jobs, "RUNNING", right=True),
        Column("drained", lambda each: each.drained, "DRAINED", lambda each: "yes" if each.drained else "no"),
        Column("paused_by", lambda each: each.paused_by, "BY"),
        Column("message", lambda each: each.message, "MESSAGE"),
    ]
    write_rows(here, columns, found, line=lambda each: each, empty="nothing is paused")
