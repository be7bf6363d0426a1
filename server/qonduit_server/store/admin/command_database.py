# SPDX-License-Identifier: Apache-2.0
"""The database for operators' commands, which change it while a server uses it, and are recorded in the audit log."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.audit_trail import Act, acting, object_name
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.engines import parse_url


@contextmanager
def command_database(
    url: str, command: str, *, audited: bool = True, keys: KeyRing | None = None
) -> Iterator[Database]:
    """Open the database of a server for a command.

    Args:
        url: sqlite:///FILE or postgresql://...
        command: its name in the audit log, for example "qonduit adopt".
        audited: whether its changes get entries in the audit log.
        keys: those of the server, if the command decrypts credentials.

    Raises:
        StartError: the database does not exist, or has the schema of another version.
    """
    require_current(url)
    db = open_database(url, keys=keys)
    try:
        with acting(command_act(command) if audited else None):
            yield db
    finally:
        db.close()


def command_act(command: str) -> Act:
    """Return the act under which the audit log records the changes of a command."""
    peer = object_name(os.uname().nodename)
    return Act(principal=_user(), method=command, authentication="command", peer=peer)


def require_current(url: str) -> None:
    """Check that a database exists and has the schema of this version. Raises StartError."""
    parsed = parse_url(url)
    if parsed.drivername == "sqlite" and not Path(str(parsed.database)).exists():
        raise StartError(f"the database {parsed.database} does not exist (QONDUIT_DATABASE)")
    schema = migrations.inspect(url)
    if refusal := schema.refusal(migrations.HEAD):
        raise StartError(refusal)
    if schema.needs_upgrade(migrations.HEAD):
        raise StartError(
            f"the schema of the database is {schema.revision or 'missing'}, not {migrations.HEAD}: qonduit migrate"
        )


def _user() -> str:
    """Return the name of the account that runs the command."""
    try:
        return object_name(getpass.getuser())
    except (KeyError, OSError):  # an account without a name
        return str(os.getuid())
