# SPDX-License-Identifier: Apache-2.0
"""The environments of providers for the tests, built once for a clone by `qonduit provider install`."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from qonduit_server import provider_environments

FOLDER: Final = Path(__file__).resolve().parents[2] / "build" / "providers"


@cache
def environment_python(provider: str) -> str:
    """Return the Python of the environment of a provider, which is built if it is missing or outdated."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Of the processes that run tests, one builds it.
    with (FOLDER / f"{provider.lower()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = {each.provider: each for each in provider_environments.environments(str(FOLDER))}[provider]
        if found.state != "ready":
            command = [sys.executable, "-m", "qonduit_server", "provider", "install", provider]
            subprocess.run([*command, "--provider-environments", str(FOLDER)], check=True, timeout=300)
    return str(found.python)
