# SPDX-License-Identifier: Apache-2.0
"""Checks a server program in the sandbox without running it: its syntax, its entry point and its imports.

It reads one JSON object from stdin: `source`, `entry_point` (empty for the default), `needed` (further modules),
`parent`, `cache`, `memory_bytes` and `cpu_seconds`. It writes lines of JSON to stdout: {"ready": true}, then one with
`entry_point`, `imports`, `missing` and `python`, or with `reason`, `message`, `line` and `column`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from . import confinement
from .entry_point import FILE, answer_of, parsed, write_answer

DEFAULT_ENTRY_POINT: Final = "main"
#: A source that imports it may run as a script, without an entry point.
SCRIPT_MODULE: Final = "qiskit_serverless"
#: The modules that the sandbox itself provides to server programs.
PROVIDED: Final = (SCRIPT_MODULE, "qiskit_ibm_runtime", "qonduit_client", "qonduit")
#: Bounds of an answer.
_MAX_IMPORTS: Final = 500
_NAME_CHARACTERS: Final = 100
#: The arguments that the entry point receives before the inputs: backend and user_messenger.
_ARGUMENTS: Final = 2
#: Import errors of these handlers do not reach the program.
_HANDLERS: Final = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


def main() -> NoReturn:
    """Check one program and end this process."""
    answers = os.dup(1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.read())
    try:
        confinement.Confinement(request["parent"], request["cache"]).lock(
            request["memory_bytes"], request["cpu_seconds"]
        )
    except OSError as error:
        write_answer(answers, {"reason": "PYTHON_SOURCE_UNAVAILABLE", "message": str(error)})
        os._exit(os.EX_UNAVAILABLE)
    write_answer(answers, {"ready": True})
    try:
        answer = check(request["source"], request["entry_point"], request["needed"])
    except MemoryError:
        answer = {"reason": "SANDBOX_MEMORY"}
    except RecursionError:
        answer = {"reason": "SYNTAX_ERROR", "message": "Python: the source is nested too deeply"}
    write_answer(answers, answer)
    os._exit(os.EX_OK)


def check(source: str, entry_point: str, needed: list[str]) -> dict[str, Any]:
    """Return the findings in a source, which needs further modules, or its error."""
    try:
        tree = parsed(source)
        compile(tree, FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        return answer_of(error)
    imports = list(dict.fromkeys(_imports(tree.body, required=True)))
    modules = sorted({name for name, _, _ in imports})
    found = entry_point_of(tree, entry_point)
    if found is None:
        wanted = entry_point or DEFAULT_ENTRY_POINT
        message = f"the source defines no function {wanted}(backend, user_messenger, **inputs)"
        if not entry_point:
            message += f", and it imports nothing of {SCRIPT_MODULE}"
        return {"reason": "NO_ENTRY_POINT", "message": message}
    missing = []
    for name, line, required in [*imports, *((each, 0, True) for each in needed)]:
        if required and (absent := _absent(name)):
            missing.append({"module": absent[:_NAME_CHARACTERS], "line": line})
    return {
        "entry_point": found,
        "imports": [name[:_NAME_CHARACTERS] for name in modules[:_MAX_IMPORTS]],
        "missing": missing[:20],
        "python": platform.python_version(),
    }


def entry_point_of(tree: ast.Module, wanted: str) -> str | None:
    """Return the function of a source to run; "" if the source runs as a script, None if it has neither form.

    Args:
        tree: the source.
        wanted: the name of the function; empty for the default.
    """
    names = {name: node for node in tree.body for name in _bound(node)}
    node = names.get(wanted or DEFAULT_ENTRY_POINT)
    if node is not None and _takes_arguments(node):
        return wanted or DEFAULT_ENTRY_POINT
    imported = {name.partition(".")[0] for name, _, _ in _imports(tree.body, required=True)}
    return "" if not wanted and SCRIPT_MODULE in imported else None


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of the module binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.If | ast.Try | ast.With):
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.stmt):
                yield from _bound(each)


def _takes_arguments(node: ast.stmt) -> bool:
    """Return whether a function takes the arguments of an entry point; other values may take them."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    arguments = node.args
    return arguments.vararg is not None or len(arguments.posonlyargs) + len(arguments.args) >= _ARGUMENTS


def _imports(nodes: list[Any], *, required: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield the imported modules, their lines, and whether the program fails without them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, required) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno, required
        elif isinstance(node, ast.Try) and any(map(_catches_imports, node.handlers)):
            yield from _imports(node.body, required=False)
            yield from _imports([*node.handlers, *node.orelse, *node.finalbody], required=required)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _imports(node.body, required=False)
            yield from _imports(node.orelse, required=required)
        elif not isinstance(node, ast.expr):
            yield from _imports(list(ast.iter_child_nodes(node)), required=required)


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(each, ast.Name) and each.id in _HANDLERS for each in ast.walk(handler.type))


def _absent(module: str) -> str:
    """Return the part of a module's name that this environment lacks; empty if it has the module."""
    if module.startswith("."):
        return module  # a program is one file, without a package
    parts = module.split(".")
    if parts[0] in PROVIDED:
        return ""
    path: list[str] | None = None
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        loaded = sys.modules.get(name)
        if loaded is not None:
            path = list(getattr(loaded, "__path__", []))
            continue
        spec = _spec(name, path)
        if spec is None:
            return "" if depth > 1 and _defined_at_run_time(name) else name
        path = list(spec.submodule_search_locations or [])
    return ""


def _spec(name: str, path: list[str] | None) -> Any:
    """Find a module without importing its package."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, path)) is not None:
            return spec
    return None


def _defined_at_run_time(name: str) -> bool:
    """Return whether a package of the environment defines a submodule when it is imported."""
    try:
        importlib.import_module(name.rpartition(".")[0])
    except BaseException:  # noqa: BLE001 - a package may raise anything
        return False
    return name in sys.modules
