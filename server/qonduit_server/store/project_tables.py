# SPDX-License-Identifier: Apache-2.0
"""The tables of projects and their members; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, SmallInteger, Table, Text, text

from qonduit_server.store.schema_metadata import metadata

# Named groups of users, who use the objects of the project.
projects = Table(
    "projects",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The members of projects, in the order of their list.
project_members = Table(
    "project_members",
    metadata,
    Column("project", Text, ForeignKey("projects.name", ondelete="CASCADE"), primary_key=True),
    Column("member", Text, primary_key=True),
    Column("role", SmallInteger, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    # Of the member's jobs among those of the project (jobs/fair_share.py).
    Column("weight", Double, nullable=False, server_default=text("1")),
    # The projects of a user, in the order of their list.
    Index("ix_project_members_member_project", "member", "project", unique=True),
    sqlite_with_rowid=False,
)
