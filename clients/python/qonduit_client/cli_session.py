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

from qonduit_client.cli_errors import exit_code, explain
from qonduit_client.colours import wants_color
from qonduit_client.errors import JobCancelled, JobFailed, QonduitError

if TYPE_CHECKING:
    from qonduit_client.client import Client

#: What a number in a message can be; click says which numbers there are, protobuf would only raise.
NUMBER: Final = click.IntRange(-(2**63), 2**63 - 1)
#: What QONDUIT_TLS may say instead of naming a file of certificates.
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class Session:
    """What was said on the command line before and after the command's name, and in the environment.

    Attributes:
        server: "HOST:PORT".
        output: "table" (for people), "json" (an object a line) or "csv".
        token: says who calls; never shown.
        tls: whether the connection is encrypted; a text is the file of certificates to trust.
    """

    server: str = "127.0.0.1:50051"
    output: str = "table"
    token: str = ""
    tls: bool | str = False

    @property
    def as_json(self) -> bool:
        """Whether programs read the output as JSON."""
        return self.output == "json"

    def client(self, *, connect_timeout: float = 1.0, timeout: float = 60.0) -> Client:
        """Connects; a server that is not there is noticed within a second or so."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors are told in our own words
        from qonduit_client.client import Client

        secured: dict[str, Any] = {}
        if self.token:
            secured["token"] = self.token
        if self.tls:
            secured["tls"] = Path(self.tls) if isinstance(self.tls, str) else self.tls
        try:
            return Client(self.server, timeout=timeout, connect_timeout=connect_timeout, **secured)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"{error}; look at --server, --token-file and --tls-ca") from None

    def server_hint(self) -> str:
        """What to add to a command so that it reaches the same server. A token is never repeated."""
        hint = "" if self.server == Session.server else f" --server {self.server}"
        return hint + (f" --tls-ca {self.tls}" if isinstance(self.tls, str) else " --tls" if self.tls else "")


def session() -> Session:
    """The session of the command that runs."""
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


def _set_token(context: click.Context, option: click.Parameter, value: str | None) -> None:
    here = context.ensure_object(Session)
    from_environment = context.get_parameter_source("token") is click.core.ParameterSource.ENVIRONMENT
    if value and not (from_environment and here.token):  # a --token-file was named on the command line
        here.token = _sendable(context, option, value)


def _set_token_file(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if not value or context.resilient_parsing:
        return
    try:
        token = sys.stdin.read() if value == "-" else Path(value).read_text()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise click.BadParameter(f"{value}: {why}; name a file that holds the token", context, option) from None
    context.ensure_object(Session).token = _sendable(context, option, token)


def _sendable(context: click.Context, option: click.Parameter, token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise click.BadParameter("a token is one line of printable ASCII characters", context, option)
    return token


def _set_tls(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        here = context.ensure_object(Session)
        here.tls = here.tls or True


def _set_tls_ca(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if not value:
        return
    here = context.ensure_object(Session)
    if value.lower() in _NO:
        return
    if value.lower() in _YES:
        here.tls = here.tls or True
        return
    if not Path(value).is_file() and not context.resilient_parsing:
        raise click.BadParameter(
            f"{value}: no such file; name a PEM file of certificates to trust, or use --tls alone", context, option
        )
    here.tls = value


def shared_options(*, environment: bool = False, output: bool = True) -> Callable[[_Command], _Command]:
    """Adds what stands before and after a command's name: --server, --token, --tls and, with `output`, --output."""

    def from_environment(name: str) -> dict[str, Any]:
        return {"envvar": name, "show_envvar": True} if environment else {}

    def option(*names: str, callback: Callable[..., None], **how: Any) -> Callable[[_Command], _Command]:
        return click.option(*names, expose_value=False, callback=callback, **how)

    options = [
        option(
            "--server",
            metavar="HOST:PORT",
            callback=_set_server,
            help=f"The server. [default: {Session.server}]",
            **from_environment("QONDUIT_SERVER"),
        ),
        option(
            "--token",
            metavar="TOKEN",
            callback=_set_token,
            help="Says who you are. Better in the environment or a file: others see what is on a command line.",
            **from_environment("QONDUIT_TOKEN"),
        ),
        option(
            "--token-file",
            metavar="FILE",
            type=click.Path(),
            callback=_set_token_file,
            help="The same from a file (-: standard input).",
        ),
        option("--tls", is_flag=True, callback=_set_tls, help="Encrypt the connection."),
        option(
            "--tls-ca",
            metavar="FILE",
            type=click.Path(),
            callback=_set_tls_ca,
            help="Encrypt it and trust these certificates (PEM) instead of the system's.",
            **from_environment("QONDUIT_TLS"),
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


def complain(word: str, text: str) -> None:
    """Writes to standard error, the word in bold red where colours are wanted; further lines are indented."""
    color = wants_color(sys.stderr)
    first, *others = text.splitlines() or [""]
    click.echo(f"{click.style(word, fg='red', bold=True) if color else word}: {first}", err=True, color=color)
    for other in others:
        click.echo(f"  {other}", err=True)


def report(error: QonduitError, session: Session) -> int:
    """Says what went wrong, on standard error and, with JSON, as an object too; returns the exit code."""
    complain("Error", explain(error, session.server))
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
