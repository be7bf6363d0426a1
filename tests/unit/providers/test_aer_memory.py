# SPDX-License-Identifier: Apache-2.0
"""What a method is said to take is what it takes."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from qiskit.circuit import QuantumCircuit

from qonduit_server.ir.circuit import Outcome
from qonduit_server.process.memory import return_large_blocks
from qonduit_server.providers.aer import aer_methods as methods
from tests.unit.providers.aer_samples import DEVICE, aer, compiled, ghz, layered, noisy, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak memory of a process")

#: What a run takes beside its states.
SLACK = 4 * 1024**2


def resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


CASES: Final[list[tuple[QuantumCircuit, QuantumCircuit, dict[str, object], float]]] = [
    (noisy(ghz(10)), noisy(ghz(4)), {"method": methods.DENSITY_MATRIX}, 0.9),
    (noisy(ghz(18)), noisy(ghz(4)), {"method": methods.TRAJECTORIES}, 0.4),
    (layered(21, 1), layered(4, 1), {"floating_point": "single"}, 0.9),
    (layered(26, 12), layered(4, 1), {"method": methods.MATRIX_PRODUCT_STATE, "max_bond_dimension": 64}, -1.0),
]


def measured(circuit: QuantumCircuit, small: QuantumCircuit, options: dict[str, object]) -> tuple[int, int]:
    """Return the bytes that a run takes in this process, and those that it is said to take."""
    return_large_blocks()  # as a worker does
    run(small, 20, **options)
    program = compiled(circuit, 8, **options)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    *_, outcome = aer().run(DEVICE, [program], 8, 1)
    assert isinstance(outcome, Outcome)
    return resident("VmHWM") - before, program.memory_bytes


@pytest.fixture(scope="module")
def figures() -> list[tuple[int, int]]:
    """Measure in a process of its own: one that ran other tests reuses the memory that they returned."""
    command = [sys.executable, "-m", "tests.unit.providers.test_aer_memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [(taken, said) for taken, said in json.loads(done.stdout)]


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=["-".join(map(str, options.values())) for _, _, options, _ in CASES]
)
def test_a_run_takes_no_more_than_was_said(figures: list[tuple[int, int]], number: int) -> None:
    taken, said = figures[number]
    assert CASES[number][3] * said < taken <= said + SLACK


if __name__ == "__main__":
    print(json.dumps([measured(circuit, small, options) for circuit, small, options, _ in CASES]))
