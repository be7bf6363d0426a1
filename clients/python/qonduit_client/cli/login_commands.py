# SPDX-License-Identifier: Apache-2.0
"""The commands `login`, `logout` and `whoami`. They call the identity provider, and never the Qonduit server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qonduit_client.cli.session import servers, session
from qonduit_client.named_servers import NamedServer, read_configuration, resolve

if TYPE_CHECKING:
    from qonduit_client.login.device_authorization import DeviceCode
    from qonduit_client.login.stored_login import Login

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _named(command: _Command) -> _Command:
    return click.argument("name", required=False, shell_complete=servers)(command)


@click.command(short_help="Log in to a server.")
@_named
def login(name: str | None) -> int:
    """Log in to the server NAME of `qonduit config`, by default the default server.

    The command prints a code and the page of the identity provider on which to enter it, on any machine. The tokens are
    stored for this user, and refreshed while they are in use.
    """
    from qonduit_client.login.sessions import log_in

    server = _server(name)
    made = log_in(server, _show)
    click.echo(f"logged in to {server.name} as {_who(made)}; {_expiry(made)}")
    return 0


@click.command(short_help="Log out of a server.")
@_named
def logout(name: str | None) -> int:
    """Delete the tokens of the server NAME, and revoke them at the identity provider."""
    from qonduit_client.errors import LoginRequired
    from qonduit_client.login.sessions import log_out

    server = _server(name)
    try:
        revoked = log_out(server)
    except LoginRequired:
        click.echo(f"not logged in to {server.name}")
        return 0
    there = "revoked them at" if revoked else "they stay valid until they expire: no revocation at"
    click.echo(f"deleted the tokens of {server.name}; {there} {server.oidc.issuer if server.oidc else ''}")
    return 0


@click.command(short_help="Show the user of a server's token.")
@_named
@click.option("--json", "as_json", is_flag=True, help="Write a JSON object.")
def whoami(name: str | None, as_json: bool) -> int:
    """Show whose token is sent to the server NAME, as the token states. The server may decide otherwise."""
    facts = _facts(name)
    if as_json or session().as_json:
        click.echo(json.dumps(facts))
        return 0
    width = max(map(len, facts))
    for key, value in facts.items():
        if value not in (None, "", {}):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"{key.replace('_', ' '):{width}}  {shown}")
    return 0


def _server(name: str | None) -> NamedServer:
    """Return the server of the argument, else of --server, else the default one."""
    return read_configuration().server(name or session().server)


def _show(code: DeviceCode) -> None:
    """Show where to confirm the login; standard error, so that output stays clean."""
    if code.verification_uri_complete:
        click.echo(f"open {code.verification_uri_complete}\nand confirm the code {code.user_code}", err=True)
        click.echo(f"(or enter it at {code.verification_uri})", err=True)
    else:
        click.echo(f"open {code.verification_uri}\nand enter the code {code.user_code}", err=True)
    click.echo(f"waiting for {code.expires_in / 60:.0f} minutes ...", err=True)


def _who(made: Login) -> str:
    claims = made.claims
    return claims.get("preferred_username") or claims.get("email") or claims.get("sub") or "an unnamed user"


def _expiry(made: Login) -> str:
    renewed = "refreshed while in use" if made.refresh_token else "not refreshable: request the scope offline_access"
    if made.expires_at is None:
        return f"the token's expiry is unknown; {renewed}"
    return f"the token is valid until {_local(made.expires_at)}, {renewed}"


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def _facts(name: str | None) -> dict[str, Any]:
    from qonduit_client.login.stored_login import LoginFile

    found = _server(name) if name else resolve(session().server)
    server = found if isinstance(found, NamedServer) else None
    if server is not None and server.oidc is not None:
        made = LoginFile(server).read()
        return {
            "server": server.name,
            "target": server.target,
            "credentials": "login",
            "user": _who(made),
            "issuer": made.issuer,
            "client_id": made.client_id,
            "scope": made.scope,
            "expires": None if made.expires_at is None else _local(made.expires_at),
            "refreshable": bool(made.refresh_token),
            **_claims(made.access_token),
        }
    return _without_login(server, found if isinstance(found, str) else found.target)


def _without_login(server: NamedServer | None, target: str) -> dict[str, Any]:
    from qonduit_client.token_file import TokenFile

    here = session()
    if here.token is not None:
        token, source = here.token, "--token or --token-file"
    elif server is not None and server.token_file is not None:
        token, source = TokenFile(server)(), str(server.token_file)
    else:
        token, source = os.environ.get("QONDUIT_TOKEN", ""), "QONDUIT_TOKEN"
    facts: dict[str, Any] = {"server": server.name if server is not None else None, "target": target}
    return {**facts, "credentials": source if token else "none: calls are anonymous", **_claims(token.strip())}


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of the access token; empty if it is no JWT."""
    from qonduit_client.login.identity_provider import printable
    from qonduit_client.login.tokens import claims_of

    claims = claims_of(token)
    found: dict[str, Any] = {}
    for key, name in (("sub", "subject"), ("iss", "token_issuer"), ("aud", "audience"), ("scope", "token_scope")):
        value = claims.get(key)
        if value is not None:
            found[name] = [printable(each) for each in value] if isinstance(value, list) else printable(value)
    if isinstance(expiry := claims.get("exp"), int):
        found["token_expires"] = _local(expiry)
    return found
