# SPDX-License-Identifier: Apache-2.0
"""Store which batches and sessions are open at vendors although their jobs have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
# Earlier servers leave such batches and sessions to their vendors, which end them by themselves.
oldest_server = "0015"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "left_groups",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Revert the revision. Vendors end them by themselves."""
    op.drop_table("left_groups")
