# SPDX-License-Identifier: Apache-2.0
"""Server programs on a vendor's machine: their jobs use the credential of the program, and are never sent twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit_client import Client
from qonduit_client.errors import JobFailed
from tests.vendor_cloud.served_vendor import ASYMMETRIC, TOKEN, ServedVendor, served_vendor

SECONDS = 240.0
PROGRAM = f"""
import time
from qonduit_client import Client
def main(backend, user_messenger, wait=0):
    counts = dict(Client().run({ASYMMETRIC!r}, backend.name, shots=10).result().counts)
    user_messenger.publish(counts)
    time.sleep(wait)
    return counts
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    with served_vendor(tmp_path_factory.mktemp("vendor"), enable_python_source="PYTHON") as found:
        yield found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_the_jobs_of_a_program_use_its_credential(served: ServedVendor, program: Path) -> None:
    before = served.vendor.accepted
    with Client(served.server.target) as client:
        run = client.programs.run(program, "CLOUD_ID/machine", credential=TOKEN)
        assert run.output(timeout=SECONDS) == {"0x1 0x0": 10}
        (child,) = run.children()
        assert child.provider_specific_id
    assert served.vendor.accepted == before + 1


def test_a_lost_program_with_jobs_at_a_vendor_is_not_run_again(served: ServedVendor, program: Path) -> None:
    before = served.vendor.accepted
    with Client(served.server.target) as client:
        run = client.programs.run(program, "CLOUD_ID/machine", {"wait": 900}, credential=TOKEN)
        next(iter(run.interim_results(timeout=SECONDS)))
        os.kill(max(_processes(served)), signal.SIGKILL)
        with pytest.raises(JobFailed) as caught:
            run.output(timeout=SECONDS)
        assert caught.value.failure.reason == "PROGRAM_INTERRUPTED"
        assert "parent_job_id" in caught.value.failure.message
        assert run.job().attempt == 1
    assert served.vendor.accepted == before + 1


def test_a_lost_program_without_jobs_runs_again(served: ServedVendor, tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import time\ndef main(backend, user_messenger):\n"
        "    user_messenger.publish(1)\n    time.sleep(0.5)\n    return 5\n"
    )
    with Client(served.server.target) as client:
        run = client.programs.run(tmp_path / "waits.py", "CLOUD_ID/machine", credential=TOKEN)
        next(iter(run.interim_results(timeout=SECONDS)))
        os.kill(max(_processes(served)), signal.SIGKILL)
        assert run.output(timeout=SECONDS) == 5
        assert run.job().attempt == 2


def _processes(served: ServedVendor) -> set[int]:
    """Return the processes of programs, with the one that forks them."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = {pid for pid in served.server.family() if b"program_sandbox" in _command(pid)}
        if len(found) > 1:
            return found
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
