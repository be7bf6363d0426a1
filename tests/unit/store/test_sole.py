# SPDX-License-Identifier: Apache-2.0
"""A SQLite file serves one server at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonduit_server.errors import StartError
from qonduit_server.store import sole


def test_a_second_server_on_the_file_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    lock = sole.hold(url)
    assert lock is not None
    with pytest.raises(StartError, match="another server uses"):
        sole.hold(url)
    lock.close()
    second = sole.hold(url)
    assert second is not None
    second.close()


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot write beside the database"):
        sole.hold(f"sqlite:///{tmp_path / 'no' / 'q.sqlite3'}")


def test_postgresql_serves_several() -> None:
    assert sole.hold("postgresql://qonduit@127.0.0.1/qonduit") is None
