# SPDX-License-Identifier: Apache-2.0
"""What every command shares: the server and how to reach it, the form of output, reports of errors. Imports no gRPC."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qonduit_client.cli.colours import wants_color
from qonduit_client.cli.error_messages import exit_code, explain
from qonduit_client.errors import JobCancelled, JobFailed, QonduitError

if TYPE_CHECKING:
    from qonduit_client.client import Client


class Number(click.ParamType[int]):
    """An integer that fits into a message; whether the server takes it is the server's business.

    Args:
        what: names the number and the allowed range, for the message that refuses a value.
        least: the smallest that is sent.
    """

    name = "number"

    def __init__(self, what: str, least: int = -(2**63)) -> None:
        self.what = what
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read an integer."""
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{self.what}, got {value!r}", param, ctx)
        if not self.least <= number < 2**63:
            self.fail(f"{self.what}, got {value!r}", param, ctx)
        return number


JOB_ID: Final = Number("a job's id is an integer of at least 1 (`qonduit jobs` lists them)", 1)
DEPLOYMENT_ID: Final = Number("a deployment's id is an integer of at least 1 (`qonduit deployments` lists them)", 1)
SHOTS: Final = Number("shots must be an integer of at least 1 (`qonduit info` says how many are allowed)")
SEED: Final = Number("a seed must be an integer from 0 to 4294967295")
LIMIT: Final = Number("a limit must be an integer of at least 0 (0 lists all)", 0)

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class Session:
    """What was said on the command line before and after the command's name, and in the environment.

    Attributes:
        server: "HOST:PORT".
        output: "table" (for people), "json" (an object a line) or "csv".
        token: says who calls, and is never shown; by default that of QONDUIT_TOKEN, which the client reads.
        tls: whether the connection is encrypted; a text is a file of certificates to trust; None: as QONDUIT_TLS says.
    """

    server: str = "127.0.0.1:50051"
    output: str = "table"
    token: str | None = None
    tls: bool | str | None = None

    @property
    def as_json(self) -> bool:
        """Whether programs read the output as JSON."""
        return self.output == "json"

    def client(self, *, connect_timeout: float = 1.0, timeout: float = 60.0) -> Client:
        """Connect; a server that is not there is noticed within a second or so."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors are told in our own words
        from qonduit_client.client import Client

        try:
            return Client(self.server, timeout=timeout, connect_timeout=connect_timeout, token=self.token, tls=self.tls)
        except (OSError, ValueError) as error:
            ways = "--tls, --tls-ca FILE or --no-tls; --token-file FILE; --server HOST:PORT"
            raise click.UsageError(f"{error}\non the command line: {ways}") from None

    def server_hint(self) -> str:
        """Return what to add to a command so that it reaches the same server. A token is never repeated."""
        hint = "" if self.server == Session.server else f" --server {self.server}"
        if isinstance(self.tls, str):
            return f"{hint} --tls-ca {self.tls}"
        return hint if self.tls is None else f"{hint} {'--tls' if self.tls else '--no-tls'}"


def session() -> Session:
    """Return the session of the command that runs."""
    return click.get_current_context().ensure_object(Session)


def _set_server(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).server = value


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).output = "json"


def _set_output(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).output = value


def _set_token(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).token = value


def _set_token_file(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    try:
        context.ensure_object(Session).token = sys.stdin.read() if value == "-" else Path(value).read_text()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no text"
        raise click.BadParameter(f"{value}: {why}; name a file that holds the token", context, option) from None


def _set_tls(context: click.Context, _: click.Parameter, value: bool | None) -> None:
    here = context.ensure_object(Session)
    if value is not None and not (value and isinstance(here.tls, str)):
        here.tls = value


def _set_tls_ca(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).tls = value


def shared_options(*, environment: bool = False, output: bool = True) -> Callable[[_Command], _Command]:
    """Add the options of every command: --server, --token, --tls and, with `output`, --output."""

    def option(*names: str, callback: Callable[..., None], **how: Any) -> Callable[[_Command], _Command]:
        return click.option(*names, expose_value=False, callback=callback, **how)

    options = [
        option(
            "--server",
            metavar="HOST:PORT",
            callback=_set_server,
            help=f"The server. [default: {Session.server}]",
            **({"envvar": "QONDUIT_SERVER", "show_envvar": True} if environment else {}),
        ),
        option(
            "--token",
            metavar="TOKEN",
            callback=_set_token,
            help="Says who you are. Better in QONDUIT_TOKEN, or a file: others see what is on a command line.",
        ),
        option(
            "--token-file",
            metavar="FILE",
            type=click.Path(),
            callback=_set_token_file,
            help="The same from a file (-: standard input).",
        ),
        option(
            "--tls/--no-tls",
            default=None,
            callback=_set_tls,
            help="Encrypt the connection. [default: as QONDUIT_TLS says]",
        ),
        option(
            "--tls-ca",
            metavar="FILE",
            type=click.Path(),
            callback=_set_tls_ca,
            help="Encrypt it, and trust these certificates (PEM) instead of the system's.",
        ),
    ]
    if output:
        options += [
            option(
                "--output",
                type=click.Choice(["table", "json", "csv"]),
                callback=_set_output,
                help="The form of what is written. [default: table]",
            ),
            option("--json", is_flag=True, callback=_set_json, help="Write JSON, an object a line: --output json."),
        ]

    def add(command: _Command) -> _Command:
        for each in reversed(options):
            command = each(command)
        return command

    return add


def print_error(word: str, text: str) -> None:
    """Write to standard error, the word in bold red where colours are wanted; further lines are indented."""
    color = wants_color(sys.stderr)
    first, *others = text.splitlines() or [""]
    click.echo(f"{click.style(word, fg='red', bold=True) if color else word}: {first}", err=True, color=color)
    for other in others:
        click.echo(f"  {other}", err=True)


def report(error: QonduitError, session: Session) -> int:
    """Says what went wrong, on standard error and, with JSON, as an object too; returns the exit code."""
    print_error("Error", explain(error, session.server))
    code = exit_code(error)
    if session.as_json and not isinstance(error, JobFailed | JobCancelled):
        import json

        click.echo(
            json.dumps(
                {
                    "error": {
                        "status": error.status,
                        "reason": error.reason,
                        "message": error.message,
                        "violations": [
                            {"field": v.field, "rule_id": v.rule_id, "description": v.description}
                            for v in error.violations
                        ],
                        "exit_code": code,
                    }
                }
            )
        )
    return code
