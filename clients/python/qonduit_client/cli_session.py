# SPDX-License-Identifier: Apache-2.0
"""What every command shares: the server, the form of output, exit codes, and errors in words. Imports no gRPC."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qonduit_client.errors import (
    AlreadyExists,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    ProgramUnreadable,
    QonduitError,
    Refused,
    ServerFault,
    ServerUnavailable,
    TimedOut,
)

if TYPE_CHECKING:
    from qonduit_client.client import Client

#: What a number in a message can be; click says which numbers there are, protobuf would only raise.
NUMBER: Final = click.IntRange(-(2**63), 2**63 - 1)

OK: Final = 0
JOB_FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
UNAVAILABLE: Final = 5
CANCELLED: Final = 6
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass
class Session:
    """What was said on the command line before and after the command's name."""

    server: str = "127.0.0.1:50051"
    as_json: bool = False

    def client(self) -> Client:
        """Connects; a server that is not there is noticed within a second or so."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors are told in our own words
        from qonduit_client.client import Client

        return Client(self.server, connect_timeout=1.0)

    def server_hint(self) -> str:
        """What to add to a command so that it reaches the same server."""
        return "" if self.server == Session.server else f" --server {self.server}"


def session() -> Session:
    """The session of the command that runs."""
    return click.get_current_context().ensure_object(Session)


def _set_server(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Session).server = value


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).as_json = True


def shared_options(*, environment: bool = False) -> Callable[[_Command], _Command]:
    """Adds --server and --json, so that they may stand before and after a command's name."""

    def add(command: _Command) -> _Command:
        command = click.option(
            "--json", is_flag=True, expose_value=False, callback=_set_json, help="Write JSON, an object a line."
        )(command)
        return click.option(
            "--server",
            metavar="HOST:PORT",
            envvar="QONDUIT_SERVER" if environment else None,
            show_envvar=environment,
            expose_value=False,
            callback=_set_server,
            help=f"The server. [default: {Session.server}]",
        )(command)

    return add


def exit_code(error: QonduitError) -> int:
    """The exit code that tells what happened."""
    for kind, code in (
        (JobFailed, JOB_FAILED),
        (JobCancelled, CANCELLED),
        (NotFound, NOT_FOUND),
        ((InvalidRequest, AlreadyExists, PreconditionFailed, LimitExceeded, Refused, ProgramUnreadable), REFUSED),
        (TimedOut, TIMED_OUT),
    ):
        if isinstance(error, kind):
            return code
    return UNAVAILABLE


def explain(error: QonduitError, server: str) -> str:
    """What went wrong and what to do next, a line each."""
    lines = [error.message]
    for violation in error.violations:
        if violation.description and violation.description not in error.message:
            named = not violation.field or violation.description.startswith(violation.field)
            lines.append(violation.description if named else f"{violation.field}: {violation.description}")
    if isinstance(error, ServerUnavailable):
        if error.message.startswith("no server at"):
            lines = [f"{error.message}: start one with `qonduit serve`, or name another with --server"]
        elif error.reason == "DRAINING":
            lines.append(f"the server at {server} is stopping: try again when it is back")
        elif not error.reason:
            lines = [f"lost the server at {server}: {error.message}"]
    elif isinstance(error, AlreadyExists) and error.reason == "REQUEST_ID_REUSED":
        lines.append("use another --request-id, or none, for another request")
    elif isinstance(error, ProgramUnreadable) and error.reason == "UNKNOWN_LANGUAGE":
        lines.append("say --language QASM2 or --language QASM3, or another one of `qonduit languages`")
    elif isinstance(error, Refused):
        lines.append("the server wants to know who you are, or does not let you")
    if isinstance(error, ServerFault) and error.request_id and error.request_id not in error.message:
        lines.append(f"the server's log tells more under request {error.request_id}")
    if error.retry_after and error.status != "UNAVAILABLE":
        lines.append(f"try again in {error.retry_after:g} s")
    return "\n".join([*lines, *getattr(error, "__notes__", ())])


def emphasized(word: str) -> str:
    """A word in bold red, unless no colour is wanted; click leaves it plain where there is no terminal."""
    return word if os.environ.get("NO_COLOR") else click.style(word, fg="red", bold=True)


def report(error: QonduitError, session: Session) -> int:
    """Says what went wrong, on standard error and, with --json, as an object too; returns the exit code."""
    first, *others = explain(error, session.server).splitlines()
    click.echo(f"{emphasized('Error')}: {first}", err=True)
    for other in others:
        click.echo(f"  {other}", err=True)
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
