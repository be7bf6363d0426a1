# SPDX-License-Identifier: Apache-2.0
"""The tests' own timeouts: one that only bounds hangs is at least a minute, for busy machines.

Timeouts below five seconds are meant to expire. Speed is asserted, not enforced by a timeout.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
#: Their `timeout` is how long a client retries an unreachable server, which tests let expire.
CLIENTS = {"Client", "connect", "Transport"}
#: Measurements and long runs depend on the machine.
ELSEWHERE = {"benchmarks", "soak", "watchers"}
MEANT_TO_RUN_OUT, ENOUGH, ENOUGH_FOR_A_TEST = 5, 60, 180


def names(node: ast.Assign | ast.AnnAssign) -> set[str]:
    """Return the assigned names, without leading underscores."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {ast.unparse(target).strip("_") for target in targets}


def short(tree: ast.AST) -> Iterator[tuple[int, float]]:
    """Yield line and seconds of every timeout that is too short."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            least = ENOUGH_FOR_A_TEST if name == "pytest.mark.timeout" else ENOUGH
            bounds = [word.value for word in node.keywords if word.arg == "timeout"]
            if name.rpartition(".")[2] in {"wait", "join", "result", "acquire", "communicate", "timeout"}:
                bounds += node.args[:1]
            if name.rpartition(".")[2] in CLIENTS:
                continue
        elif isinstance(node, ast.BinOp) and ast.unparse(node.left) == "time.monotonic()":
            bounds, least = [node.right], ENOUGH
        elif isinstance(node, ast.Assign | ast.AnnAssign) and names(node) & {"WAIT", "PATIENCE"}:
            bounds, least = [node.value] if node.value else [], ENOUGH
        else:
            continue
        for bound in bounds:
            seconds = bound.value if isinstance(bound, ast.Constant) else None
            if isinstance(seconds, int | float) and MEANT_TO_RUN_OUT <= seconds < least:
                yield node.lineno, seconds


def test_no_test_gives_up_early() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}: {seconds:g} s"
        for path in sorted(TESTS.rglob("*.py"))
        if path.relative_to(TESTS).parts[0] not in ELSEWHERE
        for line, seconds in short(ast.parse(path.read_text()))
    ]
    assert not found, "timeouts must be at least 60 s for busy machines, or less than 5 s if meant to expire"


def test_a_test_that_hangs_is_ended_late(pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("timeout")) >= 600
