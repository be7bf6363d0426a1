# SPDX-License-Identifier: Apache-2.0
"""The options of a job's credential, --credential and --credential-file, and how commands read a secret."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from qonduit_client.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])


def credential_options(command: _Command) -> _Command:
    """Add the options; `take_credential` replaces them by the credential."""
    for option in (
        click.option(
            "--credential-file",
            metavar="FILE",
            help="Use the credential in a file (-: standard input) for this job only.",
        ),
        click.option(
            "--credential", "credential_name", metavar="NAME", help="Use this stored credential: `qonduit credential`."
        ),
    ):
        command = option(command)
    return command


def take_credential(client: Client, options: dict[str, Any]) -> None:
    """Replace the options by `credential`, the argument of the client.

    Raises:
        click.UsageError: both are set, or the file cannot be read.
    """
    name, file = options.pop("credential_name"), options.pop("credential_file")
    if name and file:
        raise click.UsageError("use one of --credential and --credential-file")
    if name:
        options["credential"] = client.credentials.get(name)
    elif file:
        options["credential"] = read_secret(file)


def read_secret(file: str | None) -> str:
    """Return a secret from a file, from standard input if it is "-" or a pipe, or from a prompt.

    One newline at the end is not part of the secret.

    Raises:
        click.UsageError: there is no secret.
    """
    if file is None and sys.stdin.isatty():
        secret: str = click.prompt("Secret", hide_input=True, err=True)
        return secret
    try:
        secret = Path(file).read_text() if file not in (None, "-") else sys.stdin.read()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a text file"
        raise click.UsageError(f"{file or 'standard input'}: {why}; pass a file that contains the secret") from None
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise click.UsageError("the secret is empty: pipe it in, or pass --secret-file FILE")
    return secret
