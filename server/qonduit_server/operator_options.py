# SPDX-License-Identifier: Apache-2.0
"""How the operator's commands print errors."""

from __future__ import annotations

import sys
from typing import Any

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


def _reported(run: Any, ctx: click.Context) -> Any:
    try:
        return run(ctx)
    except (StartError, CallError) as error:
        click.echo(f"qonduit: {error}", err=True)
        sys.exit(1)
