# SPDX-License-Identifier: Apache-2.0
"""The commands `qonduit config`: add, list and remove servers of the configuration file, and choose the default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from qonduit_client.addresses import is_local
from qonduit_client.cli.session import servers, session
from qonduit_client.named_servers import (
    DEFAULT_SCOPE,
    PROJECT_RULE,
    NamedServer,
    OidcClient,
    config_path,
    is_name,
    is_project_name,
    read_configuration,
)

_NO_SERVER: Final = "no servers; `qonduit config add NAME HOST:PORT` adds one"


@click.group(short_help="Name servers, with their settings.")
def config() -> None:
    """Name servers, with their connection settings and how to log in.

    The file is ~/.config/qonduit/config.toml, or $QONDUIT_CONFIG. `--server NAME` selects a server.
    """


@config.command(short_help="Add a server, or replace it.")
@click.argument("name")
@click.argument("target", metavar="HOST:PORT")
@click.option("--tls/--no-tls", default=None, help="Encrypt the connection. [default: except on this machine]")
@click.option("--tls-ca", metavar="FILE", type=click.Path(path_type=Path), help="Trust this CA bundle (PEM).")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="A file that contains the token.")
@click.option("--project", default="", metavar="NAME", help="The project that owns new jobs and deployments.")
@click.option("--issuer", metavar="URL", help="The OpenID Connect provider for `qonduit login`.")
@click.option("--client-id", metavar="ID", help="The id of the client at the provider.")
@click.option("--scope", metavar="SCOPES", help=f"The requested scopes. [default: {DEFAULT_SCOPE}]")
@click.option("--audience", metavar="NAME", help="The audience of the requested tokens.")
@click.option("--default", is_flag=True, help="Make it the default server, as the first one is.")
@click.option("--replace", is_flag=True, help="Replace a server of this name.")
def add(
    name: str,
    target: str,
    tls: bool | None,
    tls_ca: Path | None,
    token_file: Path | None,
    project: str,
    issuer: str | None,
    client_id: str | None,
    scope: str | None,
    audience: str | None,
    default: bool,
    replace: bool,
) -> int:
    """Add the server NAME at HOST:PORT."""
    from qonduit_client.addresses import with_port
    from qonduit_client.config_editing import add_server

    if not is_name(name):
        raise click.UsageError(
            "a name consists of 1 to 63 letters, digits, '-' and '_', begins with a letter and is not localhost, "
            f"got {name!r:.100}"
        )
    if tls is False and tls_ca is not None:
        raise click.UsageError("--no-tls excludes --tls-ca")
    if token_file is not None and issuer is not None:
        raise click.UsageError("--token-file excludes --issuer")
    if issuer is None and (client_id, scope, audience) != (None, None, None):
        raise click.UsageError("--client-id, --scope and --audience require --issuer")
    if issuer is not None and client_id is None:
        raise click.UsageError("--issuer requires --client-id")
    if project and not is_project_name(project):
        raise click.UsageError(f"{PROJECT_RULE}, got {project!r:.100}")
    if name in read_configuration().servers and not replace:
        raise click.UsageError(f"{name!r} exists in {config_path()}: pass --replace to replace it")
    try:
        target = with_port(target)
    except ValueError as error:
        raise click.UsageError(str(error).replace("tls=True", "--tls")) from None
    server = NamedServer(
        name,
        target,
        tls_ca.absolute() if tls_ca is not None else (None if is_local(target) else True) if tls is None else tls,
        None if token_file is None else token_file.absolute(),
        None if not issuer or not client_id else OidcClient(issuer, client_id, scope or DEFAULT_SCOPE, audience or ""),
        project,
    )
    changed = add_server(server, default=default)
    chosen = " (default)" if changed.default == name else ""
    click.echo(f"added {name}: {target}{chosen}, in {changed.path}")
    if issuer is not None:
        click.echo(f"log in: qonduit login {name}")
    return 0


@config.command("list", short_help="List the servers.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, one object per line.")
def list_servers(as_json: bool) -> int:
    """List the servers; `*` marks the default."""
    found = read_configuration()
    here = session()
    if as_json or here.as_json:
        for each in found.servers.values():
            click.echo(json.dumps({"default": each.name == found.default, **_as_json(each)}))
        return 0
    if not found.servers:
        click.echo(f"{found.path}: {_NO_SERVER}")
        return 0
    width = max(len(name) for name in found.servers)
    wide = max(len(each.target) for each in found.servers.values())
    for each in found.servers.values():
        mark = "*" if each.name == found.default else " "
        project = f", project {each.project}" if each.project else ""
        click.echo(
            f"{mark} {each.name:{width}}  {each.target:{wide}}  {_security(each)}, {_credentials(each)}{project}"
        )
    return 0


@config.command(short_help="Remove a server.")
@click.argument("name", shell_complete=servers)
def remove(name: str) -> int:
    """Remove the server NAME."""
    from qonduit_client.config_editing import remove_server

    server = read_configuration().server(name)
    if server.oidc is not None:
        from qonduit_client.login.stored_login import LoginFile

        if LoginFile(server).path.exists():
            raise click.UsageError(f"a login to {name!r} is stored: run `qonduit logout {name}` first")
    changed = remove_server(name)
    click.echo(f"removed {name} from {changed.path}" + ("" if changed.default else "; there is no default server now"))
    return 0


@config.command(short_help="Choose the default server.")
@click.argument("name", shell_complete=servers)
def use(name: str) -> int:
    """Make NAME the server of commands and clients that name none."""
    from qonduit_client.config_editing import use_server

    click.echo(f"{name} ({use_server(name).server().target}) is the default server now")
    return 0


@config.command(short_help="Print the path of the file.")
def path() -> int:
    """Print the path of the configuration file, which need not exist."""
    click.echo(config_path())
    return 0


def _security(server: NamedServer) -> str:
    if isinstance(server.tls, Path):
        return f"TLS ({server.tls})"
    return "QONDUIT_TLS" if server.tls is None else "TLS" if server.tls else "plain text"


def _credentials(server: NamedServer) -> str:
    if server.oidc is not None:
        return f"login at {server.oidc.issuer}"
    return f"token in {server.token_file}" if server.token_file is not None else "QONDUIT_TOKEN"


def _as_json(server: NamedServer) -> dict[str, object]:
    oidc = server.oidc
    return {
        "name": server.name,
        "target": server.target,
        "tls": str(server.tls) if isinstance(server.tls, Path) else server.tls,
        "token_file": None if server.token_file is None else str(server.token_file),
        "project": server.project or None,
        "oidc": None
        if oidc is None
        else {"issuer": oidc.issuer, "client_id": oidc.client_id, "scope": oidc.scope, "audience": oidc.audience},
    }
