# SPDX-License-Identifier: Apache-2.0
"""What the operator's commands that use a server's database share."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from qonduit_server.errors import CallError, StartError


class OperatorCommand(click.Command):
    """A command that prints an unusable file or database as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        return _reported(super().invoke, ctx)


class OperatorCommands(click.Group):
    """A group of such commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        return _reported(super().invoke, ctx)


database_option: Final = click.option(
    "--database",
    envvar="QONDUIT_DATABASE",
    show_envvar=True,
    default="sqlite:///qonduit.sqlite3",
    show_default=True,
    metavar="URL",
    help="The server's database: its setting database.",
)
audit_option: Final = click.option(
    "--audit",
    envvar="QONDUIT_AUDIT",
    show_envvar=True,
    type=click.Choice(["changes", "all", "off"]),
    default="changes",
    help="The server's setting audit: off records nothing.",
)


def _reported(run: Any, ctx: click.Context) -> Any:
    try:
        return run(ctx)
    except (StartError, CallError) as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(1)
