# SPDX-License-Identifier: Apache-2.0
"""Find the programs of deployments by their ids, for new jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import deployments, programs


class StoredPrograms(NamedTuple):
    """The owner and the current program ids of a deployment."""

    owner: str
    ids: list[int]


def ask_program_ids(connection: Connection, ids: Iterable[int]) -> Callable[[], dict[int, StoredPrograms]]:
    """Ask for the current program ids of deployments (queries.py); missing ones are left out."""
    answer = _SELECT_PROGRAM_IDS.ask(connection, {"ids": list(ids)})

    def by_deployment() -> dict[int, StoredPrograms]:
        found: dict[int, StoredPrograms] = {}
        for program_id, deployment_id, owner in answer():
            found.setdefault(deployment_id, StoredPrograms(owner, [])).ids.append(program_id)
        return found

    return by_deployment


_SELECT_PROGRAM_IDS: Final = Query(
    select(programs.c.id, programs.c.deployment_id, deployments.c.caller)
    .join(deployments, deployments.c.id == programs.c.deployment_id)
    .where(among(programs.c.deployment_id, "ids"), programs.c.is_current.is_(True))
    .order_by(programs.c.deployment_id, programs.c.position)
)


def programs_exist(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return the programs that exist, and lock them and their deployments until the transaction ends."""
    return set(connection.execute(_SELECT_EXISTING, {"ids": list(ids)}).scalars())


_SELECT_EXISTING: Final = (
    select(programs.c.id)
    .join(deployments, deployments.c.id == programs.c.deployment_id)
    .where(among(programs.c.id, "ids"))
    .with_for_update(read=True, key_share=True)
)
