# SPDX-License-Identifier: Apache-2.0
"""The operator's command `qonduit environment create`: builds a Python environment for server programs."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import click

from qonduit_server.environment_builds import build
from qonduit_server.operator_options import OperatorCommands
from qonduit_server.program_metadata import DEFAULT_ENVIRONMENT

#: The name is part of a setting: NAME=PATH,NAME=PATH.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@click.group(cls=OperatorCommands)
def environment() -> None:
    """Build Python environments for server programs."""


@environment.command()
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="A new folder. [default: a folder of this user]")
@click.option(
    "--requirements",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A requirements file with hashes. [default: NumPy, SciPy, Qiskit and its algorithms]",
)
@click.option("--python", default=sys.executable, help="The Python of the environment. [default: this one]")
def create(name: str, folder: Path | None, requirements: Path | None, python: str) -> None:
    """Build the environment NAME from a locked list of packages, and print the setting that offers it.

    Uses uv if it is installed, else pip, with their configuration. Only packages with a hash of the list are installed,
    as wheels: no code of a package runs.
    """
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"NAME must contain letters, digits, '.', '_' and '-' only, got {name[:80]!r}")
    if requirements is None and name != DEFAULT_ENVIRONMENT:
        raise click.UsageError(f"only `{DEFAULT_ENVIRONMENT}` has a list of packages: pass --requirements for {name}")
    target = (folder or _default_folder(name)).absolute()
    if target.exists():
        raise click.UsageError(f"{target} exists; choose a new --folder, or remove it")
    try:
        _build(target, requirements, python)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    executable = target / "bin" / "python"
    click.echo(f"environment {name}: {_count(executable)} packages in {target}")
    click.echo(f"offer it: qonduit serve --enable-python-source PYTHON --python-environments {name}={executable}")


def _default_folder(name: str) -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "qonduit" / "environments" / name


def _build(target: Path, requirements: Path | None, python: str) -> None:
    with as_file(files("qonduit_server") / "python_environments" / "default.lock") as locked:
        build(
            target, requirements or locked, lambda line: click.echo(f"+ {line}", err=True), python=python, wheels=True
        )


def _count(executable: Path) -> int:
    from qonduit_server.languages.python.environments import describe

    (found,) = describe({"": str(executable)})
    return len(found.packages)
