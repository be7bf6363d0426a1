# SPDX-License-Identifier: Apache-2.0
"""Jobs, as those who submit them see them: create, read, cancel, delete, run again."""

from __future__ import annotations

from dataclasses import dataclass

from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import Job

from qonduit_server.store.database import Database
from qonduit_server.store.paging import Page


@dataclass(frozen=True)
class NewJob:
    """A job to be made.

    Attributes:
        caller: who submits it.
        job: name, type, shots and seed are taken from it; everything else is ignored.
        device_id: the device to run on.
        deployment: the programs, inline; or None, and then
        deployment_id: the stored deployment to run.
        request_id: makes a retry safe; empty for none. Unique per caller and method.
        method: "CreateJob", "RunJob" or "RerunJob".
        fingerprint: a hash of the request, compared when the request id comes again.
        max_queued: refuse when this many jobs wait already; 0 for no limit.
    """

    caller: str
    job: Job
    device_id: int
    deployment: Deployment | None = None
    deployment_id: int = 0
    request_id: str = ""
    method: str = "CreateJob"
    fingerprint: bytes = b""
    max_queued: int = 0


@dataclass(frozen=True)
class Created:
    """A job that was made, or (`deduplicated`) the one that this request made before, as it is now."""

    job: Job
    deduplicated: bool


def create(db: Database, new: NewJob) -> Created:
    """Queue a job: programs, job and first event in one durable transaction.

    Raises:
        NotFound: no such device or deployment.
        AlreadyExists: the request id was used for another request.
        FailedPrecondition: the device is not available.
        ResourceExhausted: too many jobs wait.
    """
    raise NotImplementedError


def rerun(db: Database, caller: str, job_id: int, request_id: str = "", max_queued: int = 0) -> Created:
    """Queue a new job with the programs, device and options of another. Raises as `create` does."""
    raise NotImplementedError


def get(db: Database, caller: str, job_id: int) -> Job:
    """Return one job. Raises NotFound."""
    raise NotImplementedError


def list_page(db: Database, caller: str, page_size: int = 0, page_token: str = "", filter: str = "") -> Page[Job]:
    """Return a page of the caller's jobs, newest first.

    Filter fields: id, name, state, type, deployment_id, executed_on_id, created_at.

    Raises:
        InvalidArgument: bad filter (INVALID_FILTER) or page token (INVALID_PAGE_TOKEN).
    """
    raise NotImplementedError


def cancel(db: Database, caller: str, job_id: int) -> Job:
    """Ask for a job to be cancelled; return it as CANCELLED, CANCELLING, or as it ended. Raises NotFound."""
    raise NotImplementedError


def delete(db: Database, caller: str, job_id: int) -> None:
    """Delete a job with its events and results. Raises NotFound, and FailedPrecondition unless it has ended."""
    raise NotImplementedError
