# SPDX-License-Identifier: Apache-2.0
"""The commands `qonduit program upload`, `list`, `show`, `run` and `delete`: Python programs that run on the server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from qonduit_client.cli.completion import projects
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, remove_each, write_rows
from qonduit_client.cli.program_run import run
from qonduit_client.cli.session import Session, session, shared_options

if TYPE_CHECKING:
    from qonduit.v1.server_program_pb2 import ServerProgram

_COLUMNS: Final = [
    Column("name", lambda each: each.name, "NAME"),
    Column("version", lambda each: each.version, "VERSION", right=True),
    Column("environment", lambda each: each.environment, "ENVIRONMENT"),
    Column("entry_point", lambda each: each.entry_point, "ENTRY POINT", lambda each: each.entry_point or "script"),
    Column("deployment_id", lambda each: each.deployment_id, "DEPLOYMENT", right=True),
    Column("program_id", lambda each: each.program_id),
    Column("sha256", lambda each: each.sha256),
    Column("description", lambda each: each.description, "DESCRIPTION"),
]

_project = click.option(
    "--project", default=None, metavar="NAME", help="The project that owns it. [default: you]", shell_complete=projects
)


@click.group()
def program() -> None:
    """Upload, list, show, run and delete Python programs that run on the server, beside a device.

    PROGRAM is NAME for the latest version, or NAME@VERSION.
    """


program.add_command(run)


@program.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", metavar="NAME", help="Its name. [default: of the metadata, or FILE without .py]")
@click.option(
    "--metadata",
    type=click.Path(exists=True, dir_okay=False),
    help="JSON file with name, description, max_execution_time and schemas.",
)
@click.option("--environment", metavar="NAME", help="Its Python environment; `qonduit languages` lists them.")
@click.option("--entry-point", metavar="FUNCTION", help="The function to run. [default: main]")
@click.option("--log-level", metavar="LEVEL", help="The lowest level of log records that become events.")
@_project
@shared_options()
def upload(
    file: str,
    name: str | None,
    metadata: str | None,
    environment: str | None,
    entry_point: str | None,
    log_level: str | None,
    project: str | None,
) -> int:
    """Check FILE on the server, without running it, and store it as the next version of its name."""
    here = session()
    given = {"environment": environment, "entry_point": entry_point, "log_level": log_level}
    options = {key: value for key, value in given.items() if value is not None}
    try:
        with here.client() as client:
            made = client.programs.upload(file, metadata, name=name, options=options, project=project)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise click.UsageError(f"cannot read {file}: {error}") from None
    if here.output == "table":
        click.echo(f"program {made.name}@{made.version}: stored as deployment {made.deployment_id}")
        click.echo(f"run it: qonduit program run {made.name} --device IBM/aer_simulator{here.server_hint()}")
    else:
        _write(here, [made])
    return OK


@program.command("list")
@click.argument("name", default="")
@click.option("--filter", "wanted", default="", metavar="FILTER", help="For example 'version = 1 AND project = lab'.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Maximum number; 0: all.")
@shared_options()
def list_programs(name: str, wanted: str, limit: int) -> int:
    """List versions, newest first; with NAME, those of one program."""
    here = session()
    with here.client() as client:
        _write(here, client.programs.list(name, wanted, limit=limit or None))
    return OK


@program.command()
@click.argument("program", metavar="PROGRAM")
@click.option("--source", "only_source", is_flag=True, help="Write its source only.")
@_project
@shared_options()
def show(program: str, only_source: bool, project: str | None) -> int:
    """Show a version: what the upload found, and its source."""
    from qonduit_client.message_table import message_text

    here = session()
    with here.client() as client:
        found = client.programs.get(program, project=project)
        source = client.programs.source(found)
    if only_source:
        click.echo(source, nl=not source.endswith("\n"))
    elif here.output == "table":
        click.echo(message_text(found))
        click.echo()
        click.echo(source, nl=not source.endswith("\n"))
    else:
        _write(here, [found])
    return OK


@program.command()
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM...")
@_project
@shared_options()
def delete(programs: Sequence[str], project: str | None) -> int:
    """Delete versions to which no job refers; with NAME, all versions of a program."""
    here = session()
    with here.client() as client:

        def delete_one(program: str) -> None:
            client.programs.delete(program, project=project)

        return remove_each(here, "deleted", programs, delete_one, lambda each: f"program {each}: deleted")


def _write(here: Session, found: Iterable[ServerProgram]) -> None:
    empty = "no server programs; store one with `qonduit program upload FILE`"
    write_rows(here, _COLUMNS, found, line=lambda each: each, empty=empty)
