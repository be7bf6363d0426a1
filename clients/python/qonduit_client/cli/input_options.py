# SPDX-License-Identifier: Apache-2.0
"""The option --input NAME=VALUE, which gives values for the inputs (free parameters) of programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def input_option(command: _Command) -> _Command:
    """Add the option; the command gets `inputs`, a dictionary or None."""
    return click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_parsed,
        help="A value for an input of the programs, as JSON, else as text: theta=0.7, flags='\"0110\"'. Repeatable.",
    )(command)


def _parsed(context: click.Context, option: click.Parameter, pairs: Sequence[str]) -> dict[str, object] | None:
    inputs: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", context, option)
        if name in inputs:
            raise click.BadParameter(f"{name!r} is given twice", context, option)
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
