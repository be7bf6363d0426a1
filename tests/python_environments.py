# SPDX-License-Identifier: Apache-2.0
"""Python environments with the packages of the running one: all of them, or those of an extra."""

from __future__ import annotations

import site
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

#: The roots of this project's import packages, in a tree.
SOURCES = ("server", "clients/python", "generated/python")


def layered(folder: Path, tree: Path) -> Path:
    """Make an environment and return its Python.

    It imports what is installed into it, then this project from a tree, then what the running environment has. So do
    the processes that it starts, whatever their PYTHONPATH.
    """
    own = _new(folder)
    paths = [*(tree / source for source in SOURCES), *site.getsitepackages()]
    (own / "layers.pth").write_text("".join(f"{path}\n" for path in paths))
    return folder / "bin" / "python"


def with_extra(folder: Path, tree: Path, extra: str) -> Path:
    """Make an environment with an extra of this project and what it requires, and return its Python.

    It has links to the packages of the running environment, and no others: no SDK, if the extra requires none.
    """
    own = _new(folder)
    for required in _required("qonduit-quantum", frozenset({extra})).values():
        for name in {path.parts[0] for path in required.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (own / name).exists():
                (own / name).symlink_to(Path(str(required.locate_file(name))))
    (own / "sources.pth").write_text("".join(f"{tree / source}\n" for source in SOURCES))
    return folder / "bin" / "python"


def _new(folder: Path) -> Path:
    """Make an empty environment and return the folder of its packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=300)
    (own,) = folder.glob("lib/python*/site-packages")
    return own


def _required(name: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """Return what a package with extras requires, directly or not, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = distribution(name)
        if name != "qonduit-quantum":
            found[name] = package
        for line in package.requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found
