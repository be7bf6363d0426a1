# SPDX-License-Identifier: Apache-2.0
"""The owners of objects by their names: {jobs,deployments,results,credentials}/ID, and names of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, bindparam, select

from qonduit_server.store.column_limits import is_id
from qonduit_server.store.database import Database
from qonduit_server.store.schema import credentials, deployments, jobs, results

_OWNERS: Final[Mapping[str, Select[Any]]] = {
    "jobs": select(jobs.c.caller).where(jobs.c.id == bindparam("id")),
    "deployments": select(deployments.c.caller).where(deployments.c.id == bindparam("id")),
    "credentials": select(credentials.c.owner).where(credentials.c.id == bindparam("id")),
    "results": select(jobs.c.caller)
    .join(results, results.c.job_id == jobs.c.id)
    .where(results.c.id == bindparam("id")),
}


def owner_of(db: Database, name: str) -> str:
    """Return the owner of an object; empty if it does not exist, or is of another kind."""
    collection, _, rest = name.partition("/")
    digits = rest.partition("/")[0]
    if collection not in _OWNERS or not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return ""
    if not is_id(int(digits)):
        return ""
    with db.read() as connection:
        return str(connection.execute(_OWNERS[collection], {"id": int(digits)}).scalar() or "")
