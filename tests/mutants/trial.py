# SPDX-License-Identifier: Apache-2.0
"""Trials of faults on a copy of the tree. The working tree is only read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.mutants.table import Fault
from tests.python_environments import layered

#: Seconds that the tests of one fault may take; bounds faults that hang.
MOST_SECONDS = 1800


class Verdict(Enum):
    """The outcome of a trial."""

    CAUGHT = "caught"
    SURVIVED = "NOT CAUGHT"
    UNDECIDED = "NOT DECIDED"


@dataclass(frozen=True)
class Trial:
    """The verdict of a trial, and the end of pytest's output."""

    verdict: Verdict
    output: str


def copy_of(root: Path, target: Path) -> Path:
    """Copy a working tree without ignored files, and make an environment that uses the copy."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        source = root / name
        if source.is_file() and not source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    layered(target / ".venv", target)
    return target


def run_tests(copy: Path, tests: Iterable[str]) -> tuple[int | None, str]:
    """Run tests in a copy; return pytest's exit code (None: it took too long) and the end of its output."""
    python = copy / ".venv" / "bin" / "python"
    tests = list(tests)
    # A named test may be one of those that `make test` leaves out.
    selected = ["-m", "long or not long"] if any("::" in test for test in tests) else []
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    # A file, not a pipe: a server left behind by a failing test would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [python, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *selected, *tests],
            cwd=copy,
            env=own,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")[-4000:]
    return code, text if code is not None else f"{text}\nthe tests took more than {MOST_SECONDS} s"


def attempt(fault: Fault, copy: Path) -> Trial:
    """Apply a fault to a copy, run its tests there, and revert the fault."""
    path = copy / fault.file
    text = path.read_text()
    try:
        _write(path, fault.applied(text))
        code, output = run_tests(copy, fault.tests)
    finally:
        _write(path, text)
    # Codes other than 0 and 1 mean that tests did not run, which catches nothing.
    return Trial({0: Verdict.SURVIVED, 1: Verdict.CAUGHT}.get(-1 if code is None else code, Verdict.UNDECIDED), output)


def _write(path: Path, text: str) -> None:
    """Write a source file and delete its bytecode: texts of one size, written within a second, would share it."""
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
