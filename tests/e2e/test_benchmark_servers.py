# SPDX-License-Identifier: Apache-2.0
"""The servers of the benchmarks run jobs, and the part whose cost is measured is really absent."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from qonduit_client import Client
from tests.benchmarks.programs import BELL
from tests.benchmarks.switched_server import create_switch
from tests.e2e.test_metrics import scrape_until, url_of
from tests.server_process import SERVE, serving

SWITCHED = (sys.executable, "-m", "tests.benchmarks.switched_server", "serve")
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


def entries(file: Path) -> int:
    """Return the number of entries of the audit log."""
    with closing(sqlite3.connect(file)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM audit_entries WHERE method LIKE 'JobService/%'").fetchone()
    return int(count)


@pytest.mark.parametrize("part", ["metrics", "audit"])
def test_only_jobs_while_the_part_is_on_are_measured_or_recorded(tmp_path: Path, part: str) -> None:
    file = tmp_path / "x.sqlite3"
    switch = create_switch(tmp_path / "switch")
    variables = {"BENCHMARK_PART": part, "BENCHMARK_SWITCH": str(tmp_path / "switch")}
    settings = {"metrics_address": "127.0.0.1:0", "log": tmp_path / "log", "environment": variables}
    with serving(f"sqlite:///{file}", command=SWITCHED, **settings) as server, Client(server.target) as client:
        for on in (False, True, False):
            switch[0] = on
            client.run(BELL, shots=100).result()
            if on and part == "metrics":
                scrape_until(url_of(server), 1, "jobs_ended_total", device="IBM/aer_simulator", state="succeeded")
        if part == "metrics":
            scrape_until(url_of(server), 1, "jobs_submitted_total", device="IBM/aer_simulator")
    assert entries(file) == (1 if part == "audit" else 3)
