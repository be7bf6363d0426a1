# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings in databases that were really damaged, and none in intact ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER
from qonduit.v1.result_pb2 import Result
from qonduit_server.store import catalogue, migrations
from qonduit_server.store.admin import postgresql_server
from qonduit_server.store.admin.doctor import Finding, inspect
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.engines import parse_url
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.jobs.job_spec import INLINE_BYTES
from qonduit_server.store.results import buffers, result_rows
from qonduit_server.store.server_lock import acquire
from tests.postgresql import PostgresqlServer
from tests.store_fixture import CALLER, claim, deployment, description, known_device, submit, succeed


def look(url: str, **options: object) -> list[Finding]:
    """Return the doctor's warnings and errors, except that the tests' PostgreSQL runs without fsync."""
    found = inspect(url, **options)  # type: ignore[arg-type]
    return [each for each in found if each.level != "ok" and "fsync" not in each.what]


def report(url: str, words: str, level: str = "error", **options: object) -> Finding:
    """Return the only warning or error; check its words, its level, and that it names a fix."""
    found = look(url, **options)
    assert [words in each.what for each in found] == [True], found
    assert found[0].level == level
    assert found[0].how_to_mend
    return found[0]


def hand(url: str, *statements: str) -> None:
    """Change a database behind the server's back."""
    with create_engine(parse_url(url)).begin() as connection:
        for statement in statements:
            connection.execute(text(statement.replace(":empty", f"'{hashlib.sha256().hexdigest()}'")))


@pytest.fixture(scope="session")
def samples(
    tmp_path_factory: pytest.TempPathFactory, postgresql: PostgresqlServer, postgresql_template: str
) -> dict[str, str]:
    """Create a SQLite file and a PostgreSQL template: three succeeded jobs, a cancelled one and a queued one."""
    path = tmp_path_factory.mktemp("doctor") / "x.sqlite3"
    name = postgresql.new_database(postgresql_template)
    for url in (f"sqlite:///{path}", postgresql.url(name)):
        db = open_database(url)
        for _ in range(3):
            submit(db)
        assert not succeed(db, claim(db))
        job_rows.cancel(db, CALLER, submit(db, labels={"a": "b"}).id)
        submit(db)
        db.close()
        assert look(url) == []
        assert look(url, deep=True) == []
    return {"sqlite": str(path), "postgresql": name}


@pytest.fixture(params=["sqlite", "postgresql"])
def used(
    request: pytest.FixtureRequest, samples: dict[str, str], tmp_path: Path, postgresql: PostgresqlServer
) -> Iterator[str]:
    """Yield the URL of a copy of a sample."""
    if request.param == "sqlite":
        shutil.copy(samples["sqlite"], tmp_path / "x.sqlite3")
        yield f"sqlite:///{tmp_path}/x.sqlite3"
        return
    name = postgresql.new_database(samples["postgresql"])
    yield postgresql.url(name)
    postgresql.drop_database(name)


def test_a_sound_database(database_url: str) -> None:
    migrations.upgrade(database_url)
    assert look(database_url) == []


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    assert [each.level for each in inspect(f"sqlite:///{tmp_path}/x.sqlite3")] == ["ok"]
    assert not (tmp_path / "x.sqlite3").exists()
    report(f"sqlite:///{tmp_path}/no/folder/x.sqlite3", "/no/folder of sqlite")


