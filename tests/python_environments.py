# SPDX-License-Identifier: Apache-2.0
"""Python environments layered over the packages of the running one."""

from __future__ import annotations

import site
import subprocess
import sys
from pathlib import Path

#: The roots of this project's import packages, in a tree.
SOURCES = ("server", "clients/python", "generated/python")


def layered(folder: Path, tree: Path) -> Path:
    """Make an environment and return its Python.

    It imports what is installed into it, then this project from a tree, then what the running environment has. So do
    the processes that it starts, whatever their PYTHONPATH.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    (own,) = folder.glob("lib/python*/site-packages")
    paths = [*(tree / source for source in SOURCES), *site.getsitepackages()]
    (own / "layers.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"
