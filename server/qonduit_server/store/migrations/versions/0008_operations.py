# SPDX-License-Identifier: Apache-2.0
"""Store pauses of devices, providers and servers, and index the jobs of all owners for lists.

The upgrade rewrites no row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state IN (1, 2, 3)")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "pauses",
        sa.Column("provider_id", _ID, autoincrement=False, nullable=False),
        sa.Column("device_id", _ID, autoincrement=False, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.BigInteger(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider_id", "device_id", name=op.f("pk_pauses")),
    )
    op.drop_index("ix_jobs_active", table_name="jobs")
    op.create_index(
        "ix_jobs_active", "jobs", ["device_id", "not_before"], sqlite_where=_ACTIVE, postgresql_where=_ACTIVE
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at", "id"])
    op.create_index(
        "ix_jobs_active_state", "jobs", ["state", "created_at", "id"], sqlite_where=_ACTIVE, postgresql_where=_ACTIVE
    )


def downgrade() -> None:
    """Revert the revision. Jobs that wait for a paused device may be claimed at once."""
    op.execute("UPDATE jobs SET not_before = 0 WHERE state = 1 AND not_before >= 4611686018427387904")
    for name in ("ix_jobs_active_state", "ix_jobs_created_at", "ix_jobs_active"):
        op.drop_index(name, table_name="jobs")
    op.create_index("ix_jobs_active", "jobs", ["device_id"], sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
    op.drop_table("pauses")
