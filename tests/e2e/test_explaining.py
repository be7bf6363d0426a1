# SPDX-License-Identifier: Apache-2.0
"""Diagnostics of a job for operators: tracebacks and stderr of workers, log lines of its steps, the list of workers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from click.testing import CliRunner

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2 import TranslateProgramRequest
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2 import ListWorkersRequest, Worker, WorkerState
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_client.cli import commands
from tests.benchmarks.programs import BELL, layered
from tests.server_process import Server, log_lines, serving

PATIENCE = 60.0
#: An SDK and a reader that fail, in processes of the server that load this at their start.
BROKEN = """
import sys
if "qonduit_server.worker.forkserver" in " ".join(sys.orig_argv):
    from qonduit_server.providers.aer.aer_simulator import AerSimulator
    from qonduit_server.languages.registry import Languages
    print("the fork server speaks", file=sys.stderr, flush=True)
    run, write = AerSimulator.run, Languages.write
    def breaking(self, device, prepared, shots, seed):
        if shots != 13:
            return run(self, device, prepared, shots, seed)
        print("the worker speaks", file=sys.stderr, flush=True)
        raise ZeroDivisionError("deep inside of the SDK")
    def writing(self, target, circuit):
        raise ZeroDivisionError("deep inside of a writer")
    AerSimulator.run, Languages.write = breaking, writing
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose SDK fails for jobs of 13 shots, and whose writers always fail; it logs everything."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "sitecustomize.py").write_text(BROKEN)
    with serving(
        f"sqlite:///{folder / 'q.sqlite3'}",
        log=folder / "log.jsonl",
        environment={"PYTHONPATH": str(folder)},
        log_level="debug",
        providers="IBM",
        workers="2",
        # A low value, so that a large job is declined once and requests more.
        max_memory_bytes=str(512 * 1024**2),
        max_task_memory_bytes=str(512 * 1024**2),
    ) as server:
        yield server


def request(shots: int, text: str = BELL) -> calls.RunJobRequest:
    made = calls.RunJobRequest(job=Job(shots=shots), device="IBM/aer_simulator")
    made.deployment.programs.add(quantum_circuit=text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
    return made


def test_an_exception_inside_a_worker_is_in_the_log_only(broken: Server) -> None:
    with grpc.insecure_channel(broken.target) as channel:
        events = [reply.event for reply in JobServiceStub(channel).RunJob(request(13), timeout=PATIENCE)]
    job = events[-1].state_change.job
    assert job.failure.category == FailureCategory.FAILURE_CATEGORY_INTERNAL
    assert job.failure.message == "ZeroDivisionError: deep inside of the SDK"
    assert not [event for event in events if "Traceback" in str(event)]
    (line,) = log_lines(broken, lambda line: line["event"] == "exception in a worker" and line.get("job_id") == job.id)
    assert (line["attempt"], line["reason"], line["level"]) == (1, "INTERNAL", "error")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ZeroDivisionError: deep inside of the SDK\n")


def test_an_exception_while_translating_is_in_the_log(broken: Server) -> None:
    asked = TranslateProgramRequest(target_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    asked.program.quantum_circuit = BELL
    asked.program.assembler_language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
    with grpc.insecure_channel(broken.target) as channel, pytest.raises(grpc.RpcError) as raised:
        ProgramServiceStub(channel).TranslateProgram(asked, timeout=PATIENCE)
    assert "Traceback" not in str(raised.value.details())
    (line,) = log_lines(broken, lambda line: line["event"] == "exception in a worker" and "translation" in line)
    assert "ZeroDivisionError: deep inside of a writer" in line["exception"]


def test_stderr_of_processes_is_in_the_log_with_provider_and_pid(broken: Server) -> None:
    with grpc.insecure_channel(broken.target) as channel:
        list(JobServiceStub(channel).RunJob(request(13), timeout=PATIENCE))
    spoke = log_lines(broken, lambda line: line.get("output") == "the worker speaks")[-1]
    assert (spoke["event"], spoke["provider"], spoke["level"]) == ("worker wrote to stderr", "IBM", "warning")
    with grpc.insecure_channel(broken.target) as channel:
        workers = SystemServiceStub(channel).ListWorkers(ListWorkersRequest(), timeout=PATIENCE).workers
    assert spoke["pid"] in {worker.pid for worker in workers}
    output = log_lines(
        broken, lambda line: line.get("output") == "the fork server speaks" and line["provider"] == "IBM"
    )[0]
    assert output["event"] == "fork server wrote to stderr"
    assert output["pid"] not in {0, *(worker.pid for worker in workers)}


def test_a_running_job_is_described_by_the_list_of_workers_and_by_the_log(broken: Server) -> None:
    with grpc.insecure_channel(broken.target) as channel:
        jobs, system = JobServiceStub(channel), SystemServiceStub(channel)
        long = request(100, layered(24, 200, seed=1))
        made = calls.CreateJobRequest(job=long.job, device=long.device, deployment=long.deployment)
        job_id = jobs.CreateJob(made, timeout=PATIENCE).job.id

        def working() -> Worker | None:
            workers = system.ListWorkers(ListWorkersRequest(), timeout=PATIENCE).workers
            assert [(w.provider, w.pid) for w in workers] == sorted((w.provider, w.pid) for w in workers)
            return next((w for w in workers if w.job_id == job_id and w.phase.startswith("running")), None)

        deadline = time.monotonic() + PATIENCE
        while (worker := working()) is None:
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        running = jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=PATIENCE).job
        shown = CliRunner().invoke(commands.qonduit, ["--server", broken.target, "workers", "--output", "json"])
        assert shown.exit_code == 0, shown.output
        table = CliRunner().invoke(commands.qonduit, ["--server", broken.target, "workers"]).stdout
        csv = CliRunner().invoke(commands.qonduit, ["--server", broken.target, "workers", "--output", "csv"]).stdout
        jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
        list(jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=PATIENCE))
    (start,) = log_lines(broken, lambda line: line["event"] == "serving")
    assert (worker.server, running.server) == (start["owner"], start["owner"])
    assert (worker.provider, worker.state) == ("IBM", WorkerState.WORKER_STATE_BUSY)
    assert worker.phase == "running program 1 of 1 (one evolution, no progress)"
    assert running.started_at.ToNanoseconds() - 10**9 < worker.since.ToNanoseconds() < time.time_ns()
    assert worker.memory_bytes > 10 * 1024**2
    assert {str(job_id), str(worker.pid), "busy"} <= set(table.split())
    assert csv.startswith("provider,pid,state,job_id,since,memory_bytes,phase,server,host,versions,release\n")
    assert [json.loads(line)["job_id"] for line in shown.stdout.splitlines() if json.loads(line).get("job_id")] == [
        job_id
    ]

    log_lines(broken, lambda line: line["event"] == "lost" and line["job_id"] == job_id)
    steps = log_lines(broken, lambda line: line.get("job_id") == job_id and "owner" in line)
    assert {line["owner"] for line in steps} == {start["owner"]}
    assert {line["attempt"] for line in steps} == {1}
    assert {line["level"] for line in steps} == {"debug"}
    logged_steps = [line["event"] for line in steps]
    # It needs more memory than the default grant of a task: it was declined once.
    assert logged_steps == ["claimed", "handed over", "started", "declined", "handed over", "started", "killed", "lost"]
    # A worker that is still being forked has no pid.
    assert {line["pid"] for line in steps if line.get("pid")} == {worker.pid}
    assert steps[-1]["kind"] == "cancelled"
