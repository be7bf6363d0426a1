# SPDX-License-Identifier: Apache-2.0
"""Brings a database's schema up to date: Alembic revisions, run from inside the package.

A database that is up to date, or empty, is opened without importing Alembic, which would cost a third of the start.
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

#: The newest revision: what schema.py describes.
HEAD: Final = "0003"
#: Held while the schema is changed, so that servers starting together do not clash. Any number nobody else uses.
_ADVISORY_LOCK: Final = 0x716F6E64


def current(url: str) -> str | None:
    """Return the revision of a database, or None when it has none. Raises StartError when it cannot be reached."""
    engine = make_engine(parse_url(url))
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    except SQLAlchemyError as error:
        raise _unusable(engine, error) from error
    finally:
        engine.dispose()


def upgrade(url: str) -> str:
    """Bring a database up to date and return its revision. Raises as `bring_up_to_date` does."""
    engine = make_engine(parse_url(url))
    try:
        bring_up_to_date(engine)
        return HEAD
    finally:
        engine.dispose()


def bring_up_to_date(engine: Engine) -> None:
    """Bring a database up to date.

    Raises:
        StartError: it cannot be reached, or its revision is not known here.
    """
    try:
        with connect_to_write(engine) as connection:
            if revision_of(connection) == HEAD:
                return
            connection.rollback()
            _lock(connection)
            # Another server may have come first.
            revision = revision_of(connection)
            if not _has_table(connection, "alembic_version") and not _has_table(connection, "jobs"):
                _create(connection)
            elif revision != HEAD:
                _migrate(connection, revision)
            connection.commit()
    except SQLAlchemyError as error:
        raise _unusable(engine, error) from error


def configuration() -> Config:
    """Return Alembic's configuration: there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the database that a connection leads to, or None when it has none."""
    if not _has_table(connection, "alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _has_table(connection: Connection, name: str) -> bool:
    # Asked directly: SQLAlchemy's inspector would cost more than all the rest of opening a database.
    if connection.dialect.name == "postgresql":
        query = text("SELECT to_regclass(:name) IS NOT NULL")
    else:
        query = text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name")
    return bool(connection.execute(query, {"name": name}).scalar())


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        # A revision may have to rewrite a table of any size.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    else:
        # Its longer patience must not go back to the pool with the connection.
        connection.detach()
        connection.exec_driver_sql("PRAGMA busy_timeout=30000")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create(connection: Connection) -> None:
    """Make an empty database's tables at once; a test holds them equal to what the revisions make."""
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
            f"the database is at revision {revision}, which this version does not know (it knows up to {HEAD}): "
            "it was written by a newer version. Install that version, or point to another database."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _unusable(engine: Engine, error: SQLAlchemyError) -> StartError:
    where = engine.url.render_as_string(hide_password=True)
    return StartError(f"the database {where} cannot be used: {str(error).splitlines()[0]}")
