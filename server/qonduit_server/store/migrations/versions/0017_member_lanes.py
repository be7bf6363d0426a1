# SPDX-License-Identifier: Apache-2.0
"""Share what a project gets among its members by time and weight."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
# Earlier servers claim the jobs of a project in the order of `jobs.turn` and `jobs.id`, and charge no member.
oldest_server = "0015"

_IN_PROJECT_QUEUE = sa.text("state = 1 AND principal IS NOT NULL")


def upgrade() -> None:
    """Apply the revision. It builds one index over the queued jobs of projects."""
    op.add_column("project_members", sa.Column("weight", sa.Double(), nullable=False, server_default=sa.text("1")))
    op.create_table(
        "member_lanes",
        sa.Column(
            "provider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("virtual_time", sa.Double(), nullable=False),
        sa.Column("virtual_start", sa.Double(), nullable=False),
        sa.Column("mean_seconds", sa.Double()),
        sa.PrimaryKeyConstraint("provider_id", "owner", "member", name=op.f("pk_member_lanes")),
    )
    op.create_index("ix_member_lanes_virtual_start", "member_lanes", ["provider_id", "owner", "virtual_start"])
    op.create_index(
        "ix_jobs_queued_of_member",
        "jobs",
        ["provider_id", "not_before", "caller", "principal", "rank", "id"],
        sqlite_where=_IN_PROJECT_QUEUE,
        postgresql_where=_IN_PROJECT_QUEUE,
    )


def downgrade() -> None:
    """Revert the revision. Members of a project take turns by the number of jobs again."""
    op.drop_index("ix_jobs_queued_of_member", table_name="jobs")
    op.drop_table("member_lanes")
    op.drop_column("project_members", "weight")