def test_unreachable_and_unreadable_databases(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite3").write_text("not a database " * 100)
    for url in ("nonsense", "postgresql://127.0.0.1:1/x", f"sqlite:///{tmp_path}/text.sqlite3"):
        (finding,) = inspect(url)
        assert finding.level == "error"
        assert finding.how_to_mend


def test_a_database_without_tables(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite3").touch()
    report(f"sqlite:///{tmp_path}/x.sqlite3", "no tables yet", "warning")


def test_a_newer_schema_that_allows_this_version_is_no_fault(database_url: str) -> None:
    migrations.upgrade(database_url)
    hand(
        database_url,
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE jobs ADD COLUMN later integer",
        "CREATE INDEX ix_jobs_later ON jobs (later)",
    )
    assert look(database_url) == []
    assert [each.how_to_mend for each in inspect(database_url) if "revision 9999" in each.what] == [
        "Install the newer version on each server."
    ]


@pytest.mark.parametrize(
    ("statements", "words", "level"),
    [
        (
            ["UPDATE alembic_version SET version_num = '9999'", "UPDATE database_state SET oldest_server = '9999'"],
            "the schema is at revision 9999",
            "error",
        ),
        (["DROP INDEX ix_jobs_caller_state"], "the index ix_jobs_caller_state is missing", "error"),
        (["ALTER TABLE devices DROP COLUMN num_qubits"], "the column num_qubits is missing", "error"),
        (["DROP TABLE buffers"], "the table buffers is missing", "error"),
        (["CREATE INDEX mine ON jobs (shots)"], "the index mine is not part of this version", "warning"),
        (["DELETE FROM events WHERE job_id = 2 AND sequence = 2"], "1 job have gaps in their events", "error"),
        (["UPDATE jobs SET last_sequence = 99 WHERE id = 5"], "a wrong last sequence", "error"),
        (["UPDATE events SET is_terminal = false WHERE job_id = 4"], "without a terminal event", "error"),
        (["DELETE FROM results WHERE job_id = 1"], "1 job succeeded, but their results are missing (1)", "error"),
        (
            ["INSERT INTO results SELECT 99, 77, 0, 1, result, 0 FROM results WHERE id = 1"],
            "belong to no job",
            "warning",
        ),
        (["INSERT INTO events VALUES (77, 1, false, '')"], "are deleted, but their events remain", "warning"),
        (["INSERT INTO buffers VALUES (77, 0, '')"], "are missing, but their buffers remain", "warning"),
        (["UPDATE jobs SET state = 2 WHERE id = 5"], "are running without a lease", "error"),
        (
            ["UPDATE jobs SET state = 2, owner = 'x', lease_until = 5 WHERE id = 5"],
            "belong to a lost server",
            "warning",
        ),
        (
            ["UPDATE devices SET available = false"],
            "1 jobs wait for the unavailable device IBM",
            "warning",
        ),
        (["UPDATE lanes SET weight = 0"], "1 lanes have an invalid weight or time (anonymous)", "error"),
        (["UPDATE lanes SET virtual_time = 1e300"], "1 lanes have an invalid weight or time (anonymous)", "error"),
        (["DELETE FROM programs WHERE deployment_id = 5"], "without their programs", "error"),
        (
            ["INSERT INTO job_options VALUES (77, 'x')"],
            "are deleted, but their links to large options remain",
            "warning",
        ),
        (["INSERT INTO job_labels VALUES (77, 'a', 'b', 'x', 1)"], "are deleted, but their labels remain", "warning"),
        (["UPDATE job_labels SET value = 'other'"], "1 job have other labels for filters than in their specs", "error"),
        (["INSERT INTO options VALUES (:empty, '')"], "1 large options belong to no job", "warning"),
    ],
)
def test_manual_changes_of_the_database(used: str, statements: list[str], words: str, level: str) -> None:
    hand(used, *statements)
    report(used, words, level)


def test_the_recommended_fix_corrects_the_stored_bytes_of_owners(used: str) -> None:
    hand(
        used,
        "UPDATE owner_totals SET stored_bytes = stored_bytes - 100",
        "UPDATE jobs SET caller = 'o''neill' WHERE id = 1",
    )
    assert look(used) == []  # it would read every row
    found = report(used, "the stored bytes that quotas count differ from the rows of owners", "warning", deep=True)
    assert "o'neill: +" in found.what
    hand(used, found.how_to_mend)
    assert look(used, deep=True) == []


def test_the_recommended_fix_creates_a_missing_index(used: str) -> None:
    hand(used, "DROP INDEX uq_jobs_request_id")
    hand(used, report(used, "uq_jobs_request_id is missing").how_to_mend)
    assert look(used) == []


def with_buffer(url: str) -> int:
    """Store a buffer of three chunks for a result, as a server does; return the result's id."""
    db = open_database(url)
    data = os.urandom(2 * buffers.CHUNK_BYTES + 5)
    job = submit(db)
    assert not succeed(db, claim(db))
    (found,) = result_rows.list_page(db, CALLER, job.id).items
    found.ClearField("counts_and_probabilities")
    found.buffer.name = buffers.name_of(found.id)
    found.buffer.size_bytes = len(data)
    found.buffer.sha256 = hashlib.sha256(data).hexdigest()
    replace(db, found, data)
    db.close()
    return found.id


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM options", "1 job have missing large options"),
        ("DELETE FROM job_options", "1 job have missing large options"),
        (
            "UPDATE options SET data = (SELECT program FROM programs LIMIT 1)",
            "1 large options have a wrong SHA-256",
        ),
    ],
)
def test_large_options_that_are_damaged(database_url: str, statement: str, words: str) -> None:
    db = open_database(database_url)
    new = job_rows.NewJob(CALLER, JobSpec(shots=10, type=JOB_TYPE_RUNNER), known_device(db).id, deployment=deployment())
    new.spec.inputs.update({"bits": "0" * 2 * INLINE_BYTES})
    job_rows.create(db, new)
    db.close()
    assert look(database_url) == []
    hand(database_url, statement)
    found = look(database_url)
    assert [(each.level, each.what) for each in found if words in each.what and each.level == "error"], found


