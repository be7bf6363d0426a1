# SPDX-License-Identifier: Apache-2.0
"""The cores and the memory of a job in Slurm, and that the limits of processes follow them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qonduit_server.process.memory import usable_memory
from qonduit_server.process.slurm_allocation import allocated_cores, allocated_memory

MIB = 1024**2


@pytest.mark.parametrize(
    ("variables", "cores", "memory"),
    [
        ({}, [], []),
        ({"SLURM_CPUS_ON_NODE": "8"}, [8], []),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_CPU": "100"}, [8, 2], [200 * MIB]),
        ({"SLURM_CPUS_ON_NODE": "2", "SLURM_MEM_PER_NODE": "4000"}, [2], [4000 * MIB]),
        # All memory of the node, and values that Slurm does not write.
        ({"SLURM_MEM_PER_NODE": "0"}, [], []),
        ({"SLURM_CPUS_ON_NODE": "x", "SLURM_MEM_PER_NODE": "-1"}, [], []),
    ],
)
def test_the_limits_of_a_job(variables: dict[str, str], cores: list[int], memory: list[int]) -> None:
    assert list(allocated_cores(variables)) == cores
    assert list(allocated_memory(variables)) == memory


def test_a_process_uses_no_more_than_its_job_has() -> None:
    program = (
        "from qonduit_server.settings import Settings\n"
        "s = Settings()\n"
        "print(s.workers, s.max_memory_bytes, s.max_task_memory_bytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "400"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert usable_memory() > 400 * MIB
    assert done.stdout.split() == ["1", str(300 * MIB), str(200 * MIB)]
