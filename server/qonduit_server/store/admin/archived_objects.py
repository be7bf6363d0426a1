# SPDX-License-Identifier: Apache-2.0
"""Write the objects that retention is about to delete to the archive, each as records of one line.

Each function returns what it wrote, which may be deleted then. What another server deleted meanwhile is left out.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from sqlalchemy import bindparam, select

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import NotFound
from qonduit_server.store.admin import expired_deployments
from qonduit_server.store.admin.archive import Archive, Record
from qonduit_server.store.admin.expired_deployments import Replaced, Unused
from qonduit_server.store.admin.stored_objects import BufferChunk, Part, VendorPayload, of_deployment, of_job
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.deployments import COLUMNS
from qonduit_server.store.jobs.deletion import ENDED, EndedJobs
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS
from qonduit_server.store.schema import deployments, jobs, programs

_JOBS: Final = SELECT_JOBS.where(among(jobs.c.id, "ids"), *ENDED).order_by(jobs.c.id)
_DEPLOYMENTS: Final = select(*COLUMNS).where(among(deployments.c.id, "ids")).order_by(deployments.c.id)
_PROGRAMS: Final = (
    select(programs.c.id, programs.c.program, deployments.c.caller)
    .join_from(programs, deployments)
    .where(among(programs.c.id, "ids"), programs.c.deployment_id == bindparam("deployment"))
    .order_by(programs.c.id)
)


class Archiver:
    """Archives what retention deletes.

    Args:
        db: the store.
        archive: receives the records.
        as_dict: returns the values of a message for JSON.
    """

    def __init__(self, db: Database, archive: Archive, as_dict: Callable[[Message], dict[str, Any]]) -> None:
        self._db = db
        self._as_dict = as_dict
        self.archive: Final = archive

    def jobs(self, ended: EndedJobs) -> EndedJobs:
        """Write jobs with their events, results and buffers. Raises ArchiveFailed and Unavailable."""
        with self._db.read() as connection:
            rows = connection.execute(_JOBS, {"ids": list(ended.ids), "before": ended.before}).all()
        written: list[int] = []
        if not rows:
            return ended._replace(ids=written)
        with self.archive.batch() as write:
            for row in rows:
                try:
                    for part in of_job(self._db, row):
                        write(self._record_of(row.id, row.caller, part))
                except NotFound:
                    continue
                written.append(row.id)
        return ended._replace(ids=written)

    def unused(self, found: Unused) -> Unused:
        """Write deployments with their programs. Raises ArchiveFailed and Unavailable."""
        with self._db.read() as connection:
            rows = connection.execute(_DEPLOYMENTS, {"ids": list(found.ids)}).all()
        with self.archive.batch() as write:
            for row in rows:
                deployment = of_deployment(self._db, row)
                write({"kind": "deployment", "owner": row.caller, "deployment": self._as_dict(deployment)})
        return Unused([row.id for row in rows])

    def replaced(self, found: Replaced) -> Replaced:
        """Write the replaced programs of a deployment that no job needs. Raises ArchiveFailed and Unavailable."""
        with self._db.read() as connection:
            ids = expired_deployments.unused_programs(connection, found.deployment_id)
            rows = connection.execute(_PROGRAMS, {"ids": list(ids), "deployment": found.deployment_id}).all()
        if rows:
            with self.archive.batch() as write:
                for row in rows:
                    program = QuantumProgram.FromString(row.program)
                    program.id, program.deployment_id = row.id, found.deployment_id
                    write({"kind": "program", "owner": row.caller, "program": self._as_dict(program)})
        return found._replace(only=[row.id for row in rows])

    def _record_of(self, job_id: int, owner: str, part: Part) -> Record:
        if isinstance(part, BufferChunk):
            data = b64encode(part.data).decode("ascii")
            record = {"kind": "buffer", "result_id": part.result_id, "chunk": part.number, "data": data}
        elif isinstance(part, VendorPayload):
            content = b64encode(part.data).decode("ascii") if isinstance(part.data, bytes) else self._as_dict(part.data)
            record = {"kind": f"vendor_{part.kind}", "stage": part.stage, "part": part.part, "sha256": part.sha256}
            record["data"] = content
        else:
            kind = "job" if isinstance(part, Job) else "event" if isinstance(part, JobEvent) else "result"
            record = {"kind": kind, kind: self._as_dict(part)}
        return {"kind": record.pop("kind"), "owner": owner, "job_id": job_id, **record}
