# SPDX-License-Identifier: Apache-2.0
"""Marks the tests of `long_forms.txt` as long, so that `make test` leaves them out and `make test-long` runs them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

LIST: Final = Path(__file__).with_suffix(".txt")
#: Ends the line of a file whose tests are long on one of the two kinds of database.
_ONE_DATABASE: Final = " on one database"


def listed() -> tuple[str, ...]:
    """Return the beginnings of the names of long tests."""
    return tuple(line for line in _lines() if not line.endswith(_ONE_DATABASE))


def on_one_database() -> tuple[str, ...]:
    """Return the files whose tests are long on one of the two kinds of database."""
    return tuple(line.removesuffix(_ONE_DATABASE) for line in _lines() if line.endswith(_ONE_DATABASE))


def _lines() -> list[str]:
    lines = map(str.strip, LIST.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, before pytest selects by markers; the file that takes longest alone begins first."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/upgrade/"))
    names, files = listed(), on_one_database()
    functions = defaultdict[str, dict[str, list[pytest.Item]]](lambda: defaultdict(list))
    for item in items:
        if item.nodeid.startswith(names):
            item.add_marker(pytest.mark.long)
        elif item.nodeid.startswith(files) and (kind := _database_of(item)):
            functions[item.nodeid.partition("[")[0]][kind].append(item)
    for name, kinds in functions.items():
        if len(kinds) == 2:
            # Each time the same kind, and each kind for about half of the functions.
            for item in kinds[sorted(kinds)[zlib.crc32(name.encode()) % 2]]:
                item.add_marker(pytest.mark.long)


def _database_of(item: pytest.Item) -> str:
    """Return the kind of database of a test that runs on each kind; empty for other tests."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return next((each for each in values if isinstance(each, str) and each in ("sqlite", "postgresql")), "")
