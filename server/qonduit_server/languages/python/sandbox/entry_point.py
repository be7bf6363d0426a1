# SPDX-License-Identifier: Apache-2.0
"""The main program of the sandbox: confines this process, runs a program's source, and writes its circuit as data.

It reads one JSON object from stdin: `language`, `source`, `inputs`, `qpy` (the latest supported version of QPY),
`parent` (a process id), `cache` (a directory), `memory_bytes` and `cpu_seconds`. It writes lines of JSON to stdout:
first {"ready": true} before the source runs, then one with either `language` and `size`, followed by `size` bytes, or
`reason`, `message`, `line` and `column`. The source's prints go to stderr. All output after `ready` is untrusted: the
source may have written it.
"""

from __future__ import annotations

import ast
import errno
import json
import linecache
import os
import sys
import traceback
import types
from typing import Any, NoReturn

from . import confinement, sdk_circuits

#: The file name of the source in tracebacks.
FILE = "<program>"
_MESSAGE_LIMIT = 1500
_HINT = "; it runs in a sandbox, without files, network, processes and threads"


def main() -> NoReturn:
    """Serve one request and end this process."""
    answers = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read())
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    try:
        enclosure = confinement.Confinement(request["parent"], request["cache"])
        sdks = sdk_circuits.wanted(request["language"], request["source"])
        enclosure.lock(request["memory_bytes"], request["cpu_seconds"])
    except (OSError, ImportError) as error:
        write_answer(answers, {"reason": "PYTHON_SOURCE_UNAVAILABLE", "message": str(error)})
        os._exit(os.EX_UNAVAILABLE)
    write_answer(answers, {"ready": True})
    body = b""
    try:
        left = _run(request["source"], request["inputs"])
        circuit, sdk = sdk_circuits.find(left, sdks)
        data = _write(circuit, sdk, request["qpy"])
        answer, body = {"language": data.language, "size": len(data.body)}, data.body
    except _Mistake as mistake:
        answer = mistake.answer
    except sdk_circuits.NoCircuit as error:
        answer = {"reason": "NO_CIRCUIT", "message": str(error)}
    except MemoryError:
        answer = {"reason": "SANDBOX_MEMORY"}
    write_answer(answers, answer, body)
    # Without exit handlers, which the source may have registered.
    os._exit(os.EX_OK)


class _Mistake(Exception):
    """An error of the source."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__()
        self.answer = answer


def write_answer(answers: int, answer: dict[str, Any], body: bytes = b"") -> None:
    """Write an answer and its payload."""
    rest = memoryview(json.dumps(answer).encode() + b"\n" + body)
    while rest:
        rest = rest[os.write(answers, rest) :]


def _run(source: str, inputs: dict[str, object]) -> dict[str, Any]:
    """Run a source as a main program and return the variables that it assigns."""
    module = types.ModuleType("__main__")
    module.__dict__["inputs"] = inputs
    sys.modules["__main__"] = module
    sys.argv = [FILE]
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    names: set[str] = set()
    try:
        tree = parsed(source)
        names = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        exec(compile(tree, FILE, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what this file is for
    except SystemExit as error:
        if error.code not in (None, 0):
            raise _Mistake(answer_of(error, f"the source ended itself with sys.exit({error.code!r})")) from None
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - a source may raise anything; the answer has the line
        raise _Mistake(answer_of(error)) from None
    # Without imported names: `from SDK import *` imports circuits and modules.
    return {name: thing for name, thing in module.__dict__.items() if name in names}


def parsed(source: str) -> ast.Module:
    """Return the parsed source. Raises SyntaxError."""
    try:
        return ast.parse(source, FILE)
    except ValueError as error:  # older versions of Python raise it for a null character
        raise SyntaxError(str(error), (FILE, 0, 0, "")) from None


def _write(circuit: Any, sdk: sdk_circuits.Sdk, latest: int) -> sdk_circuits.Data:
    try:
        return sdk.write(circuit, latest)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - the circuit's methods may be the source's own
        answer = answer_of(error)
        answer["reason"] = "UNSUPPORTED_CONSTRUCT"
        answer["message"] = f"{sdk.title} failed to export the circuit: {answer['message']}"
        raise _Mistake(answer) from None


def answer_of(error: BaseException, what: str = "") -> dict[str, Any]:
    """Return the error and its location in the source."""
    line = column = 0
    reason = "PYTHON_ERROR"
    if isinstance(error, SyntaxError) and error.filename in (None, FILE):
        reason, what = "SYNTAX_ERROR", f"Python: {error.msg}"
        line, column = error.lineno or 0, error.offset or 0
    else:
        for frame, number in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == FILE:
                line = number or 0
    if not what:
        try:
            text = str(error)
        except BaseException:  # noqa: BLE001 - so may the error's
            text = "(its message is unavailable)"
        what = f"{type(error).__name__}: {text}" if text else type(error).__name__
        if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EFBIG):
            what += _HINT
        if isinstance(error, RuntimeError) and "start new thread" in text:
            what += _HINT
    return {"reason": reason, "message": what[:_MESSAGE_LIMIT], "line": line, "column": column}
