# SPDX-License-Identifier: Apache-2.0
"""Add buffers for large results, and mark inline deployments."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "buffers",
        sa.Column(
            "result_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("piece", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("result_id", "piece", name=op.f("pk_buffers")),
    )
    op.add_column("deployments", sa.Column("is_inline", sa.Boolean(), server_default=sa.false(), nullable=False))
    # An inline deployment was written in its job's transaction, at the same time.
    op.execute(
        "UPDATE deployments SET is_inline = true WHERE name IS NULL AND request_id IS NULL AND EXISTS ("
        "SELECT 1 FROM jobs WHERE jobs.deployment_id = deployments.id AND jobs.caller = deployments.caller "
        "AND jobs.created_at = deployments.deployed_at)"
    )


def downgrade() -> None:
    """Revert the revision."""
    op.drop_column("deployments", "is_inline")
    op.drop_table("buffers")
