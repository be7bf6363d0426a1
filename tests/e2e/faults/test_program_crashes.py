# SPDX-License-Identifier: Apache-2.0
"""The server of a program dies at each step of the submission of a child: each child exists once."""

from __future__ import annotations

import functools
import importlib
import os
import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from qonduit_client import Client
from tests.benchmarks.programs import BELL
from tests.e2e.faults.points import KillPoint
from tests.e2e.faults.program_points import PROGRAM_POINTS
from tests.e2e.faults.trap import Trap
from tests.server_process import serving

SEED = int(os.environ.get("CRASH_SEED", "1"))
#: More rounds kill more calls.
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "0"))
DEVICE = "IBM/aer_simulator"
SECONDS = 240.0
CHILDREN = 4
PROGRAM = f"""
from qonduit_client import Client
def main(backend, user_messenger):
    client = Client()
    return [dict(client.run({BELL!r}, shots=50 + n).result().counts) for n in range({CHILDREN})]
"""


@pytest.mark.parametrize("point", PROGRAM_POINTS, ids=lambda point: point.name)
def test_every_point_names_an_existing_function(point: KillPoint) -> None:
    assert callable(functools.reduce(getattr, point.function.split("."), importlib.import_module(point.module)))


@pytest.mark.timeout(540)
def test_each_child_exists_once_whatever_dies(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    chosen = [(point, chance.randint(1, point.often)) for point in PROGRAM_POINTS for _ in range(ROUNDS)]
    if not ROUNDS:
        # The child is stored, and neither the program nor the server's memory knows it.
        named = {point.name: point for point in PROGRAM_POINTS}
        chosen = [(named["child-committed"], 3), (named["child-not-committed"], 2)]
    print(f"CRASH_SEED={SEED} draws the same kills again: {[(point.name, n) for point, n in chosen]}")
    (tmp_path / "program.py").write_text(PROGRAM)
    hit = threading.Event()
    trap = Trap(tmp_path / "trap", lambda *_: hit.set(), PROGRAM_POINTS)
    settings = {
        "providers": "IBM",
        "workers": "1",
        "enable_python_source": "PYTHON",
        "max_attempts": "100",
    }
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    programs: list[int] = []
    kills: list[str] = []
    for point, number in chosen:
        hit.clear()
        with serving(database, environment=trap.environment, **settings) as server:
            with Client(server.target) as client:
                programs.append(client.programs.run(tmp_path / "program.py", DEVICE).id)
            trap.arm(point.name, number)
            if hit.wait(60):
                kills.append(point.name)
                assert server.process.wait(100) == -9
            trap.disarm(point.name)
    with serving(database, environment=trap.environment, **settings) as server, Client(server.target) as client:
        for program_id in programs:
            program = client.programs.job(program_id)
            output = program.output(timeout=SECONDS)
            children = sorted(program.children(), key=lambda job: job.id)
            assert [child.shots for child in children] == [50, 51, 52, 53], (program_id, kills)
            assert [dict(client.job(child.id).result().counts) for child in children] == output
    trap.close()
    print(f"kills: {Counter(kills)}")
    assert len(kills) >= len(chosen) // 2
