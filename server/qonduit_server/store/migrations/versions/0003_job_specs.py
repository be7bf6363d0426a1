# SPDX-License-Identifier: Apache-2.0
"""What a job asks for in one column; large options once by their SHA-256.

No row is rewritten, so the upgrade takes the same time for any number of jobs: the column is NULL for the jobs that are
there, and their old columns are read instead. Taking it back deletes all other jobs: an older version cannot read them.
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
