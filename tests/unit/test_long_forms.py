# SPDX-License-Identifier: Apache-2.0
"""The list of long tests names tests that exist, and of files whose tests run on one database, each kind is tested."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.long_forms import listed, on_one_database

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", listed())
def test_a_listed_test_exists(name: str) -> None:
    file, _, test = name.partition("::")
    function = test.rpartition("::")[2].partition("[")[0]
    assert (f"def {function}(" if function else "def test_") in (ROOT / file).read_text()


@pytest.mark.parametrize("name", on_one_database())
def test_a_listed_file_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_listed_tests_and_those_on_a_second_database_are_left_out_by_default() -> None:
    name = "tests/contract/test_rpc_sizes.py::test_every_rpc_answers_within_3_mib"
    assert name in listed()
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", name, *on_one_database()[:2]]
    kinds = []
    for options in ([], ["-m", "long"]):
        done = subprocess.run([*collect, *options], cwd=ROOT, capture_output=True, text=True, check=True)
        assert (name in done.stdout.splitlines()) == bool(options)
        found = set(re.findall(r"^(\S+?)\[.*?(sqlite|postgresql)", done.stdout, re.MULTILINE))
        kinds.append(dict(found))
        assert found == set(kinds[-1].items())  # no function on both
    assert set(kinds[0].values()) == {"sqlite", "postgresql"}
    assert kinds[0].keys() == kinds[1].keys()
    assert all(kinds[0][each] != kinds[1][each] for each in kinds[0])
