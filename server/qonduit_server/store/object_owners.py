# SPDX-License-Identifier: Apache-2.0
"""The owners of objects by their names: {jobs,deployments,results,credentials}/ID, and names of their parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Select, select

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import is_id
from qonduit_server.store.database import Database
from qonduit_server.store.schema import credentials, deployments, jobs, results

_OWNERS: Final[Mapping[str, Select[Any]]] = {
    "jobs": select(jobs.c.id, jobs.c.caller).where(among(jobs.c.id, "ids")),
    "deployments": select(deployments.c.id, deployments.c.caller).where(among(deployments.c.id, "ids")),
    "credentials": select(credentials.c.id, credentials.c.owner).where(among(credentials.c.id, "ids")),
    "results": select(results.c.id, jobs.c.caller)
    .join(jobs, results.c.job_id == jobs.c.id)
    .where(among(results.c.id, "ids")),
}


def owner_of(db: Database, name: str) -> str:
    """Return the owner of an object; empty if it does not exist, or is of another kind."""
    return owners_of(db, [name]).get(name, "")


def owners_of(db: Database, names: Collection[str]) -> dict[str, str]:
    """Return the owners of those of many objects that exist, by one query for each kind."""
    of_kind: defaultdict[str, dict[int, list[str]]] = defaultdict(dict)
    for name in set(names):
        kind, _, rest = name.partition("/")
        digits = rest.partition("/")[0]
        if kind in _OWNERS and digits.isascii() and digits.isdigit() and len(digits) < 20 and is_id(int(digits)):
            of_kind[kind].setdefault(int(digits), []).append(name)
    owners: dict[str, str] = {}
    if of_kind:
        with db.read() as connection:
            for kind, named in of_kind.items():
                for number, owner in connection.execute(_OWNERS[kind], {"ids": list(named)}):
                    owners.update(dict.fromkeys(named[number], str(owner)))
    return owners
