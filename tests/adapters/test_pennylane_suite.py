# SPDX-License-Identifier: Apache-2.0
"""PennyLane's own tests for devices, which come with it, on the device "qonduit" and a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from pennylane.devices.tests import get_device_tests

from tests.server_process import Server

#: PennyLane repeats tests that sample up to ten times, by a package of this name; with a seed there is nothing to
#: repeat.
ONCE: Final = "def flaky(**_):\n    return lambda test: test\n"


def _run(server: Server, folder: Path, device: str, shots: int | None) -> dict[str, int]:
    """Runs the tests, and returns how many passed, were skipped ...; what failed is in the message."""
    (folder / "flaky.py").write_text(ONCE)
    suite = Path(get_device_tests())
    options = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "--tb=short", f"--rootdir={suite}"]
    target = ["--device=qonduit", f"--shots={shots}", "--device-kwargs", f"device={device}", f"client={server.target}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(suite), *target, "seed=7"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return {kind: int(number) for number, kind in re.findall(r"(\d+) (\w+)", done.stdout.strip().splitlines()[-1])}


@pytest.mark.long
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("shots", [None, 20_000])
@pytest.mark.parametrize("device", ["IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"])
def test_all_of_them(server: Server, tmp_path: Path, device: str, shots: int | None) -> None:
    counted = _run(server, tmp_path, device, shots)
    assert counted["passed"] >= 360
    # Skipped are tests of other modes, of interfaces that are not installed, and of devices of the old kind.
    assert counted["skipped"] <= 55
