# SPDX-License-Identifier: Apache-2.0
"""Store encrypted credentials of providers."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "credentials",
        sa.Column("id", _ID, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider_id", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_credentials_provider_id_providers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credentials")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_credentials_owner_name")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_credentials_owner_id", "credentials", ["owner", "id"])
    op.create_table(
        "job_credentials",
        sa.Column("job_id", _ID, autoincrement=False, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_credentials")),
    )


def downgrade() -> None:
    """Revert the revision. All stored credentials are lost."""
    op.drop_table("job_credentials")
    op.drop_table("credentials")
