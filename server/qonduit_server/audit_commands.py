# SPDX-License-Identifier: Apache-2.0
"""The operator's commands for the audit log: `qonduit audit list`, `export` and `verify`."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

import click

from qonduit_client.cli.output import Column, moment, write_rows
from qonduit_client.cli.session import LIMIT, session, shared_options
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.setting_options import Configuration, settings_options

#: The number of chains whose ends `verify` prints.
_SHOWN: Final = 10
_KEPT: Final = re.compile(r"([0-9a-f]{32}):([1-9][0-9]{0,18}):([0-9a-f]{64})")


class _Kept(click.ParamType["tuple[tuple[str, int], bytes]"]):
    """The hash of an entry: CHAIN:NUMBER:SHA256."""

    name = "CHAIN:NUMBER:SHA256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the hash of an entry."""
        match = _KEPT.fullmatch(value)
        if match is None:
            self.fail(f"must be as `qonduit audit verify` prints it, got {value!r:.100}", param, ctx)
        return (match[1], int(match[2])), bytes.fromhex(match[3])


@click.group(cls=OperatorCommands)
def audit() -> None:
    """List, export and verify the audit log: who did what, when and from where."""


@audit.command("list")
@click.option("--filter", "wanted", default="", metavar="TEXT", help="As 'principal = anna AND outcome != OK'.")
@click.option("--limit", type=LIMIT, default=20, show_default=True, metavar="N", help="Maximum number; 0 lists all.")
@shared_options()
def list_entries(wanted: str, limit: int) -> int:
    """List the entries of a server, newest first. Requires the role admin."""
    from qonduit_client.formatting import local_time

    columns = [
        Column("time", lambda each: moment(each.time), "TIME", lambda each: local_time(each.time)),
        Column("principal", lambda each: each.principal, "PRINCIPAL"),
        Column("method", lambda each: each.method, "METHOD"),
        Column("object", lambda each: each.object, "OBJECT"),
        Column("outcome", lambda each: each.outcome, "OUTCOME"),
        Column("peer", lambda each: each.peer, "FROM"),
        *(
            Column(name, lambda each, name=name: getattr(each, name))  # type: ignore[misc]
            for name in ("authentication", "credential", "count", "left_out", "request_id", "id")
        ),
    ]
    here = session()
    with here.client() as client:
        found = client.audit_entries(wanted, limit=limit or None)
        write_rows(here, columns, found, line=lambda each: each, empty="no entries")
    return 0


@audit.command()
@click.option("--since", default="1970-01-01", metavar="TIME", help="As 2026-01-31 or 2026-01-31T12:00:00+01:00.")
@click.option("--format", "form", type=click.Choice(["jsonl"]), default="jsonl", show_default=True)
@settings_options("database")
def export(since: str, form: str, configuration: Configuration) -> None:
    """Write entries to standard output, oldest first, one JSON object per line. A server may run meanwhile."""
    from qonduit_client.cli.as_json import as_line
    from qonduit_server.store import audit_list
    from qonduit_server.store.admin.command_database import command_database

    begin = _microseconds(since)
    with command_database(configuration.settings.database, "qonduit audit export") as db:
        for entry in audit_list.since(db, begin):
            click.echo(as_line(entry))


@audit.command()
@click.option(
    "--kept", type=_Kept(), multiple=True, help="An entry's hash that an earlier verification printed. Repeatable."
)
@settings_options("database")
def verify(kept: tuple[tuple[tuple[str, int], bytes], ...], configuration: Configuration) -> None:
    """Check that no entry was changed or removed, except by retention. Exit with 1 if one was.

    Prints the number of entries, and the hash of the last entry of the newest chains. Keep these elsewhere: with
    --kept, a later verification also detects that all hashes were computed again.
    """
    from qonduit_server.store.admin.audit_verification import verify
    from qonduit_server.store.admin.command_database import command_database

    with command_database(configuration.settings.database, "qonduit audit verify") as db:
        found = verify(db, dict(kept))
    for error in found.errors:
        click.echo(f"error: {error}", err=True)
    click.echo(f"{found.entries} entries in {len(found.ends)} chains: {'faulty' if found.errors else 'correct'}")
    for chain, (number, sha256) in list(found.ends.items())[-_SHOWN:]:
        click.echo(f"{chain}:{number}:{sha256.hex()}")
    sys.exit(bool(found.errors))


def _microseconds(text: str) -> int:
    """Return a time in microseconds since 1970."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--since must be a time such as 2026-01-31T12:00:00+01:00, got {text!r:.100}") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()) * 1_000_000
