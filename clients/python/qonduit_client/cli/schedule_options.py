# SPDX-License-Identifier: Apache-2.0
"""The options of a job's schedule: --priority, --not-before, --expires-at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from qonduit_client.cli.times import time_of

_Command = TypeVar("_Command", bound=Callable[..., Any])

_HIGHEST_PRIORITY: Final = 10


def schedule_options(command: _Command) -> _Command:
    """Add the options; the command receives those that are set as `schedule`, and no argument without any."""
    for option in reversed(
        (
            click.option(
                "--priority",
                type=int,
                metavar="N",
                expose_value=False,
                callback=_set("priority", _priority),
                help="Order among your own jobs, from -10 to 10; higher ones start first. [default: 0]",
            ),
            click.option(
                "--not-before",
                metavar="TIME",
                expose_value=False,
                callback=_set("not_before", lambda text: time_of(text, 1)),
                help="Do not start before this time (2026-01-31T12:00:00Z), or for this long (30m, 12h, 7d).",
            ),
            click.option(
                "--expires-at",
                metavar="TIME",
                expose_value=False,
                callback=_set("expires_at", lambda text: time_of(text, 1)),
                help="Fail if the job still waits at this time, or after this long.",
            ),
        )
    ):
        command = option(command)
    return command


def _priority(value: int) -> int:
    if abs(value) > _HIGHEST_PRIORITY:
        raise ValueError(f"a priority is an integer from -{_HIGHEST_PRIORITY} to {_HIGHEST_PRIORITY}, got {value}")
    return value


def _set(field: str, read: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return the callback of an option that sets a field of the schedule."""

    def keep(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value is not None:
            try:
                context.params.setdefault("schedule", {})[field] = read(value)
            except ValueError as error:
                raise click.BadParameter(str(error), context, option) from None

    return keep
