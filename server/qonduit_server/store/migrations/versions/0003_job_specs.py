# SPDX-License-Identifier: Apache-2.0
"""Store the spec of a job in one column, and large options once by SHA-256.

The upgrade rewrites no row, so it takes the same time for any number of jobs: the column is NULL for existing jobs,
whose old columns are read instead. The downgrade deletes all jobs with a spec, which an older version cannot read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("jobs", sa.Column("spec", sa.LargeBinary()))
    op.create_table(
        "options",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_options")),
    )
    op.create_table(
        "job_options",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sha256", name=op.f("pk_job_options")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_job_options_sha256", "job_options", ["sha256"])


def downgrade() -> None:
    """Revert the revision."""
    op.execute(
        "DELETE FROM buffers WHERE result_id IN ("
        "SELECT results.id FROM results JOIN jobs ON jobs.id = results.job_id WHERE spec IS NOT NULL)"
    )
    for table in ("events", "results"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE spec IS NOT NULL)")
    op.execute("DELETE FROM jobs WHERE spec IS NOT NULL")
    op.drop_table("job_options")
    op.drop_table("options")
    op.drop_column("jobs", "spec")
