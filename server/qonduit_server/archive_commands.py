# SPDX-License-Identifier: Apache-2.0
"""The operator's commands for the archive of retention: `qonduit archive list`, `show` and `erase`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from qonduit_server.errors import StartError
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.setting_options import Configuration, settings_options

_JOB: Final = b'{"kind": "job", '
_DEPLOYMENT: Final = b'{"kind": "deployment", '


@click.group(cls=OperatorCommands)
def archive() -> None:
    """Read the files to which retention writes jobs before it deletes them (retention_archive)."""


@archive.command("list")
@click.option("--owner", metavar="NAME", help="Only the jobs of NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print each job as one JSON object.")
@settings_options("retention_archive")
def list_jobs(owner: str | None, as_json: bool, configuration: Configuration) -> None:
    """List the archived jobs, file by file. Exit with 1 if a file is damaged."""
    seen: set[int] = set()
    files = _Reading(configuration)
    for path in files.paths:
        for record in files.records(path, _JOB):
            # A job is in two files if its server stopped between the archive and the database.
            if record["job_id"] not in seen and owner in (None, record["owner"]):
                seen.add(record["job_id"])
                click.echo(json.dumps(record, ensure_ascii=False) if as_json else _line(record))
    sys.exit(files.damaged)


@archive.command()
@click.argument("job", type=click.IntRange(min=1))
@settings_options("retention_archive")
def show(job: int, configuration: Configuration) -> None:
    """Print all that the archive contains of a job: one JSON object for each event, result and chunk of a buffer.

    The last object is the deployment of the job, if it is archived too. Exit with 1 if a file is damaged.
    """
    files = _Reading(configuration)
    mark = f'"job_id": {job}, '.encode()
    holding = [path for path in files.paths if any(files.records(path, _JOB, mark))]
    if not holding:
        click.echo(f"qonduit: the archive does not contain job {job}", err=True)
        sys.exit(1)
    deployment = 0
    for record in files.records(holding[-1], mark):
        if record.get("job_id") == job:
            click.echo(json.dumps(record, ensure_ascii=False))
            deployment = record["job"]["deployment_id"] if record["kind"] == "job" else deployment
    of_deployment = (
        record
        for path in reversed(files.paths)
        for record in files.records(path, _DEPLOYMENT)
        if record["deployment"]["id"] == deployment
    )
    if found := next(of_deployment, None):
        click.echo(json.dumps(found, ensure_ascii=False))
    sys.exit(files.damaged)


@archive.command()
@click.argument("owner")
@settings_options("retention_archive")
def erase(owner: str, configuration: Configuration) -> None:
    """Remove all records of OWNER from the archive: rewrite the files that contain any.

    A file that a server writes at the moment is refused; run the command again.
    """
    from qonduit_server.store.admin import archive as files

    count = sum(files.erase(path, owner) for path in _files(configuration))
    click.echo(f"removed {count} records of {owner}")


def _line(record: dict[str, Any]) -> str:
    job = record["job"]
    state = job["state"].removeprefix("JOB_STATE_").lower()
    fields = (job["id"], state, job["finished_at"], job["device"], record["owner"], job.get("name", ""))
    return "  ".join(map(str, fields)).rstrip()


def _files(configuration: Configuration) -> list[Path]:
    from qonduit_server.store.admin.archive import files_of

    folder = configuration.settings.retention_archive
    if not folder:
        raise StartError("no archive: set QONDUIT_RETENTION_ARCHIVE or pass --retention-archive")
    return files_of(Path(folder))


class _Reading:
    """The files of the archive, as far as they can be read. Damage is reported once for each file.

    Attributes:
        paths: the files.
        damaged: whether one of those that were read so far is damaged.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.paths = _files(configuration)
        self._damaged: set[Path] = set()

    @property
    def damaged(self) -> bool:
        return bool(self._damaged)

    def records(self, path: Path, *containing: bytes) -> Iterator[dict[str, Any]]:
        """Yield the records of a file, or those before its damage, as `records_of`."""
        from qonduit_server.store.admin.archive import records_of

        try:
            yield from records_of(path, containing=containing)
        except StartError as error:
            if path not in self._damaged:
                click.echo(f"qonduit: {error}", err=True)
            self._damaged.add(path)
