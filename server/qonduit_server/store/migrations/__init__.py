# SPDX-License-Identifier: Apache-2.0
"""Upgrade a database's schema with the Alembic revisions of this package.

A current or empty database is opened without importing Alembic, which would take a third of the start time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.errors import StartError
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from qonduit_server.store.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

#: The latest revision, which schema.py describes.
HEAD: Final = "0012"
#: Advisory lock for schema changes, so that servers that start at the same time do not conflict. An arbitrary number.
_ADVISORY_LOCK: Final = 0x716F6E64


def current(url: str) -> str | None:
    """Return the revision of a database, or None without tables. Raises StartError if it cannot be reached."""
    engine = make_engine(parse_url(url))
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    except SQLAlchemyError as error:
        raise _unusable(engine, error) from error
    finally:
        engine.dispose()


def upgrade(url: str) -> str:
    """Upgrade a database and return its revision. Raises the errors of `bring_up_to_date`."""
    engine = make_engine(parse_url(url))
    try:
        bring_up_to_date(engine)
        return HEAD
    finally:
        engine.dispose()


def bring_up_to_date(engine: Engine) -> None:
    """Upgrade a database to the latest revision.

    Raises:
        StartError: the database cannot be reached, or its revision is unknown.
    """
    try:
        with connect_to_write(engine) as connection:
            if revision_of(connection) == HEAD:
                return
            connection.rollback()
            _lock(connection)
            # Another server may have upgraded it meanwhile.
            revision = revision_of(connection)
            if not _has_table(connection, "alembic_version") and not _has_table(connection, "jobs"):
                _create(connection)
            elif revision != HEAD:
                _migrate(connection, revision)
            connection.commit()
    except SQLAlchemyError as error:
        raise _unusable(engine, error) from error


def configuration() -> Config:
    """Return Alembic's configuration, which replaces an alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a connection's database, or None without tables."""
    if not _has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _has_table(connection: Connection, name: str) -> bool:
    # A direct query: SQLAlchemy's inspector takes longer than the rest of opening a database.
    if connection.dialect.name == "postgresql":
        query = text("SELECT to_regclass(:name) IS NOT NULL")
    else:
        query = text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name")
    return bool(connection.execute(query, {"name": name}).scalar())


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        # A revision may rewrite a table of any size.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    else:
        # Detached, so that its longer timeout does not return to the pool.
        connection.detach()
        connection.exec_driver_sql("PRAGMA busy_timeout=30000")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create(connection: Connection) -> None:
    """Create the tables of an empty database; a test checks that the revisions create the same."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _migrate(connection: Connection, revision: str | None) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StartError(
            f"the database is at revision {revision}, but this version supports revisions up to {HEAD}: "
            "a newer version upgraded it. Install that version, or use another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _unusable(engine: Engine, error: SQLAlchemyError) -> StartError:
    where = engine.url.render_as_string(hide_password=True)
    return StartError(f"the database {where} cannot be used: {str(error).splitlines()[0]}")
