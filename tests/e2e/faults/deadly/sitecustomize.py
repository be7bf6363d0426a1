# SPDX-License-Identifier: Apache-2.0
"""Kill or stop the process at an armed call: Python imports this module when it starts.

The folder that DEADLY names holds `points.json`, which lists the functions with a point, and a pipe for each. Each
call of such a function reads one byte from its pipe, if there is one, and executes that action. So the actions can be
changed while processes run, count the calls of all processes together, and hit exactly one of them.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_FOLDER = os.environ.get("DEADLY", "")
#: Killed, stopped, or only reported.
_ACTIONS = {b"K": signal.SIGKILL, b"S": signal.SIGSTOP, b"T": None}


def _ends_a_job(arguments: Sequence[Any], _: Any) -> bool:
    """Return whether a notification reports that a job has ended."""
    return any(event.terminal for events in arguments[1].events.values() for event in events)


def _is_submit(arguments: Sequence[Any], _: Any) -> bool:
    """Return whether a call is a submit."""
    return arguments[1] in ("JobService/CreateJob", "JobService/RunJob")


def _refuses(_: Sequence[Any], result: Any) -> bool:
    """Return whether an event was refused."""
    return bool(result)


_WHEN: dict[str, Callable[[Sequence[Any], Any], bool]] = {
    "": lambda *_: True,
    "ends a job": _ends_a_job,
    "is a submit": _is_submit,
    "refuses": _refuses,
}


class _Trap:
    """One function with a point: the action of its calls, before or after it."""

    def __init__(self, point: dict[str, str]) -> None:
        self._name = point["name"]
        self._moment = point["moment"]
        self._when = _WHEN[point["when"]]
        self._pipe = os.open(os.path.join(_FOLDER, self._name), os.O_RDONLY | os.O_NONBLOCK)  # noqa: PTH118

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function."""

        @functools.wraps(original)
        def deadly(*arguments: Any, **named: Any) -> Any:
            if self._moment == "before":
                self._fire(arguments, None)
            result = original(*arguments, **named)
            if self._moment == "after":
                self._fire(arguments, result)
            return result

        return deadly

    def _fire(self, arguments: Sequence[Any], result: Any) -> None:
        if not self._when(arguments, result):
            return
        try:
            letter = os.read(self._pipe, 1)
        except BlockingIOError:
            return
        if letter in _ACTIONS:
            hits = os.open(os.path.join(_FOLDER, "hits"), os.O_WRONLY)  # noqa: PTH118
            os.write(hits, f"{self._name} {os.getpid()}\n".encode())
            os.close(hits)
            if (number := _ACTIONS[letter]) is not None:
                os.kill(os.getpid(), number)


def _set(module: ModuleType, point: dict[str, str]) -> None:
    *path, name = point["function"].split(".")
    holder: Any = functools.reduce(getattr, path, module)
    wrapped = _Trap(point).around(getattr(holder, name))
    try:
        setattr(holder, name, wrapped)
    except AttributeError:  # a frozen dataclass
        object.__setattr__(holder, name, wrapped)


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the functions of a module once it is loaded."""

    def __init__(self, points: Sequence[dict[str, str]]) -> None:
        self._points: dict[str, list[dict[str, str]]] = {}
        for point in points:
            self._points.setdefault(point["module"], []).append(point)
        for name in self._points.keys() & sys.modules.keys():
            self._set_all(sys.modules[name])

    def _set_all(self, module: ModuleType) -> None:
        for point in self._points[module.__name__]:
            _set(module, point)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._points:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._set_all(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if _FOLDER:
    with open(os.path.join(_FOLDER, "points.json"), encoding="utf-8") as _file:  # noqa: PTH118, PTH123
        sys.meta_path.insert(0, _Finder(json.load(_file)))
