# SPDX-License-Identifier: Apache-2.0
"""State in the database which servers may use it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
# Servers of earlier revisions refuse each newer database.
oldest_server = "0013"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "database_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("oldest_server", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_database_state")),
    )


def downgrade() -> None:
    """Revert the revision."""
    op.drop_table("database_state")
