# SPDX-License-Identifier: Apache-2.0
"""New SQLite databases of the latest schema: copies of one file, since to create all tables takes ten times as long."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from qonduit_server.store import migrations


def new_sqlite(path: Path) -> str:
    """Copy an empty, migrated database to a file and return its URL."""
    shutil.copy(_template(), path)
    return f"sqlite:///{path}"


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="qsqlite"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "template.sqlite3"
    migrations.upgrade(f"sqlite:///{file}")
    return file
