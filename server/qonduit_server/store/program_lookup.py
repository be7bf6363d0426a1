# SPDX-License-Identifier: Apache-2.0
"""Find the programs of deployments by their ids, for new jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, select

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.schema import deployments, programs


def program_ids(connection: Connection, caller: str, ids: Iterable[int]) -> dict[int, list[int]]:
    """Return the current program ids of each of the caller's deployments; others are left out."""
    found: dict[int, list[int]] = {}
    for program_id, deployment_id in connection.execute(_SELECT_PROGRAM_IDS, {"ids": list(ids), "caller": caller}):
        found.setdefault(deployment_id, []).append(program_id)
    return found


_SELECT_PROGRAM_IDS: Final = (
    select(programs.c.id, programs.c.deployment_id)
    .join(deployments, deployments.c.id == programs.c.deployment_id)
    .where(
        among(programs.c.deployment_id, "ids"),
        programs.c.is_current.is_(True),
        deployments.c.caller == bindparam("caller"),
    )
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
