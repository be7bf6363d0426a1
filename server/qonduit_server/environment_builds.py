# SPDX-License-Identifier: Apache-2.0
"""Builds Python environments from lists of packages with hashes: for vendors, and for server programs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from qonduit_server.errors import StartError

#: The time for one step of an installation, in seconds.
_STEP_SECONDS: Final = 1800.0


def build(
    new: Path, requirements: Path, report: Callable[[str], None], *, python: str = sys.executable, wheels: bool = False
) -> None:
    """Build an environment with uv, or else with venv and pip.

    Args:
        new: its folder, which does not exist.
        requirements: the list of packages, each with hashes.
        report: receives each step.
        python: the Python of the environment.
        wheels: whether only wheels are installed, so that no code of a package runs.

    Raises:
        StartError: a step failed; the folder may exist.
    """
    uv = shutil.which("uv")
    own = str(new / "bin" / "python")
    if uv:
        _run([uv, "venv", "--quiet", "--python", python, str(new)], report)
        install = [uv, "pip", "install", "--quiet", "--python", own, "--compile-bytecode"]
    else:
        _run([python, "-m", "venv", str(new)], report)
        install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    only_wheels = ["--only-binary", ":all:"] if wheels else []
    _run([*install, *only_wheels, "--require-hashes", "--requirement", str(requirements)], report)


def _run(command: list[str], report: Callable[[str], None]) -> None:
    report(" ".join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_STEP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise StartError(f"{' '.join(command[:3])} did not end in {_STEP_SECONDS:.0f} s") from error
    except OSError as error:
        raise StartError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise StartError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
