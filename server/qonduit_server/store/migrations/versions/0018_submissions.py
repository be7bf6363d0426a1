# SPDX-License-Identifier: Apache-2.0
"""Store the submissions of jobs to vendors, with what they sent and received."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None
# Servers of earlier revisions do not use the tables, and have no devices at vendors.
oldest_server = "0015"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "submissions",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("idempotency", sa.SmallInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("vendor_id", sa.Text()),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.BigInteger()),
        sa.Column("deadline", sa.BigInteger()),
        sa.Column("status", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("job_id", "stage", "part", name=op.f("pk_submissions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "submission_payloads",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("job_id", "stage", "part", "kind", name=op.f("pk_submission_payloads")),
    )


def downgrade() -> None:
    """Revert the revision. Jobs at vendors can no longer be read."""
    op.drop_table("submission_payloads")
    op.drop_table("submissions")
