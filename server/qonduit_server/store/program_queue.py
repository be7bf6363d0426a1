# SPDX-License-Identifier: Apache-2.0
"""The queue of server programs, apart from the queues of the providers whose devices they use.

A row of `providers` stands for it, which no list contains: so programs have lanes of their own, and a server claims
them by a capacity of their own. A program never takes the place of a simulation.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select

from qonduit.v1.job_pb2 import Job, JobType
from qonduit_server.store.schema import providers

#: The name of the queue, in place of that of a provider.
PROGRAMS: Final = "server-programs"

_SELECT: Final = select(providers.c.id).where(providers.c.name == PROGRAMS)
_INSERT: Final = insert(providers).values(name=PROGRAMS, with_token=False).returning(providers.c.id)


def queue_name(job: Job) -> str:
    """Return the name of the queue in which a job waits: that of its provider, or that of server programs."""
    return PROGRAMS if job.type == JobType.JOB_TYPE_IBM_RUNNER else job.device.partition("/")[0]


def queue_id(connection: Connection) -> int:
    """Return the id of the queue of server programs; the first program creates it."""
    if connection.dialect.name == "postgresql":
        # Servers that create it at the same time would insert the same name.
        found = connection.execute(_SELECT).scalar()
        if found is None:
            connection.exec_driver_sql("LOCK TABLE providers IN SHARE ROW EXCLUSIVE MODE")
    found = connection.execute(_SELECT).scalar()
    return int(connection.execute(_INSERT).scalar_one() if found is None else found)
