# SPDX-License-Identifier: Apache-2.0
"""The list of long tests names tests that exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.long_forms import listed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", listed())
def test_a_listed_test_exists(name: str) -> None:
    file, _, test = name.partition("::")
    function = test.rpartition("::")[2].partition("[")[0]
    assert (f"def {function}(" if function else "def test_") in (ROOT / file).read_text()


def test_a_listed_test_is_left_out_by_default() -> None:
    name = "tests/contract/test_rpc_sizes.py::test_every_rpc_answers_within_3_mib"
    assert name in listed()
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", name]
    for options, code in (([], pytest.ExitCode.NO_TESTS_COLLECTED), (["-m", "long"], pytest.ExitCode.OK)):
        done = subprocess.run([*collect, *options], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout
