# SPDX-License-Identifier: Apache-2.0
"""Store projects, their members, and who created a job or deployment apart from its owner."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision. The owner of each older object created it: the column is NULL, and no row is written."""
    op.create_table(
        "projects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_projects")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project_members",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.name"], name=op.f("fk_project_members_project_projects"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project", "member", name=op.f("pk_project_members")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_project_members_member_project", "project_members", ["member", "project"], unique=True)
    for table in ("jobs", "deployments"):
        op.add_column(table, sa.Column("principal", sa.Text()))


def downgrade() -> None:
    """Revert the revision. Objects of projects remain, and no user can use them."""
    for table in ("jobs", "deployments"):
        op.drop_column(table, "principal")
    op.drop_table("project_members")
    op.drop_table("projects")
