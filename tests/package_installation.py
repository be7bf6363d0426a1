# SPDX-License-Identifier: Apache-2.0
"""Install packages into environments of their own, from uv's cache where it has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.missing_components import lacking

ROOT: Final = Path(__file__).resolve().parents[1]
#: Bounds hangs and slow package indexes.
PATIENCE: Final = 600
_AWAY: Final = re.compile(r"error sending request|failed to fetch|dns error|timed out|network", re.IGNORECASE)


def uv(*arguments: object, untested: str) -> None:
    """Run uv on what its cache holds, else with a package index.

    Args:
        arguments: the command and its options.
        untested: what is not tested without uv or a package index; the test is then skipped, and fails in CI.
    """
    found = shutil.which("uv") or ROOT / ".venv-uv" / "bin" / "uv"
    if not Path(found).exists():
        lacking(untested, "uv")
    command = [str(found), *map(str, arguments), "--quiet"]
    for offline in (["--offline"], []):
        done = subprocess.run(
            [*command, *offline], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode == 0:
            return
    if _AWAY.search(done.stderr):
        lacking(untested, "a package index")
    pytest.fail(f"{' '.join(command)}\n{done.stderr}")
