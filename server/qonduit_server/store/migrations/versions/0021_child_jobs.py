# SPDX-License-Identifier: Apache-2.0
"""Store which server program submitted a job."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
# Earlier servers do not claim the jobs of server programs, and no server programs.
oldest_server = "0015"

_IS_CHILD = sa.text("parent_job_id IS NOT NULL")
_IS_ACTIVE_CHILD = sa.text("state IN (1, 2, 3) AND parent_job_id IS NOT NULL")


def upgrade() -> None:
    """Apply the revision. Both indexes are empty at first."""
    op.add_column("jobs", sa.Column("parent_job_id", sa.BigInteger()))
    op.create_index(
        "ix_jobs_parent_job_id",
        "jobs",
        ["parent_job_id", "created_at", "id"],
        sqlite_where=_IS_CHILD,
        postgresql_where=_IS_CHILD,
    )
    op.create_index(
        "ix_jobs_active_children",
        "jobs",
        ["parent_job_id"],
        sqlite_where=_IS_ACTIVE_CHILD,
        postgresql_where=_IS_ACTIVE_CHILD,
    )


def downgrade() -> None:
    """Revert the revision. Jobs no longer show which server program submitted them."""
    op.drop_index("ix_jobs_active_children", table_name="jobs")
    op.drop_index("ix_jobs_parent_job_id", table_name="jobs")
    op.drop_column("jobs", "parent_job_id")
