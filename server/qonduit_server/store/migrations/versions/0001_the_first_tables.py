# SPDX-License-Identifier: Apache-2.0
"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "deployments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("deployed_at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.create_index("ix_deployments_caller_id", ["caller", "id"], unique=False)
        batch_op.create_index("ix_deployments_caller_name", ["caller", "name", "id"], unique=False)
        batch_op.create_index(
            "uq_deployments_request_id",
            ["request_id", "caller"],
            unique=True,
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )

    op.create_table(
        "events",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_terminal", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "sequence", name=op.f("pk_events")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "providers",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("with_token", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
        sa.UniqueConstraint("name", name=op.f("uq_providers_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "results",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_results")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.create_index("ix_results_job_id", ["job_id", "position", "id"], unique=False)

    op.create_table(
        "devices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("is_simulator", sa.Boolean(), nullable=False),
        sa.Column("is_local", sa.Boolean(), nullable=False),
        sa.Column("num_qubits", sa.Integer(), nullable=False),
        sa.Column("description", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_devices_provider_id_providers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("provider_id", "name", name=op.f("uq_devices_provider_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "programs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("deployment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("program", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_programs_deployment_id_deployments"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programs")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("programs", schema=None) as batch_op:
        batch_op.create_index("ix_programs_deployment_id", ["deployment_id", "position"], unique=False)

    op.create_table(
        "provider_languages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("provider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("language", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["providers.id"], name=op.f("fk_provider_languages_provider_id_providers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_languages")),
        sa.UniqueConstraint("provider_id", "language", name=op.f("uq_provider_languages_provider_id_language")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("provider_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("device_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("deployment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("shots", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("provider_specific_id", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.LargeBinary(), nullable=True),
        sa.Column("program_runs", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.id"], name=op.f("fk_jobs_deployment_id_deployments")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_jobs_device_id_devices")),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_jobs_provider_id_providers")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_active",
            ["device_id"],
            unique=False,
            sqlite_where=sa.text("state IN (1, 2, 3)"),
            postgresql_where=sa.text("state IN (1, 2, 3)"),
        )
        batch_op.create_index("ix_jobs_caller_created_at", ["caller", "created_at", "id"], unique=False)
        batch_op.create_index("ix_jobs_caller_device_id", ["caller", "device_id", "created_at", "id"], unique=False)
        batch_op.create_index(
            "ix_jobs_caller_name",
            ["caller", "name", "created_at", "id"],
            unique=False,
            sqlite_where=sa.text("name IS NOT NULL"),
            postgresql_where=sa.text("name IS NOT NULL"),
        )
        batch_op.create_index("ix_jobs_caller_state", ["caller", "state", "created_at", "id"], unique=False)
        batch_op.create_index("ix_jobs_deployment_id", ["deployment_id", "caller", "created_at", "id"], unique=False)
        batch_op.create_index(
            "ix_jobs_leased",
            ["owner", "state"],
            unique=False,
            sqlite_where=sa.text("state IN (2, 3)"),
            postgresql_where=sa.text("state IN (2, 3)"),
        )
        batch_op.create_index(
            "ix_jobs_queued",
            ["provider_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 1"),
            postgresql_where=sa.text("state = 1"),
        )
        batch_op.create_index(
            "uq_jobs_request_id",
            ["request_id", "caller", "method"],
            unique=True,
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )


def downgrade() -> None:
    """Revert the revision."""
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_request_id",
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.drop_index("ix_jobs_queued", sqlite_where=sa.text("state = 1"), postgresql_where=sa.text("state = 1"))
        batch_op.drop_index(
            "ix_jobs_leased", sqlite_where=sa.text("state IN (2, 3)"), postgresql_where=sa.text("state IN (2, 3)")
        )
        batch_op.drop_index("ix_jobs_deployment_id")
        batch_op.drop_index("ix_jobs_caller_state")
        batch_op.drop_index(
            "ix_jobs_caller_name",
            sqlite_where=sa.text("name IS NOT NULL"),
            postgresql_where=sa.text("name IS NOT NULL"),
        )
        batch_op.drop_index("ix_jobs_caller_device_id")
        batch_op.drop_index("ix_jobs_caller_created_at")
        batch_op.drop_index(
            "ix_jobs_active", sqlite_where=sa.text("state IN (1, 2, 3)"), postgresql_where=sa.text("state IN (1, 2, 3)")
        )

    op.drop_table("jobs")
    op.drop_table("provider_languages")
    with op.batch_alter_table("programs", schema=None) as batch_op:
        batch_op.drop_index("ix_programs_deployment_id")

    op.drop_table("programs")
    op.drop_table("devices")
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_index("ix_results_job_id")

    op.drop_table("results")
    op.drop_table("providers")
    op.drop_table("events")
    with op.batch_alter_table("deployments", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_deployments_request_id",
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.drop_index("ix_deployments_caller_name")
        batch_op.drop_index("ix_deployments_caller_id")

    op.drop_table("deployments")
