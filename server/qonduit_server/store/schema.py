# SPDX-License-Identifier: Apache-2.0
"""The tables, for SQLite and PostgreSQL. Each change needs a revision under migrations/versions.

- Times are microseconds since 1970 (UTC): they sort and compute alike on both databases.
- Values that SQL queries use are columns. Values that are only read whole (a program, a result, an event, the program
  runs of a job) are serialized messages: one row, no joins, and any text (PostgreSQL's text type rejects NUL).
- Events and results have no foreign key to their job: they are only written under the job's row lock, and the check
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
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from qonduit_server.lifecycle import CANCELLING, QUEUED, RUNNING

# Their tables belong to the schema.
from qonduit_server.store import (  # noqa: F401
    audit_tables,
    program_tables,
    project_tables,
    server_tables,
    submission_tables,
    usage_tables,
    vendor_tables,
)
from qonduit_server.store.lane_tables import lanes as lanes
from qonduit_server.store.lane_tables import member_lanes as member_lanes
from qonduit_server.store.schema_metadata import Id
from qonduit_server.store.schema_metadata import metadata as metadata

# Literals, not parameters: a database uses a partial index only for exactly the same condition.
IS_QUEUED: Final = text(f"state = {int(QUEUED)}")
IN_PROJECT_QUEUE: Final = text(f"state = {int(QUEUED)} AND principal IS NOT NULL")
IS_LEASED: Final = text(f"state IN ({int(RUNNING)}, {int(CANCELLING)})")
EXPIRES: Final = text(f"state = {int(QUEUED)} AND expires_at IS NOT NULL")
IS_ACTIVE: Final = text(f"state IN ({int(QUEUED)}, {int(RUNNING)}, {int(CANCELLING)})")
IS_VERSION: Final = text("version IS NOT NULL")
#: The device of jobs that need none, and its provider: rows that no list contains.
NO_DEVICE_ID: Final = 0
IS_ACTIVE_CHILD: Final = text(
    f"state IN ({int(QUEUED)}, {int(RUNNING)}, {int(CANCELLING)}) AND parent_job_id IS NOT NULL"
)
#: The user who created an object, for whom a request id is unique.
CREATED_BY: Final = text("coalesce(principal, caller)")

# What the database states about itself, in one row.
database_state = Table(
    "database_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # The oldest revision whose servers may use this schema (migrations/compatibility.py).
    Column("oldest_server", Text, nullable=False),
    # The log of the events that are written now (log_epoch.py); 0 until the first restore.
    Column("log_epoch", BigInteger, nullable=False, server_default=text("0")),
    # Whether `qonduit backup` made this database, and no server has used it since.
    Column("is_copy", Boolean, nullable=False, server_default=false()),
    # The PostgreSQL server and its timeline that wrote the latest events (timeline.py); NULL on SQLite.
    Column("timeline", Text),
)

providers = Table(
    "providers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("with_token", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

provider_languages = Table(
    "provider_languages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("provider_id", Id, ForeignKey("providers.id"), nullable=False),
    Column("language", Integer, nullable=False),
    UniqueConstraint("provider_id", "language"),
    sqlite_autoincrement=True,
)

devices = Table(
    "devices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("provider_id", Id, ForeignKey("providers.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("status_message", Text, nullable=False),
    Column("is_simulator", Boolean, nullable=False),
    Column("is_local", Boolean, nullable=False),
    Column("num_qubits", Integer, nullable=False),
    # A Device message; the columns id to status_message take precedence over its fields.
    Column("description", LargeBinary, nullable=False),
    UniqueConstraint("provider_id", "name"),
    sqlite_autoincrement=True,
)

# Paused devices, providers (device 0) and servers (provider 0 too). Claims read it: it is small.
pauses = Table(
    "pauses",
    metadata,
    Column("provider_id", Id, primary_key=True, autoincrement=False),
    Column("device_id", Id, primary_key=True, autoincrement=False),
    # The operator's text for callers.
    Column("message", Text, nullable=False),
    Column("paused_at", BigInteger, nullable=False),
    Column("paused_by", Text, nullable=False),
)

# The measured properties of devices; devices without a calibration have no row.
device_calibrations = Table(
    "device_calibrations",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    # Of the data, in lower-case hexadecimal: a start of the server compares it and reads no calibration.
    Column("sha256", Text, nullable=False),
    # A DeviceCalibration message.
    Column("data", LargeBinary, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Id, primary_key=True),
    # The owner: a user, or "projects/NAME".
    Column("caller", Text, nullable=False),
    Column("name", Text),
    Column("deployed_at", BigInteger, nullable=False),
    Column("request_id", Text),
    Column("fingerprint", LargeBinary),
    # Size of the current programs in bytes; limits the size of a page.
    Column("size", BigInteger, nullable=False),
    # True if it was part of a job: retention deletes it with its last job.
    Column("is_inline", Boolean, nullable=False, server_default=false()),
    # The user who created it; NULL for its owner.
    Column("principal", Text),
    # Of a server program (program_versions.py); NULL for other deployments.
    Column("version", Integer),
    # A ServerProgram message without the ids of its row, with `version`.
    Column("server_program", LargeBinary),
    Index("ix_deployments_caller_id", "caller", "id"),
    Index("ix_deployments_caller_name", "caller", "name", "id"),
    Index(
        "uq_deployments_version",
        *("caller", "name", "version"),
        unique=True,
        sqlite_where=IS_VERSION,
        postgresql_where=IS_VERSION,
    ),
    Index("ix_deployments_versions", "caller", "id", sqlite_where=IS_VERSION, postgresql_where=IS_VERSION),
    Index(
        "uq_deployments_request_id",
        "request_id",
        CREATED_BY,
        unique=True,
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# The labels of deployments.
deployment_labels = Table(
    "deployment_labels",
    metadata,
    Column(
        "deployment_id",
        Id,
        ForeignKey("deployments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # Of the deployment, so that the index yields a caller's deployments in the order of their list.
    Column("caller", Text, nullable=False),
    Index("ix_deployment_labels_caller_key_value", "caller", "key", "value", "deployment_id"),
    sqlite_with_rowid=False,
)

programs = Table(
    "programs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("deployment_id", Id, ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    # False after an update of the deployment replaced it: kept for the jobs that ran it.
    Column("is_current", Boolean, nullable=False),
    # A QuantumProgram message without its ids.
    Column("program", LargeBinary, nullable=False),
    Index("ix_programs_deployment_id", "deployment_id", "position"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    # The owner: a user, or "projects/NAME". Not the column `owner`, which is that of the lease.
    Column("caller", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("request_id", Text),
    Column("fingerprint", LargeBinary),
    Column("provider_id", Id, ForeignKey("providers.id"), nullable=False),
    Column("device_id", Id, ForeignKey("devices.id"), nullable=False),
    Column("deployment_id", Id, ForeignKey("deployments.id"), nullable=False),
    Column("name", Text),
    # Copied from the spec for SQL queries.
    Column("type", SmallInteger, nullable=False),
    Column("shots", BigInteger, nullable=False),
    # Only set for jobs without a spec.
    Column("seed", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("progress", Double, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("provider_specific_id", Text),
    # The lease: the dispatcher that runs the job, and when its lease ends.
    Column("owner", Text),
    Column("lease_until", BigInteger),
    # A Failure message.
    Column("failure", LargeBinary),
    # A Job message with program_runs (the programs of the job and their outcomes), log_epoch, celery_id and
    # returned_attempts. If the spec is NULL, also with inputs and include_statevector.
    Column("program_runs", LargeBinary, nullable=False),
    # A JobSpec message; never updated. NULL for jobs created before revision 0003.
    Column("spec", LargeBinary),
    # The negated priority: jobs of one caller are claimed in ascending order of (rank, turn, id).
    Column("rank", SmallInteger, nullable=False, server_default=text("0")),
    # A queued job is not claimed before this time; 0 if it may be claimed. Above all times, it waits for a paused
    # device (jobs/held_jobs.py).
    Column("not_before", BigInteger, nullable=False, server_default=text("0")),
    # A queued job fails at this time.
    Column("expires_at", BigInteger),
    # The memory that a worker found to be needed, if that is more than every task gets; 0 if it is not known.
    Column("memory_bytes", BigInteger, nullable=False, server_default=text("0")),
    # The user who created it; NULL for its owner.
    Column("principal", Text),
    # Servers before revision 0017 claim the jobs of projects in this order; later ones write 0.
    Column("turn", BigInteger, nullable=False, server_default=text("0")),
    # The job of the server program that submitted it; NULL for other jobs.
    Column("parent_job_id", BigInteger),
    # Lists are ordered by descending (created_at, id), newest first. An index in that order serves = on its column;
    # other conditions are tested row by row (list_scan.py).
    Index("ix_jobs_caller_created_at", "caller", "created_at", "id"),
    Index("ix_jobs_created_at", "created_at", "id"),
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
        "ix_jobs_caller_finished_at",
        "caller",
        "finished_at",
        "id",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "uq_jobs_request_id",
        "request_id",
        CREATED_BY,
        "method",
        unique=True,
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    # The queue of each caller, in the order of claims. Callers with jobs to claim are found by skipping through it.
    Index(
        "ix_jobs_queued",
        *("provider_id", "not_before", "caller", "rank", "turn", "id"),
        sqlite_where=IS_QUEUED,
        postgresql_where=IS_QUEUED,
    ),
    # The queue of each member of a project, likewise.
    Index(
        "ix_jobs_queued_of_member",
        *("provider_id", "not_before", "caller", "principal", "rank", "id"),
        sqlite_where=IN_PROJECT_QUEUE,
        postgresql_where=IN_PROJECT_QUEUE,
    ),
    # For servers before revision 0017: the last turns of the users of a project.
    Index(
        "ix_jobs_turns",
        *("provider_id", "caller", "principal", "rank", "turn"),
        sqlite_where=IN_PROJECT_QUEUE,
        postgresql_where=IN_PROJECT_QUEUE,
    ),
    Index("ix_jobs_expires_at", "expires_at", sqlite_where=EXPIRES, postgresql_where=EXPIRES),
    Index("ix_jobs_leased", "owner", "state", sqlite_where=IS_LEASED, postgresql_where=IS_LEASED),
    Index("ix_jobs_active", "device_id", "not_before", sqlite_where=IS_ACTIVE, postgresql_where=IS_ACTIVE),
    # The children of a server program, in the order of lists; and those that have not ended.
    Index(
        "ix_jobs_parent_job_id",
        *("parent_job_id", "created_at", "id"),
        sqlite_where=text("parent_job_id IS NOT NULL"),
        postgresql_where=text("parent_job_id IS NOT NULL"),
    ),
    Index("ix_jobs_active_children", "parent_job_id", sqlite_where=IS_ACTIVE_CHILD, postgresql_where=IS_ACTIVE_CHILD),
    # For lists of the jobs of all owners; of those, most have ended.
    Index("ix_jobs_active_state", "state", "created_at", "id", sqlite_where=IS_ACTIVE, postgresql_where=IS_ACTIVE),
    sqlite_autoincrement=True,
)

# The labels of jobs, copied from their specs for SQL queries.
job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # Of the job, so that the index yields a caller's jobs in the order of their list.
    Column("caller", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_job_labels_caller_key_value", "caller", "key", "value", "created_at", "job_id"),
    sqlite_with_rowid=False,
)

# Stored credentials of providers. The secret is encrypted; its row, owner and provider are bound to it.
credentials = Table(
    "credentials",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("provider_id", Id, ForeignKey("providers.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # The id of the server's key that encrypts the key of the secret.
    Column("key_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    UniqueConstraint("owner", "name"),
    Index("ix_credentials_owner_id", "owner", "id"),
    sqlite_autoincrement=True,
)

# The credentials that requests contained themselves, encrypted, until the jobs end.
job_credentials = Table(
    "job_credentials",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("key_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# Options of jobs that are too large for the spec, as serialized messages.
options = Table(
    "options",
    metadata,
    # In lower-case hexadecimal.
    Column("sha256", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# The large options of each job.
job_options = Table(
    "job_options",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("sha256", Text, primary_key=True),
    Index("ix_job_options_sha256", "sha256"),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("is_terminal", Boolean, nullable=False),
    # A JobEvent message, sent to watchers unchanged.
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

results = Table(
    "results",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    # A Result message without its id.
    Column("result", LargeBinary, nullable=False),
    # The point of the job's parameter sets; 0 without them.
    Column("point", Integer, nullable=False, server_default=text("0")),
    Index("ix_results_job_id_position_point", "job_id", "position", "point", "id"),
    sqlite_autoincrement=True,
)

# Data that is too large for a result's message, in chunks of equal size; the last one may be shorter.
buffers = Table(
    "buffers",
    metadata,
    Column("result_id", Id, primary_key=True, autoincrement=False),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
