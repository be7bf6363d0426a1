# SPDX-License-Identifier: Apache-2.0
"""The operator's commands for tokens, `qonduit token create`, `list` and `revoke`, which change the file of tokens."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from qonduit_client.cli.times import duration_of
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.principal import Role
from qonduit_server.setting_options import Configuration, settings_options

#: Beyond it, the time of the end of a token may have no date.
_LONGEST: Final = timedelta(days=99_999)
_HASH: Final = re.compile(r"[0-9a-f]{12,64}")


class _Lifetime(click.ParamType["timedelta | None"]):
    """A duration such as 90d, 12h or 30m; None for `never`."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        """Parse a duration."""
        if isinstance(value, timedelta) or value == "never":
            return value if isinstance(value, timedelta) else None
        duration = duration_of(value)
        if not duration or duration > _LONGEST:
            self.fail(
                f"must be a duration such as 90d, 12h or 30m of at most {_LONGEST.days}d, or never; got {value!r:.100}",
                param,
                ctx,
            )
        return duration


#: Without a database, the audit log does not record the command.
_CHANGES: Final = ("token_file", "database", "audit")


@click.group(cls=OperatorCommands)
def token() -> None:
    """Create, list and revoke the tokens of a server's callers. A running server follows each change at once."""


@token.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.USER.value,
    show_default=True,
    help="user: its own jobs; operator: also reads everything; admin: also changes everything.",
)
@click.option("--expires", type=_Lifetime(), default="90d", show_default=True, help="As 90d, 12h, 30m, or never.")
@settings_options(*_CHANGES)
def create(name: str, role: str, expires: timedelta | None, configuration: Configuration) -> None:
    """Create a token for NAME and print it. It is stored nowhere, so that nothing can print it again.

    Tokens of the same name have the same jobs.
    """
    with _recording(configuration, "create") as record:
        made, stored = token_file.create(_file(configuration), name, Role(role), expires)
        record([f"users/{name}/tokens/{stored.id}"])
    end = f"expires {stored.expires}" if stored.expires else "never expires"
    click.echo(f"token {stored.id} of {name} ({role}), {end}; it is not shown again:", err=True)
    click.echo(made)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per token.")
@settings_options("token_file")
def list_tokens(as_json: bool, configuration: Configuration) -> None:
    """List the tokens and the revocations of other tokens. No token can be read from the output."""
    table = token_file.read(_file(configuration))
    now = datetime.now(UTC)
    head = ("id", "name", "role", "created", "expires", "state")
    rows = [(one.id, one.name, one.role, one.created, one.expires or "never", _state(one, now)) for one in table.tokens]
    rows += [(jti, "", "", "", "", f"revoked {at} (jti)") for jti, at in table.revoked_jtis.items()]
    rows += [("", name, "", "", "", f"denied {at}") for name, at in table.denied_names.items()]
    rows += [(sha256, "", "", "", "", f"revoked {at} (hash)") for sha256, at in table.revoked_hashes.items()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(dict(zip(head, row, strict=True))))
        return
    from qonduit_client.text_table import table_of

    click.echo(table_of(head, rows) if rows else "no tokens; `qonduit token create NAME` creates one")


@token.command()
@click.argument("token_id", required=False)
@click.option("--name", default="", help="Revoke all tokens of a name.")
@click.option("--all-of", default="", metavar="NAME", help="Revoke all tokens of a name, and refuse it from now on.")
@click.option("--jti", default="", help="Revoke a JSON web token of an OIDC provider by its claim jti.")
@settings_options(*_CHANGES)
def revoke(token_id: str | None, name: str, all_of: str, jti: str, configuration: Configuration) -> None:
    """Revoke a token at once: by the id that `list` shows, or by the SHA-256 of the token (also of an OIDC provider's).

    `printf %s TOKEN | sha256sum` prints the SHA-256 of a token. --all-of also refuses the name's tokens of an OIDC
    provider and its certificates, until `qonduit token admit NAME`.
    """
    if sum(map(bool, (token_id, name, jti, all_of))) != 1:
        raise click.UsageError("pass one of TOKEN_ID, --name, --all-of and --jti")
    if all_of:
        with _recording(configuration, "revoke") as record:
            revoked = token_file.deny(_file(configuration), all_of)
            record([f"users/{all_of}", *(f"tokens/{each}" for each in revoked)])
        click.echo("\n".join([f"denied {all_of}", *(f"revoked {each}" for each in revoked)]))
        return
    if token_id and not _HASH.fullmatch(token_id := token_id.lower()):
        raise click.UsageError(f"TOKEN_ID must be 12 to 64 hexadecimal digits, got {token_id!r:.100}")
    with _recording(configuration, "revoke") as record:
        revoked = token_file.revoke(_file(configuration), start=token_id or "", name=name, jti=jti)
        record([f"tokens/{each}" for each in revoked])
    if not revoked:
        click.echo("qonduit: no such valid token; `qonduit token list` lists them", err=True)
        sys.exit(1)
    for each in revoked:
        click.echo(f"revoked {each}")


@token.command()
@click.argument("name")
@settings_options(*_CHANGES)
def admit(name: str, configuration: Configuration) -> None:
    """Accept NAME again after `revoke --all-of`. Its revoked tokens stay revoked."""
    with _recording(configuration, "admit") as record:
        if admitted := token_file.admit(_file(configuration), name):
            record([f"users/{name}"])
    if not admitted:
        click.echo(f"qonduit: {name} is not denied", err=True)
        sys.exit(1)
    click.echo(f"admitted {name}")


@contextmanager
def _recording(configuration: Configuration, command: str) -> Iterator[Callable[[Sequence[str]], None]]:
    """Yield the function that records a change of the file in the audit log, which does nothing without a database.

    The database is opened before the change, so that no token is created whose creation cannot be recorded.
    """
    database = configuration.given("database")
    if database is None or configuration.settings.audit == "off":
        yield lambda objects: None
        return
    from qonduit_server.store.admin.command_database import command_database
    from qonduit_server.store.audit_trail import current_act, object_name

    with command_database(database, f"qonduit token {command}") as db:
        act = current_act()
        assert act is not None

        def record(objects: Sequence[str]) -> None:
            for each in objects:
                db.record(replace(act, object=object_name(each), count=len(objects))).result()

        yield record


def _file(configuration: Configuration) -> Path:
    return Path(configuration.required("token_file"))


def _state(stored: token_file.StoredToken, now: datetime) -> str:
    if stored.revoked:
        return f"revoked {stored.revoked}"
    return "expired" if stored.expired(now) else "valid"