def test_buffers_that_may_be_in_progress_are_not_reported(database_url: str) -> None:
    db = open_database(database_url)
    submit(db)
    (task,) = claim(db)
    hand(database_url, "INSERT INTO buffers VALUES (1, 0, '')")
    assert look(database_url) == []  # a job is running, and may store this result soon
    assert not succeed(db, [task])
    hand(database_url, "UPDATE results SET id = 9")
    submit(db)
    claim(db)
    long_ago = "UPDATE jobs SET finished_at = finished_at - 3 * 3600000000.0 WHERE finished_at IS NOT NULL"
    found = [each.what for each in look(database_url)]
    assert not any("their buffers remain" in each for each in found)
    hand(database_url, long_ago)  # buffers older than a result of three hours ago are not in progress
    assert any("their buffers remain" in each.what and each.level == "warning" for each in look(database_url))
    db.close()


def replace(db: Database, result: Result, data: bytes) -> None:
    """Write a result's message and its buffer."""
    size = buffers.CHUNK_BYTES
    with db._engine.begin() as connection:
        parameters = {"id": result.id, "message": result.SerializeToString()}
        connection.execute(text("UPDATE results SET result = :message WHERE id = :id"), parameters)
        for number, start in enumerate(range(0, len(data), size)):
            piece = {"id": result.id, "number": number, "data": data[start : start + size]}
            connection.execute(text("INSERT INTO buffers VALUES (:id, :number, :data)"), piece)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM buffers WHERE result_id = {id}",
        "DELETE FROM buffers WHERE result_id = {id} AND piece = 2",
        "DELETE FROM buffers WHERE result_id = {id} AND piece = 1",
        "UPDATE buffers SET data = (SELECT data FROM buffers WHERE result_id = {id} AND piece = 1) "
        "WHERE result_id = {id} AND piece = 0",
    ],
)
def test_buffers_that_differ_from_their_results(used: str, statement: str) -> None:
    result_id = with_buffer(used)
    assert look(used) == []
    hand(used, statement.format(id=result_id))
    report(used, f"1 result have a damaged buffer: its size or its SHA-256 differs ({result_id})")


def test_jobs_without_a_server(database_url: str) -> None:
    db = open_database(database_url, clock=lambda: utc_now() - timedelta(hours=1))
    submit(db)
    submit(db)
    claim(db, capacity=1)
    catalogue.sync(db, [description(unavailable="gone")])
    db.close()
    assert [each.level for each in look(database_url)] == ["warning", "warning"]


def test_checks_are_bounded_unless_deep(used: str) -> None:
    numbers = "SELECT value FROM generate_series(1, 50000) AS value"
    if used.startswith("sqlite"):
        numbers = (
            "WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s LIMIT 50000) SELECT value FROM s"
        )
    hand(used, f"INSERT INTO events SELECT 100 + value, 1, false, '' FROM ({numbers}) AS numbers")
    found = inspect(used, check_seconds=0.001)
    assert any("stopped at its time limit" in each.what for each in found)
    assert {each.level for each in found if "fsync" not in each.what} <= {"ok", "warning"}
    assert (
        "10000 or more jobs are deleted, but their events remain"
        in report(used, "are deleted", "warning", deep=True).what
    )


# Files


