# SPDX-License-Identifier: Apache-2.0
"""The options that select jobs: of the commands that list, cancel and delete them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from qonduit_client.cli.completion import projects
from qonduit_client.cli.times import time_of
from qonduit_client.job_filters import both, quoted

_Command = TypeVar("_Command", bound=Callable[..., Any])


def filter_options(command: _Command) -> _Command:
    """Add the options; `chosen_filter` returns the filter that combines them."""
    for option in reversed(
        (
            click.option(
                "--filter",
                "wanted",
                metavar="TEXT",
                expose_value=False,
                callback=_added(lambda text: str(text)),
                help="""Matching jobs, as 'state = RUNNING AND (name = "bell*" OR shots > 1000)'.""",
            ),
            click.option(
                "--label",
                "labels",
                multiple=True,
                metavar="NAME[=VALUE]",
                expose_value=False,
                callback=_added(_labelled),
                help="Jobs with this label. Repeatable.",
            ),
            click.option(
                "--project",
                metavar="NAME",
                expose_value=False,
                callback=_added(lambda name: f"project = {quoted(name)}"),
                help="Jobs of this project.",
                shell_complete=projects,
            ),
            click.option(
                "--since",
                metavar="TIME",
                expose_value=False,
                callback=_added(_created_since),
                help="Jobs created in this time (30m, 12h, 7d) or since this one (2026-01-31, 2026-01-31T12:00:00Z).",
            ),
            click.option(
                "--owner",
                metavar="NAME",
                expose_value=False,
                callback=_added(lambda name: f"owner = {quoted(name)}"),
                help="Jobs of this user, for operators.",
            ),
            click.option(
                "--all",
                "everyone",
                is_flag=True,
                expose_value=False,
                callback=_added(lambda everyone: "owner:*"),
                help="Jobs of all users, for operators.",
            ),
            click.option(
                "--mine",
                is_flag=True,
                expose_value=False,
                callback=_added(lambda mine: "mine = true"),
                help="Your own jobs.",
            ),
        )
    ):
        command = option(command)
    return command


def chosen_filter() -> str:
    """Return the filter that combines the options of the running command; empty without any."""
    return both(*click.get_current_context().meta.get(__name__, ()))


def _added(part: Callable[[Any], str]) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return the callback of an option that adds its part to the filter."""

    def add(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value:
            try:
                context.meta.setdefault(__name__, []).append(part(value))
            except ValueError as error:
                raise click.BadParameter(str(error), context, option) from None

    return add


def _labelled(labels: Sequence[str]) -> str:
    parts = []
    for label in labels:
        name, equals, value = label.partition("=")
        if not name:
            raise ValueError(f"expected NAME or NAME=VALUE, got {label!r}")
        parts.append(f"label.{quoted(name)} = {quoted(value)}" if equals else f"label:{quoted(name)}")
    return both(*parts)


def _created_since(text: str) -> str:
    return f'created_at >= "{time_of(text, -1).isoformat()}"'
