# SPDX-License-Identifier: Apache-2.0
"""Labels of jobs and deployments: rows that filters and indexes use. Objects without labels have no rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.filter_conditions import Labels
from qonduit_server.store.schema import deployment_labels, deployments, job_labels, jobs

_INSERT_JOB_LABELS: Final = BulkInsert(job_labels, ("job_id", "key", "value", "caller", "created_at"))
_INSERT_DEPLOYMENT_LABELS: Final = BulkInsert(deployment_labels, ("deployment_id", "key", "value", "caller"))
_SELECT_DEPLOYMENT_LABELS: Final = sa.select(
    deployment_labels.c.deployment_id, deployment_labels.c.key, deployment_labels.c.value
).where(among(deployment_labels.c.deployment_id, "ids"))
#: Deletes the labels of jobs.
DELETE_JOB_LABELS: Final = sa.delete(job_labels).where(among(job_labels.c.job_id, "ids"))
_DELETE_DEPLOYMENT_LABELS: Final = sa.delete(deployment_labels).where(among(deployment_labels.c.deployment_id, "ids"))


def checked(field: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels if the database can hold them. Raises InvalidArgument."""
    return {checked_text(field, key): checked_text(field, value) for key, value in labels.items()}


def searchable(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a job that have rows: all but those with NUL, which older versions accepted."""
    return {key: value for key, value in labels.items() if "\0" not in key + value}


def insert_of_jobs(connection: Connection, new: Iterable[tuple[int, str, int, Mapping[str, str]]]) -> None:
    """Insert the labels of jobs, given as (job id, caller, creation time, labels)."""
    rows = [
        (job_id, key, value, caller, created_at)
        for job_id, caller, created_at, labels in new
        for key, value in searchable(labels).items()
    ]
    if rows:
        _INSERT_JOB_LABELS(connection, rows)


def insert_of_deployments(connection: Connection, new: Iterable[tuple[int, str, Mapping[str, str]]]) -> None:
    """Insert the labels of deployments, given as (deployment id, caller, labels)."""
    rows = [(key_of, key, value, caller) for key_of, caller, labels in new for key, value in labels.items()]
    if rows:
        _INSERT_DEPLOYMENT_LABELS(connection, rows)


def replace_of_deployment(connection: Connection, deployment_id: int, caller: str, labels: Mapping[str, str]) -> None:
    """Replace the labels of a deployment."""
    connection.execute(_DELETE_DEPLOYMENT_LABELS, {"ids": [deployment_id]})
    insert_of_deployments(connection, [(deployment_id, caller, labels)])


def of_deployments(connection: Connection, ids: Iterable[int]) -> Iterable[tuple[int, str, str]]:
    """Yield the labels of deployments, as (deployment id, key, value)."""
    for row in connection.execute(_SELECT_DEPLOYMENT_LABELS, {"ids": list(ids)}):
        yield row.deployment_id, row.key, row.value


def _field(table: sa.Table, owner: sa.Column[int], referred: sa.Column[int]) -> Labels:
    # Subqueries for one value: the database looks the label of each tested row up, and never joins all labels.
    of_row = sa.select(table.c.value).where(owner == referred).correlate(referred.table)
    return Labels(lambda key: of_row.where(table.c.key == key).scalar_subquery(), of_row.limit(1).scalar_subquery())


#: The field of filters of jobs.
JOB_LABELS: Final = _field(job_labels, job_labels.c.job_id, jobs.c.id)
#: The field of filters of deployments.
DEPLOYMENT_LABELS: Final = _field(deployment_labels, deployment_labels.c.deployment_id, deployments.c.id)
