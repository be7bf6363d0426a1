# SPDX-License-Identifier: Apache-2.0
"""Tasks with a credential in the process pool: alone at a worker, which ends with the task."""

from __future__ import annotations

from pathlib import Path

from qonduit.execution.v1.task_pb2 import Task
from tests.unit.execution.pool_fixture import Gate, pool, task, wait_gone


def with_credential(job_id: int, text: str = "noop") -> Task:
    made = task(job_id, text)
    made.credential = f"credential of {job_id}"
    return made


def test_a_worker_ends_after_a_task_with_a_credential() -> None:
    with pool(workers=1) as (made, listener):
        made.submit([task(1), task(2), with_credential(3), with_credential(4), task(5), task(6)])
        listener.wait_ended(*range(1, 7))
        pids = [listener.pid(job_id) for job_id in range(1, 7)]
        assert not listener.losses
        assert pids[0] == pids[1]
        assert pids[4] == pids[5]
        assert len({pids[2], pids[3], pids[4]}) == 3
        wait_gone([pids[2], pids[3]])
        # The pool does not take them for failed starts.
        made.submit([with_credential(job_id) for job_id in range(10, 20)])
        listener.wait_ended(*range(10, 20))
        assert len({listener.pid(job_id) for job_id in range(10, 20)}) == 10


def test_no_task_waits_at_a_worker_with_a_credential_or_with_others(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(workers=1) as (made, listener):
        # Short tasks, so that the worker is sent several ahead.
        made.submit([task(job_id) for job_id in range(1, 40)])
        listener.wait_ended(*range(1, 40))
        made.submit([with_credential(50, f"wait {gate.path}"), task(51), with_credential(52)])
        listener.wait_begun(50)
        with made._lock:
            (worker,) = made._providers["TEST"].ready
            assert list(worker.held) == [(50, 1)]
        gate.open()
        listener.wait_ended(50, 51, 52)
        assert not listener.losses
