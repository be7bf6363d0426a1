# SPDX-License-Identifier: Apache-2.0
"""Number the logs of events that begin when a database is restored, and mark copies of a database."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None
# Servers of earlier revisions would write events without the number of their log.
oldest_server = "0015"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("database_state", sa.Column("log_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("database_state", sa.Column("is_copy", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Revert the revision. Cursors of different logs can no longer be distinguished."""
    op.drop_column("database_state", "is_copy")
    op.drop_column("database_state", "log_epoch")
