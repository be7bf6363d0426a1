# SPDX-License-Identifier: Apache-2.0
"""`qonduit` for the tests of its commands, most of which run in the process of the test.

A start of Python with the modules of a command takes half a second of a processor. `QONDUIT` is the command of a
process, for tests of terminals, signals and imports.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from click.testing import CliRunner

from qonduit_client.cli import commands

#: The command of this environment.
QONDUIT: Final = (sys.executable, "-m", "qonduit_client.cli")
_PATIENCE: Final = 120
#: They end their process, or take its signals.
_PROGRAMS: Final = ("serve", "worker")


def qonduit(*arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `qonduit` to its end. Only one may run at a time: it takes the place of the standard streams.

    Args:
        arguments: its arguments.
        text: its standard input.
        variables: further variables of its environment, such as QONDUIT_TOKEN.
    """
    if arguments and arguments[0] in _PROGRAMS:
        return subprocess.run(
            [*QONDUIT, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
            env=os.environ | variables,
        )
    done = CliRunner(env=variables).invoke(commands.qonduit, arguments, input=text, prog_name="qonduit")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess([*QONDUIT, *arguments], done.exit_code, done.stdout, done.stderr)


def output_of(*arguments: str, code: int = 0, **variables: str) -> str:
    """Run `qonduit`, check its exit code, and return its output; that of errors too unless the code is 0."""
    done = qonduit(*arguments, **variables)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stdout + done.stderr
