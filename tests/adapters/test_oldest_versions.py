# SPDX-License-Identifier: Apache-2.0
"""The oldest qBraid and Rich that `pyproject.toml` allows run the tests that the newest, the locked ones, run."""

from __future__ import annotations

import os
import subprocess
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from tests.package_installation import uv
from tests.python_environments import layered

ROOT = Path(__file__).resolve().parents[2]
#: What is tested at its oldest, and the tests that use it.
TESTS = {
    "qbraid": ["tests/adapters/test_qbraid.py"],
    "rich": [
        "tests/unit/client/test_terminal.py",
        "tests/unit/client/test_cli_output.py",
        "tests/unit/client/test_demo.py",
    ],
}


def oldest() -> dict[str, str]:
    """Return the lower ends of the ranges in `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["qbraid"]]
    ranges = dict(each.split(">=") for each in wanted if ">=" in each)
    return {name: ranges[name].partition(",")[0] for name in TESTS}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the oldest versions before everything that this environment has."""
    folder = tmp_path_factory.mktemp("oldest")
    executable = layered(folder / "environment", ROOT)
    # All else as it is here, but for what qBraid is made of.
    others = {
        each.name: each.version
        for each in distributions()
        if not each.name.startswith(("qbraid", "pyqasm", "rich", "qonduit"))
    }
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={number}\n" for name, number in others.items()))
    wanted = [
        f"{name}~={number}.0" if number.count(".") < 2 else f"{name}=={number}" for name, number in oldest().items()
    ]
    install = ("pip", "install", "--python", executable, "--constraint", constraints)
    uv(*install, *wanted, untested=f"the oldest versions, {' and '.join(wanted)}")
    return executable


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TESTS)
def test_the_oldest_version_runs_the_tests(name: str, python: Path) -> None:
    number = oldest()[name]
    command = f"from importlib.metadata import version; print(version({name!r}))"
    used = subprocess.run([python, "-c", command], capture_output=True, text=True, timeout=120, check=True).stdout
    assert used.strip() == number or used.startswith(f"{number}.")
    assert used.strip() != version(name), "the locked version is the oldest one: there is nothing to compare"
    # A process of pytest's own, and no worker of the one that runs this.
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS[name]],
        cwd=ROOT, env=own, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name} {used.strip()}:\n{done.stdout[-4000:]}{done.stderr[-1000:]}"
