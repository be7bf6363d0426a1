# SPDX-License-Identifier: Apache-2.0
"""Store what vendors charge, and the estimates that are reserved for submissions."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
# Servers of earlier revisions reserve nothing, and record no costs.
oldest_server = "0015"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "usage_costs",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("executed_by", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", "executed_by", "device", "unit", name=op.f("pk_usage_costs")),
        sqlite_with_rowid=False,
    )
    op.add_column("submissions", sa.Column("price", sa.BigInteger()))
    op.add_column("submissions", sa.Column("price_unit", sa.Text()))
    op.add_column("submissions", sa.Column("reserved_on", sa.Integer()))


def downgrade() -> None:
    """Revert the revision. The costs are lost."""
    for name in ("reserved_on", "price_unit", "price"):
        op.drop_column("submissions", name)
    op.drop_table("usage_costs")
