# SPDX-License-Identifier: Apache-2.0
"""Sources of a command: files, "-" for standard input, or a pipe if no file is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qonduit_client.program_messages import Program


def or_pipe(sources: Sequence[str]) -> tuple[str, ...]:
    """Return the named sources; without any, standard input unless it is a terminal."""
    return tuple(sources) or (() if sys.stdin is None or sys.stdin.isatty() else ("-",))


def read_sources(sources: Sequence[str], *, why: str = "") -> list[Program]:
    """Read the programs of these files; "-" is standard input.

    Args:
        sources: their names.
        why: the error message if standard input is empty.

    Raises:
        click.UsageError: a file cannot be read, or standard input is empty.
    """
    if list(sources).count("-") > 1:
        raise click.UsageError("- (standard input) can be read once: pass files for the other programs")
    programs: list[Program] = []
    for source in sources:
        if source == "-":
            text = sys.stdin.buffer.read()
            if why and not text:
                raise click.UsageError(why)
            programs.append(text)
            continue
        path = Path(source)
        try:
            with path.open("rb"):
                programs.append(path)
        except OSError as error:
            raise click.UsageError(f"{source}: {error.strerror or error}; {_next_step(path)}") from None
    return programs


def _next_step(path: Path) -> str:
    """Return the next step for an unreadable file: a file with a similar name, if there is one."""
    from qonduit_client.cli.error_messages import did_you_mean

    if path.is_dir():
        return f"pass the files in it, as {path}/*.qasm"
    try:
        beside = [each.name for each in path.parent.iterdir() if each.is_file()][:1000]
    except OSError:
        return "check the folder, or pass - to read from standard input"
    close = did_you_mean(path.name, beside)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return "check its name and permissions, or pass - to read from standard input"
