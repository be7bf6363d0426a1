# SPDX-License-Identifier: Apache-2.0
"""`qonduit` as a process of its own, for the tests of its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

#: The command of this environment.
QONDUIT: Final = (sys.executable, "-m", "qonduit_client.cli")
_PATIENCE: Final = 120


def qonduit(*arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `qonduit` to its end.

    Args:
        arguments: its arguments.
        text: its standard input.
        variables: further variables of its environment, such as QONDUIT_TOKEN.
    """
    return subprocess.run(
        [*QONDUIT, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        env=os.environ | variables,
    )


def output_of(*arguments: str, code: int = 0, **variables: str) -> str:
    """Run `qonduit`, check its exit code, and return its output; that of errors too unless the code is 0."""
    done = qonduit(*arguments, **variables)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stdout + done.stderr
