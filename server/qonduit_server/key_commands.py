# SPDX-License-Identifier: Apache-2.0
"""The operator's commands `qonduit credential-key create`, `list`, `rotate` and `remove`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from qonduit_server.encryption import key_ring
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import StartError
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.setting_options import Configuration, settings_options

#: Some rows cannot be decrypted.
EXIT_FAILED: Final = 1


@click.group("credential-key", cls=OperatorCommands)
def credential_key() -> None:
    """Create, list, rotate and remove the keys that encrypt credentials. A running server follows each change."""


@credential_key.command()
@click.argument("key_id", required=False)
@settings_options("credential_key_file")
def create(key_id: str | None, configuration: Configuration) -> None:
    """Add a random key to the file, which encrypts new credentials from now on. KEY_ID names it; default: the time.

    Copy the file to all servers of the database before a server stores a credential. Back it up apart from the
    database: without the key, the credentials cannot be decrypted.
    """
    file = Path(configuration.required("credential_key_file"))
    key_id = key_id or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    key_ring.create(file, key_id)
    click.echo(f"{file}: added the key {key_id}, which encrypts new credentials")


@credential_key.command("list")
@settings_options("credential_key_file", "database")
def list_keys(configuration: Configuration) -> None:
    """List the ids of the keys, and the number of credentials that each encrypts. No key is printed."""
    from qonduit_client.text_table import table_of
    from qonduit_server.store.admin import key_rotation

    ring = _ring(configuration).keys()
    keys = [key.id for key in ring]
    used = key_rotation.usage(configuration.settings.database)
    rows = [(key_id, str(used[key_id]), "encrypts" if place == 0 else "decrypts") for place, key_id in enumerate(keys)]
    rows += [(key_id, str(count), "missing") for key_id, count in sorted(used.items()) if key_id not in keys]
    click.echo(table_of(("key", "credentials", "state"), rows) if rows else "no keys; `qonduit credential-key create`")


@credential_key.command()
@settings_options("credential_key_file", "database")
def rotate(configuration: Configuration) -> None:
    """Encrypt all stored credentials with the first key. Servers may run meanwhile; repeat it if it was interrupted.

    Exit with 1 if credentials cannot be decrypted, and print which.
    """
    from qonduit_server.store.admin import key_rotation

    done = key_rotation.rotate(configuration.settings.database, Sealer(_ring(configuration)))
    for each in done.unreadable:
        click.echo(f"qonduit: {each}", err=True)
    click.echo(f"rotated {done.rewrapped} credentials; {len(done.unreadable)} cannot be decrypted")
    sys.exit(EXIT_FAILED if done.unreadable else 0)


@credential_key.command()
@click.argument("key_id")
@settings_options("credential_key_file", "database")
def remove(key_id: str, configuration: Configuration) -> None:
    """Remove a key that encrypts no credential any more."""
    from qonduit_server.store.admin import key_rotation

    file = Path(configuration.required("credential_key_file"))
    if used := key_rotation.usage(configuration.settings.database)[key_id]:
        raise StartError(f"the key {key_id} encrypts {used} credentials: run `qonduit credential-key rotate` before")
    key_ring.remove(file, key_id)
    click.echo(f"{file}: removed the key {key_id}")


def _ring(configuration: Configuration) -> key_ring.KeyRing:
    return key_ring.load(configuration.settings.credential_key_file, os.environ)
