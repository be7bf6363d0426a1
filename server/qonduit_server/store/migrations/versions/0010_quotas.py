# SPDX-License-Identifier: Apache-2.0
"""Store quotas, what owners use, and the memory that jobs need.

The bytes that owners store at the upgrade are counted; the jobs that ended before are not.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COUNT = """
INSERT INTO owner_totals (owner, day, stored_bytes, shots, seconds)
SELECT owner, 0, sum(bytes), 0, 0 FROM (
    SELECT d.caller AS owner, length(p.program) AS bytes FROM programs p JOIN deployments d ON d.id = p.deployment_id
    UNION ALL SELECT j.caller, r.size FROM results r JOIN jobs j ON j.id = r.job_id
    UNION ALL SELECT j.caller, length(b.data) FROM buffers b JOIN results r ON r.id = b.result_id
        JOIN jobs j ON j.id = r.job_id
    UNION ALL SELECT j.caller, length(o.data) FROM options o JOIN job_options u ON u.sha256 = o.sha256
        JOIN jobs j ON j.id = u.job_id
) AS stored GROUP BY owner
"""


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "quotas",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("limits", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_quotas")),
    )
    op.create_table(
        "owner_totals",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("shots", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_owner_totals")),
    )
    op.create_table(
        "usage",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("executed_by", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("shots", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", "executed_by", "device", name=op.f("pk_usage")),
        sqlite_with_rowid=False,
    )
    op.add_column("jobs", sa.Column("memory_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.execute(_COUNT)


def downgrade() -> None:
    """Revert the revision."""
    op.drop_column("jobs", "memory_bytes")
    for table in ("usage", "owner_totals", "quotas"):
        op.drop_table(table)
