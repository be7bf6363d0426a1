# SPDX-License-Identifier: Apache-2.0
"""Lists of jobs: the fields of their filters, and the indexes that yield them in each order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import case, literal

from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit_server.lifecycle import ACTIVE
from qonduit_server.store import catalogue
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.filter_conditions import (
    Field,
    Named,
    Term,
    Words,
    boolean_field,
    enum_field,
    filter_terms,
    number_field,
    project_field,
    text_field,
    time_field,
)
from qonduit_server.store.jobs.job_sizes import shorten_runs
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS, job_message
from qonduit_server.store.labels import JOB_LABELS
from qonduit_server.store.list_indexes import (
    Order,
    Path,
    ScannedList,
    label_path,
    owner_path,
    present_order,
    whole_path,
)
from qonduit_server.store.list_scan import Row, Scan, chosen_owners, read_page
from qonduit_server.store.owned_queries import principal_of
from qonduit_server.store.ownership import Visibility
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.schema import IS_ACTIVE, job_labels, jobs

_FIELDS: Final[Mapping[str, Field]] = {
    "state": enum_field(jobs.c.state, JobState),
    "type": enum_field(jobs.c.type, JobType),
    "owner": text_field(jobs.c.caller),
    "project": project_field(jobs.c.caller),
    "executed_by": Words(principal_of(jobs)),
    "name": text_field(jobs.c.name),
    "label": JOB_LABELS,
    "id": number_field(jobs.c.id),
    "deployment_id": number_field(jobs.c.deployment_id),
    "parent_job_id": number_field(jobs.c.parent_job_id),
    "executed_on_id": number_field(jobs.c.device_id),
    "shots": number_field(jobs.c.shots),
    "created_at": time_field(jobs.c.created_at),
    "started_at": time_field(jobs.c.started_at),
    "finished_at": time_field(jobs.c.finished_at),
}


# No index serves an expression. Databases would prefer an index on the owner to the few rows that another finds.
_OWNER: Final = jobs.c.caller.concat("")
_CREATED: Final = (jobs.c.created_at, jobs.c.id)
_BY_CREATION: Final = (
    # The primary key, which does not contain the owner.
    Path(_CREATED, lambda value: ((jobs.c.id, value),), equal="id", tested_owner=_OWNER),
    # Its index does not contain the owner.
    Path(_CREATED, lambda value: ((jobs.c.parent_job_id, value),), equal="parent_job_id", tested_owner=_OWNER),
    owner_path(*_CREATED, by=jobs.c.deployment_id, is_ranged=False),
    owner_path(*_CREATED, by=jobs.c.name, is_ranged=False),
    label_path(job_labels.c.created_at, job_labels.c.job_id),
    owner_path(*_CREATED, by=jobs.c.device_id),
    owner_path(*_CREATED, by=jobs.c.state),
    owner_path(*_CREATED),
)
_ALL_BY_CREATION: Final = (
    Path(_CREATED, lambda value: ((jobs.c.id, value),), equal="id"),
    Path(_CREATED, lambda value: ((jobs.c.parent_job_id, value),), equal="parent_job_id"),
    Path(_CREATED, lambda value: ((jobs.c.state, value),), (IS_ACTIVE,), equal="state", values=ACTIVE),
    whole_path(*_CREATED),
)
_BY_ID: Final = whole_path(jobs.c.id)
_JOBS: Final = ScannedList(
    jobs.c.id,
    "jobs",
    {
        "created_at": Order(_BY_CREATION, of_all=_ALL_BY_CREATION),
        "finished_at": present_order(jobs.c.finished_at, jobs.c.id, after=_BY_CREATION),
        "name": present_order(jobs.c.name, *_CREATED, after=_BY_CREATION),
        "id": Order([replace(_BY_ID, tested_owner=_OWNER)], of_all=[_BY_ID]),
    },
    {"label.": "label.KEY", "device_id": "device"},
)


def list_page(
    db: Database,
    caller: Visibility | str,
    page_size: int = 0,
    page_token: str = "",
    filter: str = "",
    order_by: str = "",
) -> Page[Job]:
    """Return a page of the jobs that a caller sees, by default the newest first.

    A page may have fewer jobs than its size, or none, and a token of the next page: the filter matches few jobs.

    Args:
        db: the database.
        caller: the caller, with the owners whose jobs are listed.
        page_size: the maximum number of jobs; 0 means 50.
        page_token: from the previous page.
        filter: see docs/filters.md.
        order_by: created_at, finished_at, name or id, with "desc" after it for the reverse order.

    Raises:
        InvalidArgument: bad filter (INVALID_FILTER), page token (INVALID_PAGE_TOKEN) or order.
        ResourceExhausted: the earlier pages have tested too many jobs that do not match (LIMIT_EXCEEDED).
    """
    visible = Visibility.of(caller)
    scan = scan_of(db, visible, filter, order_by)
    cursor = Cursor(("jobs", visible.caller, filter, order_by), page_size, page_token)
    return read_page(db, scan, cursor, SELECT_JOBS, _size, lambda _, rows: [_listed(row) for row in rows])


def scan_of(
    db: Database,
    visible: Visibility,
    filter: str,
    order_by: str = "",
    states: Sequence[JobState] = (),
) -> Scan:
    """Return the scan of the jobs that match a filter; those in some states only, one state after the other.

    Args:
        db: the database.
        visible: the caller, with the owners whose jobs are scanned.
        filter: as of `list_page`.
        order_by: as of `list_page`.
        states: the states; empty for all.

    Raises:
        InvalidArgument: bad filter or order.
    """
    fields = {
        **_FIELDS,
        "device": Named(jobs.c.device_id, {name: device.id for name, device in catalogue.devices_by_name(db).items()}),
        "mine": boolean_field(case((principal_of(jobs) == checked_text("caller", visible.caller), True), else_=False)),
    }
    terms: Sequence[Term] = filter_terms(filter, fields)
    within = [Term(jobs.c.state == literal(int(state)), "state", "=", int(state)) for state in states]
    return Scan(_JOBS, chosen_owners(visible, terms, filter), terms, order_by, within)


def _listed(row: Row) -> Job:
    job = job_message(row)
    shorten_runs(job)
    return job


def _size(row: Row) -> int:
    return len(row.program_runs) + len(row.spec or b"") + len(row.failure or b"") + len(row.name or "") + 200
