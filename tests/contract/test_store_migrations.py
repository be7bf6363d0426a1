# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: migrations upgrade its schema, and unknown schemas are refused."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.database import open_database
from qonduit_server.store.engines import parse_url
from qonduit_server.store.jobs import job_list
from qonduit_server.store.migrations import compatibility
from qonduit_server.store.schema import metadata
from tests.postgresql import PostgresqlServer
from tests.store_fixture import CALLER, submit

pytestmark = pytest.mark.filterwarnings("ignore:.*expression-based index")
#: Servers of earlier revisions refuse each newer database.
FIRST_WITH_COMPATIBLE_SERVERS = "0013"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: object) -> Callable[[], str]:
    """Returns URLs of databases without any table, all of one kind."""
    if request.param == "sqlite":
        numbers = itertools.count(1)
        return lambda: f"sqlite:///{tmp_path}/empty{next(numbers)}.sqlite3"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return lambda: server.url(server.new_database())


@pytest.fixture
def empty_url(new_url: Callable[[], str]) -> str:
    """Return the URL of a database without any table."""
    return new_url()


def engine_of(url: str) -> Engine:
    return create_engine(parse_url(url))


def run_revisions(url: str, revision: str = "head", run: Callable[[Config, str], None] = command.upgrade) -> None:
    """Migrate by the revisions, as a database of an older version is upgraded."""
    with engine_of(url).begin() as connection:
        config = migrations.configuration()
        config.attributes["connection"] = connection
        run(config, revision)


def described(url: str) -> dict[str, object]:
    """Return a database's description of its tables."""
    found: dict[str, object] = {}
    inspector = inspect(engine_of(url))
    for table in sorted(inspector.get_table_names()):
        columns = [(one["name"], str(one["type"]), one["nullable"]) for one in inspector.get_columns(table)]
        indices = sorted(
            (
                str(one["name"]),
                tuple(one.get("expressions", one["column_names"])),
                one["unique"],
                str([*map(str, one.get("dialect_options", {}).values())]),
            )
            for one in inspector.get_indexes(table)
        )
        keys = sorted(
            (tuple(one["constrained_columns"]), one["referred_table"]) for one in inspector.get_foreign_keys(table)
        )
        found[table] = (columns, indices, keys, inspector.get_pk_constraint(table)["constrained_columns"])
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' OR sql LIKE 'CREATE % INDEX %coalesce%' ORDER BY 1"
        if url.startswith("sqlite")
        else "SELECT t.tgname, pg_get_triggerdef(t.oid), p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE NOT t.tgisinternal ORDER BY t.tgname"
    )
    with engine_of(url).connect() as connection:
        found["statements"] = [tuple(row) for row in connection.execute(text(query))]
    return found


def test_the_newest_revision_is_the_one_the_code_requires() -> None:
    scripts = ScriptDirectory.from_config(migrations.configuration())
    assert scripts.get_heads() == [migrations.HEAD]


def test_each_revision_names_the_oldest_servers_that_it_allows() -> None:
    scripts = ScriptDirectory.from_config(migrations.configuration())
    for script in scripts.walk_revisions():
        if script.revision >= FIRST_WITH_COMPATIBLE_SERVERS:
            assert FIRST_WITH_COMPATIBLE_SERVERS <= script.module.oldest_server <= script.revision, script.path
        assert script.revision.isdecimal(), "revisions compare as text"
        assert len(script.revision) == 4, "revisions compare as text"
    assert compatibility.computed_oldest_server(scripts, migrations.HEAD) == migrations.OLDEST_SERVER


