# SPDX-License-Identifier: Apache-2.0
"""Store the turns of members in the queue of a project, and make a request id unique for the user who sends it.

The request ids of the jobs and deployments of projects, which had another form, are forgotten.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
# Earlier servers store the request ids of projects in another form.
oldest_server = "0014"

_QUEUED = sa.text("state = 1")
_IN_PROJECT_QUEUE = sa.text("state = 1 AND principal IS NOT NULL")
_HAS_REQUEST = sa.text("request_id IS NOT NULL")


def upgrade() -> None:
    """Apply the revision. Of existing jobs, it writes those of projects only; it builds three indexes."""
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    _forget_requests()
    _index_requests(sa.text("coalesce(principal, caller)"))
    _index_queue(["turn"])
    op.create_index(
        "ix_jobs_turns",
        "jobs",
        ["provider_id", "caller", "principal", "rank", "turn"],
        sqlite_where=_IN_PROJECT_QUEUE,
        postgresql_where=_IN_PROJECT_QUEUE,
    )


def downgrade() -> None:
    """Revert the revision."""
    op.drop_index("ix_jobs_turns", table_name="jobs")
    _forget_requests()
    _index_requests("caller")
    _index_queue([])
    op.drop_column("jobs", "turn")


def _forget_requests() -> None:
    for table in ("jobs", "deployments"):
        op.execute(f"UPDATE {table} SET request_id = NULL, fingerprint = NULL WHERE principal IS NOT NULL")


def _index_requests(user: str | sa.TextClause) -> None:
    """Make request ids unique for each value of a column or expression."""
    further: Sequence[str]
    for table, further in (("deployments", ()), ("jobs", ("method",))):
        name = f"uq_{table}_request_id"
        op.drop_index(name, table_name=table)
        columns = ["request_id", user, *further]
        op.create_index(name, table, columns, unique=True, sqlite_where=_HAS_REQUEST, postgresql_where=_HAS_REQUEST)


def _index_queue(further: Sequence[str]) -> None:
    """Index the queue of each owner in the order of rank, further columns and id."""
    op.drop_index("ix_jobs_queued", table_name="jobs")
    columns = ["provider_id", "not_before", "caller", "rank", *further, "id"]
    op.create_index("ix_jobs_queued", "jobs", columns, sqlite_where=_QUEUED, postgresql_where=_QUEUED)
