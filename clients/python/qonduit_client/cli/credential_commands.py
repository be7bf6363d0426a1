# SPDX-License-Identifier: Apache-2.0
"""The commands `qonduit credential create`, `list`, `update` and `delete`. A secret is never an argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from qonduit_client.cli.completion import projects
from qonduit_client.cli.credential_options import read_secret
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, moment, remove_each, write_rows
from qonduit_client.cli.session import Session, session, shared_options

if TYPE_CHECKING:
    from qonduit.v1.credential_pb2 import Credential

_secret_file = click.option(
    "--secret-file",
    metavar="FILE",
    help="Read the secret from a file (-: standard input). [default: standard input, or a prompt on a terminal]",
)


_project = click.option(
    "--project", default="", metavar="NAME", help="The project that owns it. [default: you]", shell_complete=projects
)


@click.group()
def credential() -> None:
    """Store, list, replace and delete credentials of providers, yours and those of projects.

    The server encrypts them and never shows them.
    """


@credential.command()
@click.argument("name")
@click.option("--provider", required=True, metavar="NAME", help="The provider whose devices use it.")
@_secret_file
@_project
@shared_options()
def create(name: str, provider: str, secret_file: str | None, project: str) -> int:
    """Store a credential under NAME, for `qonduit run --credential NAME`."""
    here = session()
    with here.client() as client:
        made = client.credentials.create(name, provider, read_secret(secret_file), project=project)
    owner = f" --project {project}" if project else ""
    return _written(here, made, f"use it with `qonduit run{owner} --credential {made.name}{here.server_hint()}`")


@credential.command("list")
@shared_options()
def list_credentials() -> int:
    """List the credentials of you and your projects, newest first, without their secrets."""
    from qonduit_client.formatting import local_time

    here = session()
    with here.client() as client:
        found = client.credentials.list()
        providers = {each.id: each.name for each in client.providers()}
    columns = [
        Column("credential_id", lambda each: each.id, "ID", right=True),
        Column("name", lambda each: each.name, "NAME"),
        Column("provider", lambda each: providers.get(each.provider_id, "?"), "PROVIDER"),
        Column("created_at", lambda each: moment(each.created_at), "CREATED", lambda each: local_time(each.created_at)),
        Column(
            "updated_at", lambda each: moment(each.updated_at), "REPLACED", lambda each: local_time(each.updated_at)
        ),
        Column("project", lambda each: each.project, "PROJECT" if any(each.project for each in found) else ""),
    ]
    empty = "no credentials; store one with `qonduit credential create NAME --provider PROVIDER`"
    write_rows(here, columns, found, line=lambda each: each, empty=empty)
    return OK


@credential.command()
@click.argument("name")
@_secret_file
@_project
@shared_options()
def update(name: str, secret_file: str | None, project: str) -> int:
    """Replace the secret of the credential NAME. Jobs that start later use the new one, also those that wait."""
    here = session()
    with here.client() as client:
        changed = client.credentials.update(client.credentials.get(name, project=project), read_secret(secret_file))
    return _written(here, changed, "secret replaced")


@credential.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_project
@shared_options()
def delete(names: Sequence[str], project: str) -> int:
    """Delete credentials. Queued jobs that need one fail when it is their turn."""
    here = session()
    with here.client() as client:

        def delete_one(name: str) -> None:
            client.credentials.delete(client.credentials.get(name, project=project))

        return remove_each(here, "deleted", names, delete_one, lambda name: f"credential {name}: deleted")


def _written(here: Session, changed: Credential, outcome: str) -> int:
    """Write a credential that was stored or changed."""
    if here.output == "table":
        click.echo(f"credential {changed.name}: {outcome}")
    else:
        columns = [Column("credential_id", lambda each: each.id), Column("name", lambda each: each.name)]
        write_rows(here, columns, [changed], line=lambda each: each)
    return OK
