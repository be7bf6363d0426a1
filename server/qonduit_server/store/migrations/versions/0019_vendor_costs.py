# SPDX-License-Identifier: Apache-2.0
"""Store the costs at vendors, the accounts whose devices they list, and the probes of these devices."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
# Servers of earlier revisions reserve nothing, and record no costs.
oldest_server = "0015"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


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
    op.create_table(
        "vendor_listings",
        sa.Column("credential_id", _ID, nullable=False),
        sa.Column("provider_id", _ID, nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_vendor_listings")),
    )
    op.create_table(
        "device_probes",
        sa.Column("device_id", _ID, nullable=False),
        sa.Column("credential_id", _ID, nullable=False),
        sa.Column("job_id", _ID),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device_probes")),
    )
    op.add_column("submissions", sa.Column("price", sa.BigInteger()))
    op.add_column("submissions", sa.Column("price_unit", sa.Text()))
    op.add_column("submissions", sa.Column("reserved_on", sa.Integer()))


def downgrade() -> None:
    """Revert the revision. The costs are lost."""
    for name in ("reserved_on", "price_unit", "price"):
        op.drop_column("submissions", name)
    op.drop_table("device_probes")
    op.drop_table("vendor_listings")
    op.drop_table("usage_costs")
