# SPDX-License-Identifier: Apache-2.0
"""Store the calibrations of devices in a table of their own: lists of devices do not read them.

The upgrade reads and writes no row. The next start of a server fills the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "device_calibrations",
        sa.Column(
            "device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_calibrations_device_id_devices")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device_calibrations")),
    )


def downgrade() -> None:
    """Revert the revision. The calibrations are lost until a newer version starts."""
    op.drop_table("device_calibrations")
