# SPDX-License-Identifier: Apache-2.0
"""The memory of a machine is one budget: interactive tasks and the tasks of jobs stay within it together."""

from __future__ import annotations

import pytest

from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.memory_shares import memory_shares

GIB = 1024**3


def _options(total: float, task: float = 0.0) -> ExecutorOptions:
    return ExecutorOptions(
        providers=(), workers=1, memory_bytes=int(total * GIB), task_memory_bytes=int((task or total) * GIB)
    )


@pytest.mark.parametrize("total", [0.001, 0.5, 1, 1.5, 3, 6, 12, 18, 48, 384])
def test_all_tasks_together_stay_within_the_memory_of_the_machine(total: float) -> None:
    shares = memory_shares(_options(total))
    assert shares.workers >= 1
    assert shares.process_bytes > 0
    assert 2 * shares.workers * shares.process_bytes + shares.job_bytes == int(total * GIB)
    # The default limit of one task is two thirds of it.
    assert shares.job_bytes >= int(total * GIB) * (2 / 3 if total >= 6 else 1 / 2)


@pytest.mark.parametrize(
    ("total", "task", "workers", "process"),
    [(6, 4, 1, 0.75), (12, 8, 2, 0.75), (384, 256, 2, 2), (384, 0.25, 2, 0.25), (1.5, 1, 1, 0.375), (0, 8, 2, 2)],
)
def test_processes_have_what_a_program_needs(total: float, task: float, workers: int, process: float) -> None:
    shares = memory_shares(_options(total, task))
    assert (shares.workers, shares.process_bytes) == (workers, int(process * GIB))


def test_a_machine_without_a_limit_of_memory_runs_jobs_without_one() -> None:
    assert memory_shares(_options(0)).job_bytes == 0
