# SPDX-License-Identifier: Apache-2.0
"""The tables of jobs at vendors; schema.py has the others."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, SmallInteger, Table, Text

from qonduit_server.store.schema_metadata import Id, metadata

# The submissions of jobs to vendors: the ledger that keeps a job from being submitted, and paid, twice
# (jobs/submissions.py).
submissions = Table(
    "submissions",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    # The number of the call of the device in the job, and the number of the part of that call.
    Column("stage", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    # Identifies the call by its contents.
    Column("key", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    # An Idempotency: how the vendor prevents or shows a second submission.
    Column("idempotency", SmallInteger, nullable=False),
    # The id, token or tag of this server.
    Column("token", Text, nullable=False),
    Column("vendor_id", Text),
    # The number of calls that submitted it.
    Column("calls", Integer, nullable=False),
    # Before `deadline`, a call that was made at `begun_at` may still reach the vendor.
    Column("begun_at", BigInteger),
    Column("deadline", BigInteger),
    # The part of the provider's status, as a VendorJob message.
    Column("status", LargeBinary),
    # The estimated cost in millionths of the unit; NULL if it is not known.
    Column("price", BigInteger),
    Column("price_unit", Text),
    # The day in `usage_costs` on which the price is reserved; NULL if it is not reserved, or its cost is known.
    Column("reserved_on", Integer),
    sqlite_with_rowid=False,
)

# What submissions sent and received.
submission_payloads = Table(
    "submission_payloads",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("stage", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    # 1: a Submission message; 2: a VendorOutcomes message; 3: the vendor's response, compressed.
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    # Of the data before compression, in lower-case hexadecimal.
    Column("sha256", Text, nullable=False),
    # NULL if it was too large to be kept.
    Column("data", LargeBinary),
)

# The batches and sessions that are open at vendors although their jobs have ended (jobs/left_groups.py).
left_groups = Table(
    "left_groups",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    # When a server closes it next; and when its vendor ends it by itself.
    Column("due", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
)
