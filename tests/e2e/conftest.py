# SPDX-License-Identifier: Apache-2.0
"""A real server, started once for the end-to-end tests that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults.trap import RecordingTrap
from tests.server_process import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`qonduit serve` on a free port with a SQLite file; `.target` is its HOST:PORT, `.log` its log of JSON lines."""
    folder = tmp_path_factory.mktemp("server")
    with serving(f"sqlite:///{folder / 'qonduit.sqlite3'}", log=folder / "log.jsonl") as running:
        yield running


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[RecordingTrap]:
    """The points at which processes of this test's servers can be killed or stopped."""
    recording = RecordingTrap(tmp_path / "trap")
    yield recording
    recording.close()
