# SPDX-License-Identifier: Apache-2.0
"""The tables of running servers and of what they offer; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, SmallInteger, Table, Text

from qonduit_server.store.schema_metadata import metadata

# The running servers of a PostgreSQL database, which offer devices (server_offers.py).
servers = Table(
    "servers",
    metadata,
    Column("id", Text, primary_key=True),
    # The server has stopped or is lost if this time, by the clock of the database, has passed.
    Column("offers_until", BigInteger, nullable=False),
)

server_offers = Table(
    "server_offers",
    metadata,
    Column("server_id", Text, ForeignKey("servers.id"), primary_key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    # A ProviderDescription message without calibrations.
    Column("description", LargeBinary, nullable=False),
)
