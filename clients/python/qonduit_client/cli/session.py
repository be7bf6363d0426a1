# SPDX-License-Identifier: Apache-2.0
"""Options and functions of all commands: server, connection, output format, error reports. Imports no gRPC."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qonduit_client.addresses import DEFAULT_TARGET
from qonduit_client.cli.colours import wants_color
from qonduit_client.cli.error_messages import exit_code, explain
from qonduit_client.errors import ConfigInvalid, JobCancelled, JobFailed, QonduitError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from qonduit_client.client import Client


class Number(click.ParamType[int]):
    """An integer that fits into a message; the server checks its range.

    Args:
        what: the number and its allowed range, for the error message.
        least: the smallest value that is sent.
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
SHOTS: Final = Number("shots must be an integer of at least 1 (`qonduit info` shows the maximum)")
SEED: Final = Number("a seed must be an integer from 0 to 4294967295")
LIMIT: Final = Number("a limit must be an integer of at least 0 (0 lists all)", 0)

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class Session:
    """The shared options, from the command line before and after the command's name, and from the environment.

    Attributes:
        server: "HOST:PORT", or the name of a server of the configuration file; None: the default of the client.
        address: the address of the server, once a client has been created.
        output: "table", "json" (one object per line) or "csv".
        token: authenticates calls, and is never printed; by default QONDUIT_TOKEN, which the client reads.
        tls: whether the connection is encrypted; a string is a CA bundle to trust; None: QONDUIT_TLS.
    """

    server: str | None = None
    address: str = DEFAULT_TARGET
    output: str = "table"
    token: str | None = None
    tls: bool | str | None = None

    @property
    def as_json(self) -> bool:
        """Whether the output is JSON."""
        return self.output == "json"

    def client(self, *, connect_timeout: float = 1.0, timeout: float = 60.0) -> Client:
        """Return a client; an unreachable server is reported within about a second."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the command line prints its own messages
        from qonduit_client.client import Client

        try:
            client = Client(
                self.server, timeout=timeout, connect_timeout=connect_timeout, token=self.token, tls=self.tls
            )
        except ConfigInvalid:
            raise
        except (OSError, ValueError) as error:
            ways = "--tls, --tls-ca FILE or --no-tls; --token-file FILE; --server HOST:PORT"
            raise click.UsageError(f"{error}\non the command line: {ways}") from None
        self.address = client.target
        return client

    def server_hint(self) -> str:
        """Return the options that make a command call the same server, without the token."""
        hint = "" if self.server in (None, DEFAULT_TARGET) else f" --server {self.server}"
        if isinstance(self.tls, str):
            return f"{hint} --tls-ca {self.tls}"
        return hint if self.tls is None else f"{hint} {'--tls' if self.tls else '--no-tls'}"


def servers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of servers in the configuration file."""
    from click.shell_completion import CompletionItem

    from qonduit_client.named_servers import read_configuration

    try:
        found = read_configuration().servers.values()
    except ConfigInvalid:
        return []
    return [CompletionItem(each.name, help=each.target) for each in found if each.name.startswith(incomplete)]


def session() -> Session:
    """Return the session of the current command."""
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
        why = getattr(error, "strerror", None) or "it is not a text file"
        raise click.BadParameter(f"{value}: {why}; pass a file that contains the token", context, option) from None


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
            metavar="SERVER",
            callback=_set_server,
            shell_complete=servers,
            help=f"HOST:PORT, or a name of `qonduit config`. [default: that of the file, else {DEFAULT_TARGET}]",
            **({"envvar": "QONDUIT_SERVER", "show_envvar": True} if environment else {}),
        ),
        option(
            "--token",
            metavar="TOKEN",
            callback=_set_token,
            help="Bearer token. Prefer QONDUIT_TOKEN or --token-file: other users can read command lines.",
        ),
        option(
            "--token-file",
            metavar="FILE",
            type=click.Path(),
            callback=_set_token_file,
            help="Read the token from a file (-: standard input).",
        ),
        option(
            "--tls/--no-tls",
            default=None,
            callback=_set_tls,
            help="Encrypt the connection. [default: QONDUIT_TLS]",
        ),
        option(
            "--tls-ca",
            metavar="FILE",
            type=click.Path(),
            callback=_set_tls_ca,
            help="Encrypt the connection, and trust this CA bundle (PEM) instead of the system's.",
        ),
    ]
    if output:
        options += [
            option(
                "--output",
                type=click.Choice(["table", "json", "csv"]),
                callback=_set_output,
                help="Output format. [default: table]",
            ),
            option("--json", is_flag=True, callback=_set_json, help="Write JSON, one object per line: --output json."),
        ]

    def add(command: _Command) -> _Command:
        for each in reversed(options):
            command = each(command)
        return command

    return add


def print_error(word: str, text: str) -> None:
    """Print an error to standard error, the word in bold red if colours are enabled; indent further lines."""
    color = wants_color(sys.stderr)
    first, *others = text.splitlines() or [""]
    click.echo(f"{click.style(word, fg='red', bold=True) if color else word}: {first}", err=True, color=color)
    for other in others:
        click.echo(f"  {other}", err=True)


def report(error: QonduitError, session: Session) -> int:
    """Report an error on standard error and, with JSON output, also as an object; return the exit code."""
    print_error("Error", explain(error, session.address))
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
