# SPDX-License-Identifier: Apache-2.0
"""The tables of the shares of owners and members in the workers of a provider; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Index, Table, Text, text

from qonduit_server.store.schema_metadata import Id, metadata

# The shares of callers in the workers of a provider. A lane without a row has used nothing.
lanes = Table(
    "lanes",
    metadata,
    Column("provider_id", Id, ForeignKey("providers.id"), primary_key=True, autoincrement=False),
    Column("owner", Text, primary_key=True),
    Column("weight", Double, nullable=False, server_default=text("1")),
    # The seconds of workers that the lane has used, divided by its weight. The lowest lane is served first.
    Column("virtual_time", Double, nullable=False),
    # Its virtual time when it was last served. The highest one of a provider is the virtual time of the provider.
    Column("virtual_start", Double, nullable=False),
    # The mean of the seconds of its jobs, newer ones weighted more; NULL before the first one ends.
    Column("mean_seconds", Double),
    Index("ix_lanes_virtual_start", "provider_id", "virtual_start"),
)

# The shares of the members of a project in what its lane gets. Their weights are those of the memberships.
member_lanes = Table(
    "member_lanes",
    metadata,
    # Without foreign keys: a claim writes what a member used before it left, or before its project was deleted.
    Column("provider_id", Id, primary_key=True, autoincrement=False),
    # The project as the owner of its jobs.
    Column("owner", Text, primary_key=True),
    Column("member", Text, primary_key=True),
    # As in lanes, but among the members of the project.
    Column("virtual_time", Double, nullable=False),
    Column("virtual_start", Double, nullable=False),
    Column("mean_seconds", Double),
    Index("ix_member_lanes_virtual_start", "provider_id", "owner", "virtual_start"),
)
