# SPDX-License-Identifier: Apache-2.0
"""A test session that leaves a process behind fails, also with several test processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.execution.pool_fixture import wait_gone

ROOT = Path(__file__).resolve().parents[2]
LEAVING = """
import subprocess

def test_leaves_a_process_behind(request):
    child = subprocess.Popen(["/bin/sh", "-c", "(sleep 1000 & echo $!)"], stdout=subprocess.PIPE, text=True)
    print("left", child.stdout.readline())
    child.wait()
"""
TIDY = """
import subprocess

def test_waits_for_its_process():
    subprocess.run(["sleep", "0"], check=True)
"""


@pytest.mark.parametrize(
    ("source", "processes"),
    [(TIDY, []), (LEAVING, []), (LEAVING, ["--numprocesses", "2"])],
    ids=["tidy", "leaving", "leaving with xdist"],
)
def test_a_session_that_leaves_a_process_behind_fails(tmp_path: Path, source: str, processes: list[str]) -> None:
    (tmp_path / "test_it.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.process_leftovers", "-rP", *processes, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "QONDUIT_TEST_LEFTOVERS_SECONDS": "0.2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if source is TIDY:
        assert done.returncode == 0, done.stdout
        return
    assert done.returncode == 1, done.stdout
    assert "left processes behind" in done.stdout
    assert "sleep 1000" in done.stdout
    pid = next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("left "))
    wait_gone([pid])
