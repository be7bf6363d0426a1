# SPDX-License-Identifier: Apache-2.0
"""Checks the source of server programs in the sandbox, in the Python environment in which they run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from qonduit_server.errors import LimitError, ProgramError
from qonduit_server.languages.python.source_runner import (
    CPU_SECONDS,
    MEMORY_BYTES,
    PythonSource,
    SandboxProcess,
    cache_folder,
    text_of,
    unavailable,
)

_REASONS: Final = ("SYNTAX_ERROR", "NO_ENTRY_POINT")
#: Of all names of imports.
_IMPORTS_BYTES: Final = 2048


@dataclass(frozen=True)
class CheckedSource:
    """The findings in a source that can run.

    Attributes:
        entry_point: the function that runs; empty if the source runs as a script.
        imports: the modules that it imports, as many as fit into 2 KiB.
        python_version: of the environment.
    """

    entry_point: str
    imports: tuple[str, ...]
    python_version: str


def environment_python(sandbox: PythonSource, environment: str) -> str:
    """Return the Python interpreter of an environment for server programs. Raises ProgramError."""
    python = sandbox.environments.get(environment)
    if python is None:
        known = ", ".join(sorted(sandbox.environments)) or "none"
        raise ProgramError(
            "UNKNOWN_ENVIRONMENT",
            f"this worker has no Python environment {environment!r:.100} (python_environments); known: {known}",
        )
    return python


def check(
    sandbox: PythonSource, environment: str, source: str, entry_point: str, needed: Sequence[str] = ()
) -> CheckedSource:
    """Check a source without running it.

    Args:
        sandbox: has the environments.
        environment: the name of the environment.
        source: the source text.
        entry_point: the function to run; empty for `main`, or the source as a script.
        needed: further modules that the environment must have, as checks of outputs do.

    Raises:
        ProgramError: the source cannot run: its syntax, its entry point or an import is wrong.
        LimitError: the source is too large to be parsed.
    """
    request = {
        "source": source,
        "entry_point": entry_point,
        "needed": [*needed],
        "parent": os.getpid(),
        "cache": str(cache_folder()),
        "memory_bytes": MEMORY_BYTES,
        "cpu_seconds": CPU_SECONDS,
    }
    with SandboxProcess(environment_python(sandbox, environment), request, "program_check") as process:
        process.serve()
    response = process.answer()
    if response is None:
        if not process.ready:
            raise unavailable(process.printed.decode(errors="replace").strip()[-300:] or "its Python ended")
        raise LimitError("SANDBOX_TIME", "the check of the source did not end: write a smaller or flatter source")
    answer, _ = response
    if not process.ready:
        raise unavailable(text_of(answer.get("message")))
    return _understood(answer, environment)


def _place(line: int) -> str:
    return f"line {line}" if line else "it checks return_values and interim_results"


def _understood(answer: dict[str, Any], environment: str) -> CheckedSource:
    reason = answer.get("reason")
    if reason == "SANDBOX_MEMORY":
        raise LimitError("SANDBOX_MEMORY", "the check of the source needed too much memory: write a smaller source")
    if reason is not None or not isinstance(answer.get("entry_point"), str):
        line, column = (
            value if type(value) is int and 0 < value < 2**31 else 0
            for value in (answer.get("line"), answer.get("column"))
        )
        message = text_of(answer.get("message")) or "the source cannot be read"
        raise ProgramError(
            reason if reason in _REASONS else "PYTHON_ERROR",
            f"line {line}: {message}" if line else message,
            line=line,
            column=column,
        )
    if missing := answer.get("missing"):
        names = ", ".join(f"{each['module']} ({_place(each['line'])})" for each in missing)
        raise ProgramError(
            "MISSING_IMPORT",
            f"the Python environment {environment!r} lacks {names}: choose another environment "
            "(python_file_options.environment; ListLanguages lists their packages), or ask the operator to install it",
            line=missing[0]["line"],
        )
    imports: list[str] = []
    left = _IMPORTS_BYTES
    for name in answer["imports"]:
        left -= len(name.encode()) + 1
        if left < 0:
            break
        imports.append(name)
    return CheckedSource(answer["entry_point"], tuple(imports), text_of(answer.get("python"))[:40])
