# SPDX-License-Identifier: Apache-2.0
"""The tables with encrypted secrets, for the commands that encrypt the secrets again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Select, Table, select

from qonduit_server.encryption.sealing import Binding
from qonduit_server.store import credentials as stored
from qonduit_server.store.jobs import job_credentials as of_jobs
from qonduit_server.store.owned_queries import principal_of
from qonduit_server.store.schema import credentials, devices, job_credentials, jobs, providers


@dataclass(frozen=True)
class SealedTable:
    """A table with encrypted secrets.

    Attributes:
        key: its primary key.
        rows: selects `id` (the key), `key_id`, `sealed`, `owner`, who uses the secret, and `provider`, its name.
        bind: returns what a secret is bound to, from its row's id, owner and provider.
    """

    key: Column[Any]
    rows: Select[Any]
    bind: Callable[[int, str, str], Binding]

    @property
    def table(self) -> Table:
        """The table."""
        table: Table = self.key.table
        return table


CREDENTIALS: Final = SealedTable(
    credentials.c.id,
    select(
        *(credentials.c.id, credentials.c.key_id, credentials.c.sealed, credentials.c.owner),
        providers.c.name.label("provider"),
    ).join(providers, providers.c.id == credentials.c.provider_id),
    stored.binding_of,
)
JOB_CREDENTIALS: Final = SealedTable(
    job_credentials.c.job_id,
    select(
        *(job_credentials.c.job_id.label("id"), job_credentials.c.key_id, job_credentials.c.sealed),
        *(principal_of(jobs).label("owner"), providers.c.name.label("provider")),
    )
    .join(jobs, jobs.c.id == job_credentials.c.job_id)
    .join(devices, devices.c.id == jobs.c.device_id)
    .join(providers, providers.c.id == devices.c.provider_id),
    of_jobs.binding_of,
)