def file_of(url: str) -> Path:
    return Path(parse_url(url).database or "")


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return the URL of a checkpointed SQLite file with a few jobs."""
    url = f"sqlite:///{tmp_path}/folder/x.sqlite3"
    (tmp_path / "folder").mkdir()
    db = open_database(url)
    for _ in range(50):
        submit(db)
    succeed(db, claim(db, capacity=100))
    db.close()
    return url


def test_flipped_bytes(file: str) -> None:
    path = file_of(file)
    data = bytearray(path.read_bytes())
    for place in range(4096 * 3, len(data), 997):
        data[place] ^= 0xFF
    path.write_bytes(data)
    found = look(file)
    assert any("damaged" in each.what or "malformed" in each.what for each in found), found
    assert {each.level for each in found} == {"error"}


def test_a_file_that_was_cut_off(file: str) -> None:
    path = file_of(file)
    os.truncate(path, path.stat().st_size // 2)
    found = look(file)
    assert found
    assert {each.level for each in found} == {"error"}


def test_rows_that_refer_to_nothing(file: str) -> None:
    connection = sqlite3.connect(file_of(file))
    connection.execute("DELETE FROM deployments WHERE id = 3")
    connection.commit()
    connection.close()
    assert {each.what for each in look(file)} >= {"1 jobs refer to missing deployments"}


def as_nobody(url: str) -> list[str]:
    """Return the doctor's findings when an unprivileged user runs it."""
    code = (
        "import os, sys; from qonduit_server.store.admin.doctor import inspect; "
        "os.geteuid() == 0 and (os.setgroups([]), os.setgid(65534), os.setuid(65534)); "
        "print(*(f'{each.level} {each.what}' for each in inspect(sys.argv[1])), sep='\\n')"
    )
    command = [sys.executable, "-c", code, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_of_another_user(file: str) -> None:
    # Not below pytest's own folder: every starting pytest run makes that unreadable to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "folder")
        path = Path(shutil.copytree(file_of(file).parent, folder), "x.sqlite3")
        folder.parent.chmod(0o755)
        path.chmod(0o444)
        folder.chmod(0o555)
        try:
            found = as_nobody(f"sqlite:///{path}")
            assert any(each.startswith("error") and "cannot read and write" in each for each in found), found
            assert any(each.startswith("error") and "is not writable" in each for each in found), found
            path.chmod(0o000)
            assert any(each.startswith("error") and "cannot be read" in each for each in as_nobody(f"sqlite:///{path}"))
        finally:
            folder.chmod(0o755)


def test_a_file_that_every_user_may_read(file: str) -> None:
    assert look(file) == []
    file_of(file).chmod(0o644)
    assert str(file_of(file)) in report(file, "every user of this machine can read the database", "warning").how_to_mend


def test_a_file_in_use_is_not_disturbed(file: str) -> None:
    lock = acquire(file)
    db = open_database(file)
    submit(db)
    before = {path.name: path.stat().st_size for path in file_of(file).parent.iterdir()}
    assert any("a server uses it" in each.what for each in inspect(file))
    assert {path.name: path.stat().st_size for path in file_of(file).parent.iterdir()} == before
    assert submit(db).id == 52
    db.close()
    assert lock is not None
    lock.close()
    assert any("no server uses it now" in each.what for each in inspect(file))
    # A file without a write-ahead log is not changed either.
    connection = sqlite3.connect(file_of(file))
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    content = file_of(file).read_bytes()
    assert look(file) == []
    assert file_of(file).read_bytes() == content


def test_a_disk_that_is_full_and_a_log_that_does_not_shrink(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 10 * 1024**2
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free})())
    report(file, "only 10 MiB are free")
    monkeypatch.undo()
    # Sparse: it takes no disk space.
    log = Path(f"{file_of(file)}-wal")
    log.touch()
    os.truncate(log, 300 * 1024**2)
    report(file, "the write-ahead log has 300 MiB", "warning")


# PostgreSQL


def test_settings_of_postgresql(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    name = postgresql.new_database(postgresql_template)
    url = postgresql.url(name)
    postgresql.execute(f"ALTER DATABASE \"{name}\" SET synchronous_commit = 'off'")
    report(url, "synchronous_commit is off", "warning")
    postgresql.execute(f'ALTER DATABASE "{name}" RESET synchronous_commit')
    postgresql.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    report(url, "default_transaction_read_only is on")
    postgresql.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    report(url, "too few for a server", "warning", calls=1000)
    assert look(url) == []
    postgresql.drop_database(name)


def test_rights_in_postgresql(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    name = postgresql.new_database(postgresql_template)
    url = postgresql.url(name)
    hand(
        url,
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        "GRANT ALL ON deployments TO reader",
    )
    finding = report(url.replace("test@", "reader@"), "lacks read and write privileges")
    assert "jobs" in finding.what
    assert "deployments" not in finding.what
    hand(url, "DROP OWNED BY reader", "DROP ROLE reader")
    postgresql.drop_database(name)


@pytest.mark.parametrize("apart", [-10.0, 0.0, 10.0])
def test_clocks(postgresql: PostgresqlServer, apart: float) -> None:
    import time

    now: Callable[[], float] = lambda: time.time() + apart  # noqa: E731
    with create_engine(parse_url(postgresql.url())).connect() as connection:
        found = [each.what for each in postgresql_server.clock(connection, now)]
    assert ["differ by" in each for each in found] == ([True] if apart else [])
