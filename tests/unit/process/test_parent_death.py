# SPDX-License-Identifier: Apache-2.0
"""A process bound to its parent never outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qonduit_server.process import parent_death
from tests.unit.execution.pool_fixture import wait_gone

PARENT = """
import subprocess, sys
from qonduit_server.process import parent_death
command = parent_death.with_death_signal(["/bin/sh", "-c", "echo $$; exec sleep 1000"])
child = subprocess.Popen(command, stdout=subprocess.PIPE)
print(int(child.stdout.readline()), flush=True)
sys.stdin.read()
"""


def test_a_program_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    wait_gone([child])


def test_a_program_whose_parent_died_earlier_never_starts() -> None:
    command = parent_death.with_death_signal(["/bin/echo", "begun"])
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", os.EX_UNAVAILABLE)


def test_a_program_gets_its_arguments_and_its_name_is_searched_on_path() -> None:
    done = subprocess.run(
        parent_death.with_death_signal(["echo", "-n", "two words"]), capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"two words"


def test_a_missing_executable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such"):
        parent_death.with_death_signal([str(tmp_path / "no-such")])
