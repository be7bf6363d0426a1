# SPDX-License-Identifier: Apache-2.0
"""Ends IBM_UPLOAD jobs in the transaction that creates them: their check has ended before, so they never wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramSucceeded, TaskEvent, TaskFinished
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_pb2 import Result, ResultType
from qonduit_server.store import program_versions
from qonduit_server.store.jobs.outcome_recording import OutcomeRecorder
from qonduit_server.store.jobs.unit_of_work import UnitOfWork
from qonduit_server.store.program_versions import NewVersion
from qonduit_server.store.writer import Transaction

#: The owner of the lease, within the transaction.
_OWNER: Final = "upload"


@dataclass(frozen=True)
class CheckedUpload:
    """The outcome of the check of an upload.

    Attributes:
        version: the version to store; None if the check failed.
        failure: why it failed.
        seconds: the time that the check took.
    """

    version: NewVersion | None
    failure: Failure | None
    seconds: float


class EndedUpload(NamedTuple):
    """A job that has uploaded a program, and the deployment of the stored version; 0 without one."""

    job: Job
    version_id: int


def record(transaction: Transaction, uploads: Mapping[int, CheckedUpload]) -> dict[int, EndedUpload]:
    """Start and end new jobs with the outcomes of their checks; return them by id."""
    if not uploads:
        return {}
    unit = UnitOfWork(transaction)
    unit.load(uploads.keys())
    for entry in unit.entries.values():
        unit.start(entry, _OWNER, transaction.now)
    unit.flush()
    accepted = {job_id: upload.version for job_id, upload in uploads.items() if upload.version is not None}
    stored = program_versions.insert_many(transaction, list(accepted.values()), list(accepted))
    receipts = dict(zip(accepted, stored, strict=True))
    events = []
    for job_id, upload in uploads.items():
        if job_id in receipts:
            result = Result(result_type=ResultType.RESULT_TYPE_UPLOAD, upload=receipts[job_id])
            events.append(TaskEvent(job_id=job_id, program_succeeded=ProgramSucceeded(result=result)))
        else:
            events.append(TaskEvent(job_id=job_id, program_failed=ProgramFailed(failure=upload.failure)))
        events.append(TaskEvent(job_id=job_id, finished=TaskFinished(seconds=upload.seconds)))
    for event in events:
        event.attempt = unit.entries[event.job_id].job.attempt
    recorder = OutcomeRecorder(transaction, events)
    recorder.record(_OWNER, events)
    recorder.close()
    ids = {job_id: receipt.deployment_id for job_id, receipt in receipts.items()}
    return {job_id: EndedUpload(recorder.job(job_id), ids.get(job_id, 0)) for job_id in uploads}
