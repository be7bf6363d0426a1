# SPDX-License-Identifier: Apache-2.0
"""Missing tools are listed once at the end of the suite, with how to install them; in CI they fail tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest
from tests.missing_components import lacking

@pytest.mark.parametrize("number", range(3))
def test_calls(number):
    lacking("one-line calls", "grpcurl")

def test_block():
    lacking("blocks of README.md", "jq", "grpcurl")

def test_other():
    pytest.skip("for another reason")

def test_runs():
    pass
"""


def suite(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tests."""
    (folder / "test_tools.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.missing_components", "-c", os.devnull, *options]
    command += ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=100, check=False)


def test_missing_tools_are_listed_once(tmp_path: Path) -> None:
    done = suite(tmp_path, "--numprocesses", "2", CI="")  # as `make test` does
    assert done.returncode == 0, done.stdout
    assert "1 passed, 5 skipped" in done.stdout
    _, _, listed = done.stdout.partition("what this machine lacks")
    assert [line.rpartition(": ")[0].strip() for line in listed.splitlines()[1:5]] == [
        "grpcurl (tests skipped: 4)",
        "to get it",
        "jq (tests skipped: 1)",
        "to get it",
    ]
    assert "one-line calls" in listed
    assert "go install github.com/fullstorydev/grpcurl" in listed
    assert "apt-get install jq" in listed
    assert "another reason" not in listed


def test_in_ci_a_missing_tool_fails_its_test(tmp_path: Path) -> None:
    done = suite(tmp_path, CI="true")
    assert done.returncode == 1
    assert "4 failed, 1 passed, 1 skipped" in done.stdout
    assert "apt-get install jq" in done.stdout
