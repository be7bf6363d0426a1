# SPDX-License-Identifier: Apache-2.0
"""Store the shares of callers, and the priority and times of queued jobs.

The upgrade rewrites no row: queued jobs keep the order of their ids within their caller.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 1")
_EXPIRES = sa.text("state = 1 AND expires_at IS NOT NULL")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "lanes",
        sa.Column(
            "provider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), server_default=sa.text("1"), nullable=False),
        sa.Column("virtual_time", sa.Double(), nullable=False),
        sa.Column("virtual_start", sa.Double(), nullable=False),
        sa.Column("mean_seconds", sa.Double()),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_lanes_provider_id_providers")),
        sa.PrimaryKeyConstraint("provider_id", "owner", name=op.f("pk_lanes")),
    )
    op.create_index("ix_lanes_virtual_start", "lanes", ["provider_id", "virtual_start"])
    op.add_column("jobs", sa.Column("rank", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("jobs", sa.Column("not_before", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("jobs", sa.Column("expires_at", sa.BigInteger()))
    op.drop_index("ix_jobs_queued", table_name="jobs")
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["provider_id", "not_before", "caller", "rank", "id"],
        sqlite_where=_QUEUED,
        postgresql_where=_QUEUED,
    )
    op.create_index("ix_jobs_expires_at", "jobs", ["expires_at"], sqlite_where=_EXPIRES, postgresql_where=_EXPIRES)


def downgrade() -> None:
    """Revert the revision. Jobs that wait for a time may be claimed at once, and no queued job expires."""
    op.drop_index("ix_jobs_expires_at", table_name="jobs")
    op.drop_index("ix_jobs_queued", table_name="jobs")
    op.create_index("ix_jobs_queued", "jobs", ["provider_id", "id"], sqlite_where=_QUEUED, postgresql_where=_QUEUED)
    for name in ("expires_at", "not_before", "rank"):
        op.drop_column("jobs", name)
    op.drop_table("lanes")
