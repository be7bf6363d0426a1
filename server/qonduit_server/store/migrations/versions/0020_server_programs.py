# SPDX-License-Identifier: Apache-2.0
"""Store versions of server programs as deployments, and jobs without a device."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None
# Earlier servers treat a version as any deployment, and show the missing device as an unavailable one.
oldest_server = "0015"

_IS_VERSION = sa.text("version IS NOT NULL")


def upgrade() -> None:
    """Apply the revision. It builds two indexes over deployments, which contain no row at first."""
    op.add_column("deployments", sa.Column("version", sa.Integer()))
    op.add_column("deployments", sa.Column("server_program", sa.LargeBinary()))
    op.create_index(
        "uq_deployments_version",
        "deployments",
        ["caller", "name", "version"],
        unique=True,
        sqlite_where=_IS_VERSION,
        postgresql_where=_IS_VERSION,
    )
    op.create_index(
        "ix_deployments_versions",
        "deployments",
        ["caller", "id"],
        sqlite_where=_IS_VERSION,
        postgresql_where=_IS_VERSION,
    )
    op.create_table(
        "program_versions",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_program_versions")),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO providers (id, name, with_token) VALUES (0, '', false)")
    op.execute(
        "INSERT INTO devices (id, provider_id, name, available, status_message, is_simulator, is_local, num_qubits, "
        "description) VALUES (0, 0, '', false, '', false, false, 0, '')"
    )


def downgrade() -> None:
    """Revert the revision. Versions become deployments; jobs without a device must be deleted before."""
    op.execute("DELETE FROM devices WHERE id = 0")
    op.execute("DELETE FROM providers WHERE id = 0")
    op.drop_table("program_versions")
    op.drop_index("ix_deployments_versions", table_name="deployments")
    op.drop_index("uq_deployments_version", table_name="deployments")
    op.drop_column("deployments", "server_program")
    op.drop_column("deployments", "version")
