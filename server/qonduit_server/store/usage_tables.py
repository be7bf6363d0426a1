# SPDX-License-Identifier: Apache-2.0
"""The tables of quotas and of what owners used; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, Table, Text

from qonduit_server.store.schema_metadata import metadata

# The quotas of owners that differ from the default.
quotas = Table(
    "quotas",
    metadata,
    Column("owner", Text, primary_key=True),
    # A QuotaValues message.
    Column("limits", LargeBinary, nullable=False),
)

# What quotas limit, by owner, changed with each job: the stored bytes, and the use of the latest day with any.
owner_totals = Table(
    "owner_totals",
    metadata,
    Column("owner", Text, primary_key=True),
    # Days since 1970 (UTC).
    Column("day", Integer, nullable=False),
    # The bytes of programs, results, buffers and large options.
    Column("stored_bytes", BigInteger, nullable=False),
    # The shots of the jobs that were created on that day.
    Column("shots", BigInteger, nullable=False),
    # The seconds of workers of the attempts that ended on that day.
    Column("seconds", Double, nullable=False),
)

# What jobs used when they ran; kept when the jobs are deleted.
usage = Table(
    "usage",
    metadata,
    Column("owner", Text, primary_key=True),
    # The day on which the jobs ended: days since 1970 (UTC).
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("executed_by", Text, primary_key=True),
    # "PROVIDER/device".
    Column("device", Text, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    sqlite_with_rowid=False,
)

# What vendors charge for jobs, by the vendor's unit; kept when the jobs are deleted. For each row, `usage` has one.
usage_costs = Table(
    "usage_costs",
    metadata,
    Column("owner", Text, primary_key=True),
    # The day on which the jobs were to be submitted: days since 1970 (UTC).
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("executed_by", Text, primary_key=True),
    # "PROVIDER/device".
    Column("device", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    # Millionths of the unit: the estimates of submissions whose cost is not known yet, and the cost of the others.
    Column("reserved", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
