# SPDX-License-Identifier: Apache-2.0
"""Marks the tests of `long_forms.txt` as long, so that `make test` leaves them out and `make test-long` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

LIST: Final = Path(__file__).with_suffix(".txt")


def listed() -> tuple[str, ...]:
    """Return the beginnings of the names of long tests."""
    lines = map(str.strip, LIST.read_text().splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, before pytest selects by markers; the file that takes longest alone begins first."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/upgrade/"))
    names = listed()
    for item in items:
        if item.nodeid.startswith(names):
            item.add_marker(pytest.mark.long)
