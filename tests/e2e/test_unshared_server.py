# SPDX-License-Identifier: Apache-2.0
"""The reference server of the benchmark of callers runs jobs, and without fair share."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from qonduit_client import Client
from tests.benchmarks.programs import BELL
from tests.server_process import SERVE, serving

UNSHARED = (sys.executable, "-m", "tests.benchmarks.unshared_server", "serve")


@pytest.mark.parametrize(("command", "charged"), [(UNSHARED, []), (SERVE, ["anonymous"])])
def test_a_job_runs_and_only_fair_share_charges_its_caller(
    tmp_path: Path, command: Sequence[str], charged: list[str]
) -> None:
    file = tmp_path / "x.sqlite3"
    with serving(f"sqlite:///{file}", command=command) as server, Client(server.target) as client:
        assert sum(client.run(BELL, shots=100).result().counts.values()) == 100
    with closing(sqlite3.connect(file)) as connection:
        assert [owner for (owner,) in connection.execute("SELECT owner FROM lanes")] == charged
