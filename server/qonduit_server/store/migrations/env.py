# SPDX-License-Identifier: Apache-2.0
"""Alembic's entry point: run the revisions on the connection and in the transaction of migrations.upgrade."""

from alembic import context

from qonduit_server.store.migrations import compatibility
from qonduit_server.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
    render_as_batch=True,
)
context.run_migrations()
compatibility.record(context.config.attributes["connection"], context.script)
