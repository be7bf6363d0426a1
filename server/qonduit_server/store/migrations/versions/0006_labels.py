# SPDX-License-Identifier: Apache-2.0
"""Store labels in tables with an index, and index the times at which jobs ended.

The upgrade copies the labels of existing jobs from their specs, page by page, and rewrites no job.
"""

import sqlalchemy as sa
from alembic import op

from qonduit.execution.v1.job_spec_pb2 import JobSpec

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PAGE = 1000


def upgrade() -> None:
    """Apply the revision."""
    id_type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "job_labels",
        sa.Column("job_id", id_type, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_job_labels")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deployment_labels",
        sa.Column("deployment_id", id_type, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_deployment_labels_deployment_id_deployments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("deployment_id", "key", name=op.f("pk_deployment_labels")),
        sqlite_with_rowid=False,
    )
    _copy_labels(op.get_bind())
    op.create_index("ix_job_labels_caller_key_value", "job_labels", ["caller", "key", "value", "created_at", "job_id"])
    op.create_index(
        "ix_deployment_labels_caller_key_value", "deployment_labels", ["caller", "key", "value", "deployment_id"]
    )
    op.create_index(
        "ix_jobs_caller_finished_at",
        "jobs",
        ["caller", "finished_at", "id"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def _copy_labels(connection: sa.Connection) -> None:
    page = sa.text(
        f"SELECT id, caller, created_at, spec FROM jobs WHERE id > :after ORDER BY id LIMIT {_PAGE}"
    ).columns(spec=sa.LargeBinary())
    insert = sa.text(
        "INSERT INTO job_labels (job_id, key, value, caller, created_at) "
        "VALUES (:job_id, :key, :value, :caller, :created_at)"
    )
    after = 0
    while rows := connection.execute(page, {"after": after}).all():
        after = rows[-1].id
        # PostgreSQL's text cannot hold NUL; no filter can match such a label.
        labels = [
            {"job_id": row.id, "key": key, "value": value, "caller": row.caller, "created_at": row.created_at}
            for row in rows
            if row.spec
            for key, value in JobSpec.FromString(row.spec).labels.items()
            if "\0" not in key + value
        ]
        if labels:
            connection.execute(insert, labels)


def downgrade() -> None:
    """Revert the revision. The labels of deployments are lost; those of jobs stay in their specs."""
    op.drop_index("ix_jobs_caller_finished_at", table_name="jobs")
    op.drop_table("deployment_labels")
    op.drop_table("job_labels")
