# SPDX-License-Identifier: Apache-2.0
"""The process pool and memory: grants are freed when tasks, workers or fork servers end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.execution.executor import LossKind
from qonduit_server.execution.local.pool import ProcessPool
from tests.unit.execution.pool_fixture import PATIENCE, Gate, RecordingListener, pool, task

GIB = 1024**3
#: Two of these do not fit.
BUDGET, NEED = 10 * GIB, 6 * GIB


def kinds(listener: RecordingListener, job_id: int) -> list[str | None]:
    return [event.WhichOneof("event") for event in listener.received[job_id]]


def test_a_task_that_requests_memory_reports_one_run() -> None:
    with pool(memory_bytes=BUDGET) as (made, listener):
        made.submit([task(1, f"need {NEED} progress 2"), task(2)])
        listener.wait_ended(1, 2)
        before, after = ["started", "program_started"], ["program_succeeded", "progress", "finished"]
        assert kinds(listener, 1) == [*before, "declined", *["progress"] * 3, *after]


def end_by_itself(made: ProcessPool, listener: RecordingListener, gate: Gate) -> None:
    gate.open()


def cancel_it(made: ProcessPool, listener: RecordingListener, gate: Gate) -> None:
    made.cancel(1, 1)


def kill_its_worker(made: ProcessPool, listener: RecordingListener, gate: Gate) -> None:
    for pid in made.processes()["TEST"][1:]:
        os.kill(pid, signal.SIGKILL)


def kill_the_fork_server(made: ProcessPool, listener: RecordingListener, gate: Gate) -> None:
    os.kill(made.processes()["TEST"][0], signal.SIGKILL)


@pytest.mark.parametrize("end", [end_by_itself, cancel_it, kill_its_worker, kill_the_fork_server])
def test_however_a_large_task_ends_the_next_one_runs(
    tmp_path: Path, end: Callable[[ProcessPool, RecordingListener, Gate], None]
) -> None:
    gate = Gate(tmp_path)
    with pool(memory_bytes=BUDGET) as (made, listener):
        made.submit([task(1, f"need {NEED} wait {gate.path}")])
        listener.wait_granted(1)
        made.submit([task(2, f"need {NEED}"), task(3, f"need {NEED}")])
        listener.wait_short(2, 3)
        end(made, listener, gate)
        listener.wait_ended(1, 2, 3)
        assert listener.endings[0] == 1
        assert set(listener.losses) <= {1}
        assert kinds(listener, 2).count("log") == 1
        assert kinds(listener, 2).count("program_started") == 1


def test_a_time_limit_frees_memory_and_does_not_run_while_a_task_waits_for_it(tmp_path: Path) -> None:
    with pool(workers=3, memory_bytes=BUDGET) as (made, listener):
        made.submit([task(1, f"need {NEED} wait {Gate(tmp_path).path}", seconds=3.0)])
        listener.wait_granted(1)
        made.submit([task(2, f"need {NEED}", seconds=2.5)])
        listener.wait_ended(1, 2)
        assert listener.losses[1].kind is LossKind.TIME_LIMIT
        assert listener.endings == [1, 2]
        assert "log" in kinds(listener, 2)
        assert 2 in listener.finished


def test_a_broken_provider_fails_tasks_that_wait_for_memory(tmp_path: Path) -> None:
    with pool("TEST", "OTHER", workers=3, memory_bytes=BUDGET) as (made, listener):
        made.submit([task(1, f"need {NEED} wait {Gate(tmp_path).path}")])
        listener.wait_granted(1)
        made.submit([task(2, f"need {NEED}", provider="OTHER"), task(3, provider="OTHER")])
        listener.wait_short(2)
        listener.wait_ended(3)
        with made._lock:  # as when its fork server no longer starts
            other = made._providers["OTHER"]
            other.command = ["/nonexistent"]
            assert other.process is not None
            os.kill(other.process.pid, signal.SIGKILL)
        listener.wait_ended(2)
        assert listener.finished[2].finished.failure.reason == "SDK_UNAVAILABLE"
        assert 1 not in listener.finished


@pytest.mark.parametrize("provider", ["IBM", "AWS", "GOOGLE"])
def test_a_simulator_that_exceeds_its_estimate_fails_and_its_worker_survives(provider: str) -> None:
    """The estimate gets no limit, so it is too low; the process may take 64 MiB, and the state takes 256."""

    def of(job_id: int, qubits: int) -> Task:
        last = qubits - 1  # gates that affect no measured qubit are removed
        gates = (
            "h q;\nt q;\n" + "".join(f"cx q[{q}],q[{q + 1}];\n" for q in range(last)) + f"measure q[{last}] -> c[0];\n"
        )
        text = f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}];\ncreg c[1];\n{gates}'
        made = task(job_id, provider=provider)
        made.device = {"IBM": "aer_simulator", "AWS": "local_simulator", "GOOGLE": "cirq_simulator"}[provider]
        made.spec.type = JobType.JOB_TYPE_RUNNER
        del made.programs[:]
        made.programs.append(TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text=text))
        return made

    made, listener = ProcessPool([provider], 1, memory_limit_bytes=64 * 1024**2), RecordingListener()
    made.launch()
    try:
        made.start(listener)
        made.submit([of(1, 2), of(2, 24), of(3, 2)])
        listener.wait_ended(1, 2, 3)
    finally:
        made.stop(PATIENCE)
    assert not listener.losses
    (failed,) = [e.program_failed.failure for e in listener.received[2] if e.HasField("program_failed")]
    assert (failed.reason, failed.category) == ("MEMORY_LIMIT", FailureCategory.FAILURE_CATEGORY_LIMIT)
    assert "more memory than one task may use" in failed.message
    for job_id in (1, 3):
        assert "program_succeeded" in kinds(listener, job_id)


def test_the_kernel_prefers_workers_to_the_server_and_the_fork_servers() -> None:
    with pool() as (made, listener):
        made.submit([task(1)])
        listener.wait_ended(1)
        forkserver = made.processes()["TEST"][0]
        scores = [int(Path(f"/proc/{p}/oom_score_adj").read_text()) for p in (os.getpid(), forkserver, listener.pid(1))]
        assert scores[0] == scores[1] < scores[2]
