# SPDX-License-Identifier: Apache-2.0
"""Store the devices that each server offers, and the timeline of the PostgreSQL server that wrote the database."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None
oldest_server = "0015"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("database_state", sa.Column("timeline", sa.Text()))
    op.create_table(
        "servers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("offers_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_servers")),
    )
    op.create_table(
        "server_offers",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("position", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("description", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_server_offers_server_id_servers")),
        sa.PrimaryKeyConstraint("server_id", "position", name=op.f("pk_server_offers")),
    )


def downgrade() -> None:
    """Revert the revision."""
    op.drop_table("server_offers")
    op.drop_table("servers")
    op.drop_column("database_state", "timeline")
