# SPDX-License-Identifier: Apache-2.0
"""Export all data of one owner as lines of JSON: its objects, what it used, and the audit log about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message
from sqlalchemy import bindparam, select

from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_pb2 import Result
from qonduit.v1.system_service_pb2 import Share
from qonduit.v1.usage_service_pb2 import UsageGrouping
from qonduit_server.errors import StartError
from qonduit_server.store import audit_list, credentials, projects
from qonduit_server.store.admin.row_pages import rows_of
from qonduit_server.store.admin.stored_objects import PAGE, BufferChunk, VendorPayload, of_deployment, of_job
from qonduit_server.store.database import Database
from qonduit_server.store.deployments import COLUMNS
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS
from qonduit_server.store.object_owners import owners_of
from qonduit_server.store.paging import Page
from qonduit_server.store.schema import deployments, jobs, lanes, providers
from qonduit_server.store.users import quota_rows, usage_rows

#: The files of an export.
FILES: Final = (
    *("jobs", "events", "results", "deployments", "credentials", "projects", "usage", "quotas", "shares"),
    "audit_entries",
)
#: The files of the parts of a job.
_FILE_OF: Final[Mapping[type, str]] = {Job: "jobs", JobEvent: "events", Result: "results"}
_GROUPING: Final = (
    UsageGrouping.USAGE_GROUPING_OWNER,
    UsageGrouping.USAGE_GROUPING_USER,
    UsageGrouping.USAGE_GROUPING_DEVICE,
    UsageGrouping.USAGE_GROUPING_DAY,
)
#: Receives the name of a file and a message.
_Write: TypeAlias = Callable[[str, Message], None]
#: Returns the JSON of a message.
_LineOf: TypeAlias = Callable[[Message], str]

_JOBS: Final = (
    SELECT_JOBS.where(jobs.c.caller == bindparam("owner"), jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(PAGE)
)
_DEPLOYMENTS: Final = (
    select(*COLUMNS)
    .where(deployments.c.caller == bindparam("owner"), deployments.c.id > bindparam("after"))
    .order_by(deployments.c.id)
    .limit(PAGE)
)
_LANES: Final = (
    select(lanes.c.provider_id, providers.c.name, lanes.c.weight, lanes.c.mean_seconds)
    .join(providers, providers.c.id == lanes.c.provider_id)
    .where(lanes.c.owner == bindparam("owner"))
    .order_by(lanes.c.provider_id)
)


def export(db: Database, owner: str, folder: Path, line_of: _LineOf) -> dict[str, int]:
    """Write the data of an owner as lines of JSON, few of them in memory; return the number of lines of each file.

    Args:
        db: the database.
        owner: the owner.
        folder: a new folder, which only this account can read, with a file for each of `FILES`. Buffers are files in
            its folder `buffers`, and what vendors received and sent for jobs in `vendors`.
        line_of: returns the JSON of a message.

    Raises:
        StartError: the folder exists, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        for name in ("buffers", "vendors"):
            (folder / name).mkdir(mode=0o700)
        counts = dict.fromkeys(FILES, 0)
        files = {name: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in counts}
        try:

            def write(name: str, message: Message) -> None:
                files[name].write(f"{line_of(message)}\n")
                counts[name] += 1

            _export(db, owner, folder, write, line_of)
        finally:
            for file in files.values():
                file.close()
    except OSError as error:
        raise StartError(f"cannot write {folder}: {error.strerror}; the folder must not exist") from error
    return counts


def _export(db: Database, owner: str, folder: Path, write: _Write, line_of: _LineOf) -> None:
    _export_jobs(db, owner, folder, write, line_of)
    _export_deployments(db, owner, write)
    for name, pages in (
        ("credentials", lambda token: credentials.list_page(db, owner, page_token=token)),
        ("projects", lambda token: projects.list_page(db, owner, page_token=token)),
        ("usage", lambda token: usage_rows.list_page(db, owner, group_by=_GROUPING, page_token=token)),
    ):
        for message in _items(pages):
            write(name, message)
    write("quotas", quota_rows.get(db, owner))
    with db.read() as connection:
        for row in connection.execute(_LANES, {"owner": owner}).all():
            provider_id, provider, weight, mean_seconds = row
            share = Share(
                provider_id=provider_id, provider=provider, owner=owner, weight=weight, mean_seconds=mean_seconds
            )
            write("shares", share)
    for entry in _audit_entries(db, owner):
        write("audit_entries", entry)


def _items(page_of: Callable[[str], Page[Any]]) -> Iterator[Message]:
    token = ""
    while True:
        page = page_of(token)
        yield from page.items
        token = page.next_page_token
        if not token:
            return


def _audit_entries(db: Database, owner: str) -> Iterator[AuditEntry]:
    """Yield the entries of what an owner did, and of what others did with it or with its objects, oldest first."""
    entries = audit_list.since(db, 0)
    while batch := list(islice(entries, PAGE)):
        owners = owners_of(db, [entry.object for entry in batch])
        for entry in batch:
            if owner in (entry.principal, owners.get(entry.object)) or entry.object == f"users/{owner}":
                yield entry


def _export_jobs(db: Database, owner: str, folder: Path, write: _Write, line_of: _LineOf) -> None:
    for row in rows_of(db, _JOBS, "id", PAGE, owner=owner):
        for part in of_job(db, row):
            if isinstance(part, BufferChunk):
                with (folder / "buffers" / str(part.result_id)).open("ab") as file:
                    file.write(part.data)
            elif isinstance(part, VendorPayload):
                name = f"{row.id}-{part.stage}-{part.part}-{part.kind}"
                data = part.data if isinstance(part.data, bytes) else line_of(part.data).encode()
                (folder / "vendors" / name).write_bytes(data)
            else:
                write(_FILE_OF[type(part)], part)


def _export_deployments(db: Database, owner: str, write: _Write) -> None:
    for row in rows_of(db, _DEPLOYMENTS, "id", PAGE, owner=owner):
        write("deployments", of_deployment(db, row))
