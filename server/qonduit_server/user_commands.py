# SPDX-License-Identifier: Apache-2.0
"""The operator's commands for users who leave: `qonduit adopt`, `qonduit user export` and `qonduit user delete`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qonduit_server.operator_options import OperatorCommand, OperatorCommands
from qonduit_server.setting_options import Configuration, settings_options

if TYPE_CHECKING:
    from qonduit_server.encryption.key_ring import KeyRing
    from qonduit_server.store.database import Database


@click.command(cls=OperatorCommand)
@click.argument("owner")
@click.option("--to", "target", required=True, metavar="NAME", help="The new owner.")
@click.option("--dry-run", is_flag=True, help="Only print how many objects OWNER has.")
@settings_options("database", "audit", "credential_key_file")
def adopt(owner: str, target: str, dry_run: bool, configuration: Configuration) -> None:
    """Hand all jobs, deployments, credentials and memberships of OWNER to another name, while servers run.

    OWNER is "anonymous" for those of a server without authentication. Run the command again if it was interrupted.

    Secrets are encrypted again for the new owner, with the server's keys. What cannot be decrypted stays; exit with 1.
    """
    from qonduit_server.encryption import key_ring
    from qonduit_server.store.admin import adoption

    keys = key_ring.load(configuration.settings.credential_key_file, os.environ)
    with _opened(configuration, "qonduit adopt", keys) as db:
        done = adoption.Adoption(adoption.owned(db, owner)) if dry_run else adoption.adopt(db, owner, target)
    click.echo(f"{'would hand' if dry_run else 'handed'} {_counted(done.handed)} of {owner} to {target}")
    for each in done.left:
        click.echo(f"qonduit: {each}", err=True)
    if done.left:
        click.echo(
            f"qonduit: {len(done.left)} objects stay with {owner}, because their secrets cannot be decrypted: run the "
            "command again with the server's keys (--credential-key-file)",
            err=True,
        )
        sys.exit(1)


@click.group(cls=OperatorCommands)
def user() -> None:
    """Export or delete the data of one user."""


@user.command("export")
@click.argument("name")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="A new folder.")
@settings_options("database", "audit")
def export_user(name: str, folder: Path, configuration: Configuration) -> None:
    """Write all data of NAME as JSON lines, a file for each kind, and large results as files.

    Credentials are written without their secrets. Entries of the audit log are those of what NAME did, and of what
    others did with the objects of NAME.
    """
    from qonduit_client.cli.as_json import as_line
    from qonduit_server.store.admin import user_export
    from qonduit_server.store.audit_trail import current_act

    with _opened(configuration, "qonduit user export") as db:
        if (act := current_act()) is not None:
            db.record(act)
        counts = user_export.export(db, name, folder, as_line)
    click.echo(f"{folder}: {_counted(counts)}")


@user.command("delete")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@click.option("--vacuum", is_flag=True, help="Then rewrite the database; servers cannot write meanwhile.")
@settings_options("database", "audit")
def delete_user(name: str, dry_run: bool, vacuum: bool, configuration: Configuration) -> None:
    """Cancel and delete all jobs of NAME, and delete its deployments. Exit with 1 while jobs still run.

    Deleted rows stay in the files of the database until they are overwritten; --vacuum removes them. Entries of the
    audit log stay until their retention.
    """
    from qonduit_server.store.admin import user_data

    with _opened(configuration, "qonduit user delete") as db:
        before = user_data.remains(db, name)
        kept = before.pop("audit_entries")
        if dry_run:
            click.echo(f"would delete {_counted(before)}, of them {user_data.active_jobs(db, name)} jobs not ended")
            click.echo(f"{kept} entries of the audit log would stay until their retention")
            return
        active = user_data.delete(db, name)
        after = user_data.remains(db, name)
        if vacuum and not active:
            user_data.rewrite(db)
    click.echo(f"deleted {_counted({what: count - after[what] for what, count in before.items()})}")
    click.echo(f"{after['audit_entries']} entries of the audit log stay until their retention")
    if active:
        click.echo(f"qonduit: {active} jobs still run and were cancelled; run the command again", err=True)
        sys.exit(1)


def _opened(
    configuration: Configuration, command: str, keys: KeyRing | None = None
) -> AbstractContextManager[Database]:
    from qonduit_server.store.admin.command_database import command_database

    settings = configuration.settings
    return command_database(settings.database, command, audited=settings.audit != "off", keys=keys)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())
