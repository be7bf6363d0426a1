# SPDX-License-Identifier: Apache-2.0
"""A SQLite file serves one server at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qonduit_server.errors import StartError
from qonduit_server.store import server_lock
from qonduit_server.store.database import open_database
from tests.store_fixture import submit


def test_a_second_server_on_the_file_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    lock = server_lock.acquire(url)
    assert lock is not None
    with pytest.raises(StartError, match="another server uses"):
        server_lock.acquire(url)
    lock.close()
    second = server_lock.acquire(url)
    assert second is not None
    second.close()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot open .*-server\.lock"):
        server_lock.acquire(f"sqlite:///{tmp_path / 'no' / 'q.sqlite3'}")


def test_postgresql_serves_several() -> None:
    assert server_lock.acquire("postgresql://qonduit@127.0.0.1/qonduit") is None


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_another_name_of_the_file_does_not_get_past_the_lock(tmp_path: Path, link: object) -> None:
    (tmp_path / "elsewhere").mkdir()
    file, name = tmp_path / "q.sqlite3", tmp_path / "elsewhere" / "other.sqlite3"
    lock = server_lock.acquire(f"sqlite:///{file}")
    assert lock is not None
    link(name, file)  # type: ignore[operator]
    with pytest.raises(StartError, match="another server uses"):
        server_lock.acquire(f"sqlite:///{name}")
    lock.close()


def test_neither_a_deleted_lock_file_nor_a_replaced_database_lets_a_second_server_in(tmp_path: Path) -> None:
    file = tmp_path / "q.sqlite3"
    lock = server_lock.acquire(f"sqlite:///{file}")
    assert lock is not None
    Path(f"{file}-server.lock").unlink()
    with pytest.raises(StartError, match="another server uses"):
        server_lock.acquire(f"sqlite:///{file}")
    lock.close()
    lock = server_lock.acquire(f"sqlite:///{file}")
    assert lock is not None
    file.unlink()
    with pytest.raises(StartError, match="another server uses"):
        server_lock.acquire(f"sqlite:///{file}")
    lock.close()


def test_a_lock_file_that_is_a_link_empties_no_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    trap = tmp_path / "q.sqlite3-server.lock"
    trap.symlink_to(victim)
    with pytest.raises(StartError, match="must not be a symbolic link"):
        server_lock.acquire(f"sqlite:///{tmp_path / 'q.sqlite3'}")
    trap.unlink()
    trap.hardlink_to(victim)
    lock = server_lock.acquire(f"sqlite:///{tmp_path / 'q.sqlite3'}")
    assert lock is not None
    lock.close()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["q.sqlite3", "q.sqlite3-server.lock"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(StartError, match="is not a regular file"):
        server_lock.acquire(f"sqlite:///{tmp_path / 'q.sqlite3'}")


def test_a_uri_as_a_second_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="must be named by its path"):
        server_lock.acquire(f"sqlite:///file:{tmp_path / 'q.sqlite3'}?uri=true")


def test_the_lock_leaves_sqlites_own_locks_alone(tmp_path: Path) -> None:
    """While this process has a connection, another one cannot lock the file exclusively."""
    file = tmp_path / "q.sqlite3"
    lock = server_lock.acquire(f"sqlite:///{file}")
    assert lock is not None
    db = open_database(f"sqlite:///{file}")
    submit(db)
    with pytest.raises(StartError, match="another server uses"):
        server_lock.acquire(f"sqlite:///{file}")
    take = (
        "import sqlite3, sys; file = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "try: file.execute('PRAGMA journal_mode=DELETE'); print('taken')\n"
        "except sqlite3.OperationalError as error: print(error)"
    )
    taken = subprocess.run([sys.executable, "-c", take, str(file)], capture_output=True, text=True, check=True)
    assert taken.stdout.strip() == "database is locked"
    submit(db)
    db.close()
    lock.close()


def test_only_the_owner_can_access_the_file_and_its_companions(tmp_path: Path) -> None:
    lock = server_lock.acquire(f"sqlite:///{tmp_path / 'q.sqlite3'}")
    assert lock is not None
    db = open_database(f"sqlite:///{tmp_path / 'q.sqlite3'}")
    submit(db)
    other = open_database(f"sqlite:///{tmp_path / 'without a server.sqlite3'}")
    submit(other)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert len(modes) == 7
    assert set(modes.values()) == {"0o600"}, modes
    for each in (db, other):
        each.close()
    lock.close()
