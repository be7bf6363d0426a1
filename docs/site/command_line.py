# SPDX-License-Identifier: Apache-2.0
"""The reference of the command line: the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from qonduit_client.cli.commands import qonduit

_WIDTH = 100


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(["# Command line", "", *_helps(qonduit, "qonduit", None)]) + "\n"


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _helps(found, child, context)
