# SPDX-License-Identifier: Apache-2.0
"""Options NAME=VALUE: --input, which sets inputs (free parameters) of programs, and --label."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def input_option(command: _Command) -> _Command:
    """Add the option; the command receives `inputs`, a dictionary or None."""
    return click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_parsed,
        help="Set an input of the programs, as JSON, else as text: theta=0.7, flags='\"0110\"'. Repeatable.",
    )(command)


def label_option(thing: str) -> Callable[[_Command], _Command]:
    """Return the option for labels of something; the command receives `labels`, a dictionary or None."""
    return click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda *given: dict(named_values(*given)) or None,
        help=f"A label of the {thing}, for your own use. Repeatable.",
    )


def named_values(context: click.Context, option: click.Parameter, pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each value of an option NAME=VALUE.

    Raises:
        click.BadParameter: a pair has another form, or a name occurs twice.
    """
    seen: set[str] = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"expected {option.make_metavar(context)}, got {pair!r}", context, option)
        if name in seen:
            raise click.BadParameter(f"{name!r} is set twice", context, option)
        seen.add(name)
        yield name, text


def _parsed(context: click.Context, option: click.Parameter, pairs: Sequence[str]) -> dict[str, object] | None:
    inputs: dict[str, object] = {}
    for name, text in named_values(context, option, pairs):
        try:
            inputs[name] = json.loads(text)
        except ValueError:
            inputs[name] = text
    if not inputs:
        return None
    from qonduit_client.input_values import struct_of

    try:
        struct_of(inputs)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from None
    return inputs
