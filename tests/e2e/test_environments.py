# SPDX-License-Identifier: Apache-2.0
"""A provider runs in a separate Python environment, with another SDK version than the server's."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from qonduit_client import Client
from tests.benchmarks.programs import BELL
from tests.package_installation import uv
from tests.server_process import serving

ROOT = Path(__file__).resolve().parents[2]
OTHER_AER = "0.17.2"
#: Packages that the contract's stubs import besides protobuf.
CONTRACT = ("googleapis-common-protos",)


def _make_environment(folder: Path) -> Path:
    """A virtual environment with a worker's requirements and an older Aer; its value is the path of Python."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    pinned = {name: version(name) for name in ("qiskit", "openqasm3", "quil", "protobuf", *CONTRACT)}
    pinned["openqasm3[parser]"] = pinned.pop("openqasm3")
    wanted = [*(f"{name}=={number}" for name, number in pinned.items()), f"qiskit-aer=={OTHER_AER}"]
    uv("pip", "install", "--python", python, *wanted, untested="a provider in an environment of its own")
    (site,) = folder.glob("lib/python*/site-packages")
    # The files that `pip install --no-deps --editable` would write.
    (site / "qonduit.pth").write_text(
        f"{ROOT / 'server'}\n{ROOT / 'clients' / 'python'}\n{ROOT / 'generated' / 'python'}\n"
    )
    return python


def command(pid: int) -> list[str]:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.timeout(600)
def test_a_provider_runs_in_a_separate_environment(tmp_path: Path) -> None:
    assert version("qiskit-aer") != OTHER_AER
    python = _make_environment(tmp_path / "environment")
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, providers="IBM", provider_python=f"IBM={python}") as server:
        client = Client(server.target)
        result = client.run(BELL, device="IBM/aer_simulator", shots=200).result(timeout=90)
        (compiled,) = client.check(BELL, device="IBM/aer_simulator").compiled
        commands = [command(pid) for pid in server.family() if parent(pid) == server.process.pid]
        # One that runs jobs, and one that compiles programs for `validate_only`.
        assert sum(each[0] == str(python) and each[each.index("--provider") + 1] == "IBM" for each in commands) == 2
    assert compiled.num_qubits == 2
    assert sum(result.counts.values()) == 200
    assert set(result.counts) <= {"0x0", "0x3"}
    assert OTHER_AER in json.dumps(dict(result.meta_data))


def test_a_provider_whose_python_does_not_exist_is_unavailable_and_the_others_run(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    missing = f"GOOGLE={tmp_path / 'no' / 'python'}"
    with serving(database, providers="IBM,GOOGLE", provider_python=missing) as server:
        client = Client(server.target)
        assert sum(client.run(BELL, device="IBM/aer_simulator", shots=10).result(timeout=90).counts.values()) == 10
