# SPDX-License-Identifier: Apache-2.0
"""What the doctor finds in a database."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

from qonduit_server.store import catalogue, migrations
from qonduit_server.store.database import open_database, utc_now
from qonduit_server.store.doctor import Finding, inspect
from tests.storing import claim, description, submit


def levels(found: list[Finding]) -> set[str]:
    return {finding.level for finding in found}


def test_a_sound_database(database_url: str) -> None:
    migrations.upgrade(database_url)
    # The tests' own PostgreSQL runs without fsync, and is told so.
    assert levels([finding for finding in inspect(database_url) if "fsync" not in finding.what]) == {"ok"}


def test_a_file_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    assert levels(inspect(f"sqlite:///{tmp_path}/x.sqlite3")) == {"ok"}
    assert not (tmp_path / "x.sqlite3").exists()


def test_what_cannot_be_reached_or_read(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite3").write_text("not a database " * 100)
    for url in ("nonsense", "postgresql://127.0.0.1:1/x", f"sqlite:///{tmp_path}/text.sqlite3"):
        (finding,) = inspect(url)
        assert finding.level == "error"
        assert finding.how_to_mend


def test_another_revision(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    migrations.upgrade(url)
    with sqlite3.connect(tmp_path / "x.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "9999" in inspect(url)[-1].what


def test_jobs_that_nobody_runs(database_url: str) -> None:
    db = open_database(database_url, clock=lambda: utc_now() - timedelta(hours=1))
    submit(db)
    submit(db)
    claim(db, capacity=1)
    catalogue.sync(db, [description(unavailable="gone")])
    db.close()
    told = [finding.what for finding in inspect(database_url) if finding.level == "warning"]
    assert any("server that is gone" in what for what in told)
    assert any("not available" in what for what in told)
