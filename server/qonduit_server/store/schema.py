# SPDX-License-Identifier: Apache-2.0
"""The tables, for SQLite and PostgreSQL alike. Whoever changes them adds a revision under migrations/versions.

- Times are microseconds since 1970 (UTC): the same order and the same arithmetic on both databases.
- What is asked for by SQL is a column. What is only ever read whole (a program, a result, an event, how the programs of
  a job fared) is a serialized message: one row, no joins, and any text can be stored (PostgreSQL's own refuses NUL).
- Events and results carry no foreign key to their job: they are only written under the job's row lock, and the check
  would cost more than the insert.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from qonduit_server.lifecycle import CANCELLING, QUEUED, RUNNING

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite makes ids only for columns of type INTEGER, which hold 64 bits there anyway.
_Id: Final = BigInteger().with_variant(Integer(), "sqlite")

# Written out, never bound as parameters: a database uses a partial index only where it sees the very same condition.
IS_QUEUED: Final = text(f"state = {int(QUEUED)}")
IS_LEASED: Final = text(f"state IN ({int(RUNNING)}, {int(CANCELLING)})")
IS_ACTIVE: Final = text(f"state IN ({int(QUEUED)}, {int(RUNNING)}, {int(CANCELLING)})")

providers = Table(
    "providers",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("with_token", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

provider_languages = Table(
    "provider_languages",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("provider_id", _Id, ForeignKey("providers.id"), nullable=False),
    Column("language", Integer, nullable=False),
    UniqueConstraint("provider_id", "language"),
    sqlite_autoincrement=True,
)

devices = Table(
    "devices",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("provider_id", _Id, ForeignKey("providers.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("status_message", Text, nullable=False),
    Column("is_simulator", Boolean, nullable=False),
    Column("is_local", Boolean, nullable=False),
    Column("num_qubits", Integer, nullable=False),
    # A Device message: what the device is. The columns id to status_message win over it.
    Column("description", LargeBinary, nullable=False),
    UniqueConstraint("provider_id", "name"),
    sqlite_autoincrement=True,
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("name", Text),
    Column("deployed_at", BigInteger, nullable=False),
    Column("request_id", Text),
    Column("fingerprint", LargeBinary),
    # Of the current programs, in bytes: ends a page before it grows too large.
    Column("size", BigInteger, nullable=False),
    # True where it came inline with a job: retention deletes it with its last job.
    Column("is_inline", Boolean, nullable=False, server_default=false()),
    Index("ix_deployments_caller_id", "caller", "id"),
    Index("ix_deployments_caller_name", "caller", "name", "id"),
    Index(
        "uq_deployments_request_id",
        "request_id",
        "caller",
        unique=True,
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

programs = Table(
    "programs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("deployment_id", _Id, ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    # False once an update of the deployment replaced it: kept for the jobs that ran it.
    Column("is_current", Boolean, nullable=False),
    # A QuantumProgram message without its ids.
    Column("program", LargeBinary, nullable=False),
    Index("ix_programs_deployment_id", "deployment_id", "position"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("request_id", Text),
    Column("fingerprint", LargeBinary),
    Column("provider_id", _Id, ForeignKey("providers.id"), nullable=False),
    Column("device_id", _Id, ForeignKey("devices.id"), nullable=False),
    Column("deployment_id", _Id, ForeignKey("deployments.id"), nullable=False),
    Column("name", Text),
    # Repeated from the spec, for SQL.
    Column("type", SmallInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    # Of jobs without a spec only.
    Column("seed", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("progress", Double, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("provider_specific_id", Text),
    # The lease: who runs the job, and until when others must leave it alone.
    Column("owner", Text),
    Column("lease_until", BigInteger),
    # A Failure message.
    Column("failure", LargeBinary),
    # A Job message that holds nothing but program_runs: the programs this job was made with and how each fared. Where
    # the spec is NULL it holds inputs and include_statevector as well.
    Column("program_runs", LargeBinary, nullable=False),
    # A JobSpec message: what the job asks for; never updated. NULL for jobs that were made before revision 0003.
    Column("spec", LargeBinary),
    # Lists are read newest first, that is by descending (created_at, id); every filter has an index in that order.
    Index("ix_jobs_caller_created_at", "caller", "created_at", "id"),
    Index("ix_jobs_caller_state", "caller", "state", "created_at", "id"),
    Index("ix_jobs_caller_device_id", "caller", "device_id", "created_at", "id"),
    Index("ix_jobs_deployment_id", "deployment_id", "caller", "created_at", "id"),
    Index(
        "ix_jobs_caller_name",
        "caller",
        "name",
        "created_at",
        "id",
        sqlite_where=text("name IS NOT NULL"),
        postgresql_where=text("name IS NOT NULL"),
    ),
    Index(
        "uq_jobs_request_id",
        "request_id",
        "caller",
        "method",
        unique=True,
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    Index("ix_jobs_queued", "provider_id", "id", sqlite_where=IS_QUEUED, postgresql_where=IS_QUEUED),
    Index("ix_jobs_leased", "owner", "state", sqlite_where=IS_LEASED, postgresql_where=IS_LEASED),
    Index("ix_jobs_active", "device_id", sqlite_where=IS_ACTIVE, postgresql_where=IS_ACTIVE),
    sqlite_autoincrement=True,
)

# Options of jobs that are too large for the spec, in the binary format of their message.
options = Table(
    "options",
    metadata,
    # In lower-case hexadecimal.
    Column("sha256", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# Which jobs have which of them.
job_options = Table(
    "job_options",
    metadata,
    Column("job_id", _Id, primary_key=True, autoincrement=False),
    Column("sha256", Text, primary_key=True),
    Index("ix_job_options_sha256", "sha256"),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("job_id", _Id, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("is_terminal", Boolean, nullable=False),
    # A JobEvent message, sent to watchers as it is.
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

results = Table(
    "results",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    # A Result message without its id.
    Column("result", LargeBinary, nullable=False),
    Index("ix_results_job_id", "job_id", "position", "id"),
    sqlite_autoincrement=True,
)

# What is too large for a result's message, in pieces of equal size; the last one may be shorter.
buffers = Table(
    "buffers",
    metadata,
    Column("result_id", _Id, primary_key=True, autoincrement=False),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