def test_the_revisions_make_what_the_schema_describes(empty_url: str) -> None:
    run_revisions(empty_url)
    assert migrations.inspect(empty_url).revision == migrations.HEAD
    with engine_of(empty_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_new_database_equals_a_migrated_one(new_url: Callable[[], str]) -> None:
    migrated, new = new_url(), new_url()
    run_revisions(migrated)
    migrations.upgrade(new)
    assert described(migrated) == described(new)
    states = []
    for url in (migrated, new):
        with engine_of(url).connect() as connection:
            states.append(connection.execute(text("SELECT id, oldest_server FROM database_state")).all())
    assert states[0] == states[1] == [(1, migrations.OLDEST_SERVER)]
    assert described(new)["statements"]


def test_a_database_that_was_migrated_works(empty_url: str) -> None:
    run_revisions(empty_url)
    db = open_database(empty_url)
    assert submit(db).id == 1
    db.close()


def test_revisions_can_be_downgraded(empty_url: str) -> None:
    run_revisions(empty_url)
    run_revisions(empty_url, "base", command.downgrade)
    assert set(inspect(engine_of(empty_url)).get_table_names()) <= {"alembic_version", "sqlite_sequence"}
    assert migrations.upgrade(empty_url) == migrations.HEAD


def test_labels_of_existing_jobs_are_copied_from_their_specs(empty_url: str) -> None:
    db = open_database(empty_url)
    labelled = [submit(db, labels={"a": str(number), "b": ""}).id for number in range(5)]
    submit(db)
    db.close()
    run_revisions(empty_url, "0005", command.downgrade)
    run_revisions(empty_url)
    db = open_database(empty_url)
    assert [job.id for job in job_list.list_page(db, CALLER, filter="label:b").items] == labelled[::-1]
    assert [job.id for job in job_list.list_page(db, CALLER, filter="label.a = 3").items] == [labelled[3]]
    db.close()


def test_the_column_of_specs_is_added_without_rewriting_any_job(empty_url: str) -> None:
    db = open_database(empty_url)
    job = submit(db)
    db.close()
    run_revisions(empty_url, "0002", command.downgrade)
    engine = engine_of(empty_url)
    with engine.connect() as connection:
        # Columns and rows of a newer schema are removed: an older version could not read them.
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
    columns = "id, caller, method, provider_id, device_id, deployment_id, type, shots, created_at, state, progress"
    with engine.begin() as connection:
        for number in range(10, 20):
            connection.execute(
                text(
                    f"INSERT INTO jobs ({columns}, attempt, last_sequence, program_runs) VALUES "
                    f"({number}, 'anonymous', 'CreateJob', 1, 1, {job.deployment_id}, 1, 5, 1, 1, 0, 0, 0, :runs)"
                ),
                {"runs": b""},
            )
    if engine.dialect.name == "postgresql":
        versions = "SELECT id, xmin FROM jobs ORDER BY id"
        with engine.connect() as connection:
            before = [tuple(row) for row in connection.execute(text(versions))]
        run_revisions(empty_url, "0003")
        with engine.connect() as connection:
            assert [tuple(row) for row in connection.execute(text(versions))] == before
    else:
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            config = migrations.configuration()
            config.attributes["connection"] = connection
            before_it = raw.total_changes
            command.upgrade(config, "0003")
            assert raw.total_changes - before_it == 1  # of alembic's own table
            connection.commit()
    db = open_database(empty_url)
    assert {job.shots for job in job_list.list_page(db, "anonymous").items} == {5}
    db.close()


def test_an_empty_database_has_no_revision_until_it_is_upgraded(empty_url: str) -> None:
    assert migrations.inspect(empty_url).revision is None
    assert migrations.upgrade(empty_url) == migrations.HEAD
    assert migrations.inspect(empty_url).revision == migrations.HEAD
    assert migrations.upgrade(empty_url) == migrations.HEAD


def make_newer(url: str, oldest_server: str) -> None:
    """State a newer revision, as an upgrade by a newer version does."""
    with engine_of(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE database_state SET oldest_server = :oldest"), {"oldest": oldest_server})


def test_a_newer_database_that_allows_this_version_is_used_as_it_is(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    make_newer(empty_url, migrations.HEAD)
    assert migrations.upgrade(empty_url) == "9999"
    db = open_database(empty_url)
    assert submit(db).id == 1
    db.close()


def test_a_schema_that_a_running_server_cannot_use_is_refused(empty_url: str) -> None:
    db = open_database(empty_url)
    with engine_of(empty_url).connect() as connection:
        compatibility.refuse_running_servers(connection, migrations.HEAD)
        if db.kind == "postgresql":
            with pytest.raises(StartError, match=rf"older servers .*\(1 of revision {migrations.HEAD}\): stop them"):
                compatibility.refuse_running_servers(connection, "9999")
        db.close()
        if db.kind == "postgresql":
            # Waits until the session of the server has ended.
            connection.execute(text(f"SELECT pg_advisory_lock({compatibility.RUNNING}, {int(migrations.HEAD)})"))
            connection.execute(text("SELECT pg_advisory_unlock_all()"))
        compatibility.refuse_running_servers(connection, "9999")


def test_a_running_server_does_not_use_a_database_that_became_too_new(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    """An upgrade is refused while the server is announced. Its announcement ends with its connection."""
    url = postgresql.url(postgresql.new_database(postgresql_template))
    db = open_database(url)
    away = threading.Event()
    db.health.subscribe(lambda available: None if available else away.set())
    make_newer(url, "9999")
    with engine_of(url).connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    assert away.wait(60)
    db.close()


def test_a_database_of_a_newer_version_is_refused(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    make_newer(empty_url, "9998")
    with pytest.raises(StartError, match=r"9999.*servers of revision 9998 or newer.*newer version"):
        open_database(empty_url)
    assert migrations.inspect(empty_url).revision == "9999"


def test_servers_that_start_together_do_not_conflict(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrations.upgrade, [empty_url] * 4)) == [migrations.HEAD] * 4


def test_opening_needs_no_alembic_and_sqlite_no_psycopg(tmp_path: object) -> None:
    code = (
        "import sys; from qonduit_server.store.database import open_database; open_database(sys.argv[1]).close(); "
        "print([name for name in ('alembic', 'psycopg') if name in sys.modules])"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, f"sqlite:///{tmp_path}/x.sqlite3"], capture_output=True, check=True, text=True
        )
        assert done.stdout == "[]\n"
