# SPDX-License-Identifier: Apache-2.0
"""The tables of devices at vendors; schema.py has the others."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Table, Text

from qonduit_server.store.schema_metadata import Id, metadata


class ProbeState(IntEnum):
    """The states of a probe."""

    OPEN = 1  #: its job is to be created, or has not ended
    PASSED = 2
    FAILED = 3  #: the outcome was wrong
    NOT_RUN = 4  #: the job failed, or was refused


# The accounts of which vendors have listed devices (vendor_listings.py).
vendor_listings = Table(
    "vendor_listings",
    metadata,
    # A stored credential.
    Column("credential_id", Id, primary_key=True, autoincrement=False),
    Column("provider_id", Id, nullable=False),
    # The time of the next question, in microseconds since 1970.
    Column("due", BigInteger, nullable=False),
    # The names of the devices, as a JSON list.
    Column("devices", Text, nullable=False),
    # How often in succession the vendor has not answered.
    Column("failures", Integer, nullable=False),
)

# The probes of the bit order of devices (device_probes.py).
device_probes = Table(
    "device_probes",
    metadata,
    Column("device_id", Id, primary_key=True, autoincrement=False),
    # The stored credential, whose owner owns the job.
    Column("credential_id", Id, nullable=False),
    # NULL before it was created.
    Column("job_id", Id),
    # A ProbeState.
    Column("state", SmallInteger, nullable=False),
    Column("message", Text),
    Column("ended_at", BigInteger),
)
