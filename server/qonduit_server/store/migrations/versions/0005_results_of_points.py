# SPDX-License-Identifier: Apache-2.0
"""Store the point of each result, so that the results of a sweep are listed in order and by range.

The upgrade writes no row, and reads the keys of all results once to build the index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("results", sa.Column("point", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.drop_index("ix_results_job_id", table_name="results")
    op.create_index("ix_results_job_id_position_point", "results", ["job_id", "position", "point", "id"])


def downgrade() -> None:
    """Revert the revision. The order of the results of a sweep is then that of their ids."""
    op.drop_index("ix_results_job_id_position_point", table_name="results")
    op.create_index("ix_results_job_id", "results", ["job_id", "position", "id"])
    op.drop_column("results", "point")
