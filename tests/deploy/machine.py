# SPDX-License-Identifier: Apache-2.0
"""A machine with systemd as its process 1, no network and Debian's packages only: a container of systemd-nspawn."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.deploy.containers import PATIENCE

_SECONDS: Final = 300
#: The sandbox of Python source uses these; systemd-nspawn refuses what it does not know.
_ALLOWED: Final = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"


@dataclass(frozen=True)
class Machine:
    """A machine that has started.

    Attributes:
        root: its file system.
        leader: the id of its process 1 on this machine.
    """

    root: Path
    leader: int

    def execute(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script of sh in /root as its administrator, outside of all services."""
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        command = [*enter, "sh", "-e", "-c", f"cd /root\n{script}"]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False)

    def succeed(self, script: str) -> str:
        """Run a script that must succeed, and return its output."""
        done = self.execute(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def machine(root: Path, log: Path, *mounts: str) -> Iterator[Machine]:
    """Start a machine.

    Args:
        root: the root of its file system.
        log: a file for its console.
        mounts: folders of this machine that it can read: FOLDER:FOLDER.
    """
    command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--private-network", "--register=no"]
    command += ["--keep-unit", "--console=pipe", f"--system-call-filter={_ALLOWED}"]
    command += [f"--bind-ro={each}" for each in mounts]
    with log.open("w") as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        yield _started(process, root, log)
    finally:
        process.terminate()  # an orderly stop of the machine
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(process: subprocess.Popen[bytes], root: Path, log: Path) -> Machine:
    """Return the machine once it has started all its units."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            found = Machine(root, int(children[0]))
            if found.execute("systemctl is-system-running --wait").stdout.strip() == "running":
                return found
        threading.Event().wait(0.2)
    raise AssertionError(f"the machine did not start: {log.read_text()}")
