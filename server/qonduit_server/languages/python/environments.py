# SPDX-License-Identifier: Apache-2.0
"""Describes the Python environments for server programs by their files, without starting their Pythons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qonduit.v1.program_service_pb2 import PythonEnvironment

_METADATA: Final = ".dist-info"
#: Packages beyond it are left out.
_MAX_PACKAGES: Final = 2000


def describe(environments: Mapping[str, str]) -> list[PythonEnvironment]:
    """Return the version and the packages of each environment, which is given by its name and its Python."""
    return [_described(name, Path(python)) for name, python in sorted(environments.items())]


def _described(name: str, python: Path) -> PythonEnvironment:
    # Not resolved: the Python of a virtual environment is a link to that of its base.
    prefix = python.parent.parent
    folders = sorted(prefix.glob("lib/python3*/site-packages"))
    packages: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{_METADATA}"))[:_MAX_PACKAGES]:
            package, _, version = path.name.removesuffix(_METADATA).rpartition("-")
            packages[re.sub(r"[-_.]+", "-", package).lower()] = version
    versions = [folder.parent.name.removeprefix("python") for folder in folders]
    return PythonEnvironment(name=name, python_version=versions[0] if versions else "", packages=packages)
