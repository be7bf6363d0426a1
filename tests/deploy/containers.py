# SPDX-License-Identifier: Apache-2.0
"""Images and containers of the tests: built by buildah, run by podman with runc, stored in build/deploy.

No registry is needed: the base image is a Debian with Python that `make deploy` puts together from Debian's packages.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.missing_components import lacking

ROOT: Final = Path(__file__).resolve().parents[2]
WHEELS: Final = ROOT / "build" / "wheels"
BASE: Final = ROOT / "build" / "deploy" / "debian.tar"
_STORAGE: Final = ROOT / "build" / "deploy" / "storage"
_STATE: Final = ROOT / "build" / "deploy" / "state"
#: Bounds hangs; unpacking an image takes minutes on a busy machine.
PATIENCE: Final = 1800
#: Some machines let no process raise its limits.
_LIMITS: Final = ("--ulimit", "nofile=16384:16384", "--ulimit", "nproc=4096:4096")


def require(*tools: str) -> None:
    """Skip the test without these programs and the files of `make deploy`; fail it in CI."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        lacking("the image and the units of deploy/", *missing)
    if not (BASE.exists() and (WHEELS / "requirements.txt").exists()):
        pytest.fail("build/wheels or the base image is missing: run `make deploy`")


class Containers:
    """The images and containers of the tests."""

    def _command(self, tool: str, *options: str) -> list[str]:
        storage = ["--root", str(_STORAGE), "--runroot", str(_STATE), "--storage-driver", "overlay"]
        return [tool, *storage, *options]

    def buildah(self, *arguments: object, offline: bool = False) -> str:
        """Run buildah, and return its output."""
        command = [*self._command("buildah"), *map(str, arguments)]
        return succeed(["unshare", "--net", *command] if offline else command).stdout.strip()

    def podman(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run podman."""
        options = ("--cgroup-manager", "cgroupfs", "--runtime", "runc")
        return execute([*self._command("podman", *options), *map(str, arguments)])

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a container without a network, and with a root that it cannot change."""
        return self.podman("run", "--rm", "--pull=never", "--network=none", "--read-only", *_LIMITS, *arguments)

    @contextlib.contextmanager
    def running(self, *arguments: object) -> Iterator[str]:
        """Run a container in the background, and yield its id."""
        done = self.podman("run", "--detach", "--pull=never", *_LIMITS, *arguments)
        assert done.returncode == 0, done.stderr
        name = done.stdout.strip()
        try:
            yield name
        finally:
            self.podman("rm", "--force", "--volumes", "--time=0", name)

    def base(self) -> str:
        """Return the name of the base image, imported if it is not there."""
        if self.podman("image", "exists", "localhost/qonduit-base").returncode:
            done = self.podman("import", BASE, "localhost/qonduit-base")
            assert done.returncode == 0, done.stderr
        return "localhost/qonduit-base"


def execute(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def succeed(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = execute(command)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done
