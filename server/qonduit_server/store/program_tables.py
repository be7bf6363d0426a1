# SPDX-License-Identifier: Apache-2.0
"""The table of the versions of server programs; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import Column, Integer, Table, Text

from qonduit_server.store.schema_metadata import metadata

# The last version of each server program of an owner, which stays when the version is deleted.
program_versions = Table(
    "program_versions",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("last_version", Integer, nullable=False),
    sqlite_with_rowid=False,
)
