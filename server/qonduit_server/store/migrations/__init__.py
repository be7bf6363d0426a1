# SPDX-License-Identifier: Apache-2.0
"""Upgrade a database's schema with the Alembic revisions of this package.

A current or empty database is opened without importing Alembic, which would take a third of the start time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, insert, text
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.errors import StartError
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from qonduit_server.store.migrations import compatibility
from qonduit_server.store.migrations.compatibility import Schema, has_table
from qonduit_server.store.schema import NO_DEVICE_ID, devices, metadata, providers

if TYPE_CHECKING:
    from alembic.config import Config

#: The latest revision, which schema.py describes.
HEAD: Final = "0022"
#: The oldest revision whose servers may use its schema.
OLDEST_SERVER: Final = "0015"
#: Advisory lock for schema changes, so that servers that start at the same time do not conflict. An arbitrary number.
_ADVISORY_LOCK: Final = 0x716F6E64


def inspect(url: str) -> Schema:
    """Return what a database states about its schema. Raises StartError if it cannot be reached."""
    engine = make_engine(parse_url(url))
    try:
        with engine.connect() as connection:
            return compatibility.read(connection)
    except SQLAlchemyError as error:
        raise _unreachable(engine, error) from error
    finally:
        engine.dispose()


def upgrade(url: str) -> str:
    """Upgrade a database and return its revision. Raises the errors of `bring_up_to_date`."""
    engine = make_engine(parse_url(url))
    try:
        return bring_up_to_date(engine)
    finally:
        engine.dispose()


def bring_up_to_date(engine: Engine) -> str:
    """Upgrade a database to the latest revision, unless a newer one allows this server, and return its revision.

    Raises:
        StartError: the database cannot be reached, its schema needs a newer server, or servers run that the new schema
            does not support.
    """
    try:
        with connect_to_write(engine) as connection:
            if usable := _usable(connection):
                return usable
            connection.rollback()
            _lock(connection)
            # Another server may have upgraded it meanwhile.
            if usable := _usable(connection):
                return usable
            if not has_table(connection, "alembic_version") and not has_table(connection, "jobs"):
                _create(connection)
            else:
                _migrate(connection, compatibility.read(connection).revision)
            connection.commit()
            return HEAD
    except SQLAlchemyError as error:
        raise _unreachable(engine, error) from error


def _usable(connection: Connection) -> str | None:
    """Return the revision of a database that needs no upgrade, else None. Raises StartError if it is too new."""
    schema = compatibility.read(connection)
    if refusal := schema.refusal(HEAD):
        raise StartError(refusal)
    return None if schema.needs_upgrade(HEAD) else schema.revision


def configuration() -> Config:
    """Return Alembic's configuration, which replaces an alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


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
    connection.execute(insert(providers).values(id=NO_DEVICE_ID, name="", with_token=False))
    connection.execute(
        insert(devices).values(
            id=NO_DEVICE_ID,
            provider_id=NO_DEVICE_ID,
            name="",
            available=False,
            status_message="",
            is_simulator=False,
            is_local=False,
            num_qubits=0,
            description=b"",
        )
    )
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})
    compatibility.set_oldest_server(connection, OLDEST_SERVER)


def _migrate(connection: Connection, revision: str | None) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration()
    scripts = ScriptDirectory.from_config(config)
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise StartError(f"the database is at revision {revision}, which no version has: restore a backup")
    compatibility.refuse_running_servers(connection, compatibility.computed_oldest_server(scripts, HEAD))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _unreachable(engine: Engine, error: SQLAlchemyError) -> StartError:
    where = engine.url.render_as_string(hide_password=True)
    return StartError(f"the database {where} cannot be used: {str(error).splitlines()[0]}")
