# SPDX-License-Identifier: Apache-2.0
"""Many jobs watched at once by few threads, on a server in this process that serves any number of jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial

import grpc
import pytest
from click.testing import CliRunner

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent, StateChange
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceServicer, add_JobServiceServicer_to_server
from qonduit.v1.result_service_pb2 import ListResultsRequest, ListResultsResponse
from qonduit.v1.result_service_pb2_grpc import ResultServiceServicer, add_ResultServiceServicer_to_server
from qonduit_client import Client
from qonduit_client.cli.commands import qonduit
from qonduit_client.errors import LimitExceeded, NotFound
from qonduit_client.multi_watch import WatchedJob, watch_all
from tests.interruptible import INTERRUPTIBLE
from tests.unit.client.peer import counted
from tests.unit.client.test_terminal import on_terminal

ENDS = {1: JobState.JOB_STATE_CANCELLED, 2: JobState.JOB_STATE_FAILED}


@dataclass
class Crowd(JobServiceServicer, ResultServiceServicer):
    """Serve any job id: the job runs until `go`, then ends as in `ENDS`. At most `most` streams were open at once."""

    go: threading.Event = field(default_factory=threading.Event)
    watching: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: int = 0
    most: int = 0
    target: str = ""

    def job(self, job_id: int, state: JobState | None = None) -> Job:
        """Return the job in its final state, or in another state."""
        state = ENDS.get(job_id, JobState.JOB_STATE_SUCCEEDED) if state is None else state
        job = Job(id=job_id, state=state, shots=10, last_sequence=3)
        job.program_runs.add(program_id=5, state=state)
        job.finished_at.GetCurrentTime()
        return job

    def GetJob(self, request: calls.GetJobRequest, context: grpc.ServicerContext) -> calls.GetJobResponse:  # noqa: N802
        return calls.GetJobResponse(job=self.job(request.id))

    def ListJobs(self, request: calls.ListJobsRequest, context: grpc.ServicerContext) -> calls.ListJobsResponse:  # noqa: N802
        running = [4, 3] if '"RUNNING"' in request.filter else []
        return calls.ListJobsResponse(jobs=[self.job(each) for each in running])

    def ListResults(self, request: ListResultsRequest, context: grpc.ServicerContext) -> ListResultsResponse:  # noqa: N802
        return ListResultsResponse(results=[counted({"0x1": 10}, job_id=request.job_id)])

    def WatchJob(self, request: calls.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[object]:  # noqa: N802
        if request.job_id > 1000:
            context.abort(grpc.StatusCode.NOT_FOUND, "job does not exist")
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        running = self.job(request.job_id, JobState.JOB_STATE_RUNNING)
        running.ClearField("finished_at")
        for sequence, change in enumerate((running, self.job(request.job_id)), 2):
            if sequence == 3:
                self.watching.release()
                self.go.wait(100)
                with self.lock:
                    self.open -= 1
            event = JobEvent(job_id=request.job_id, sequence=sequence)
            event.state_change.CopyFrom(StateChange(to_state=change.state, job=change))
            yield calls.WatchJobResponse(event=event)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """Serve jobs that end at once unless a test holds them."""
    crowd = Crowd()
    server = grpc.server(futures.ThreadPoolExecutor(80))
    add_JobServiceServicer_to_server(crowd, server)
    add_ResultServiceServicer_to_server(crowd, server)
    crowd.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    crowd.go.set()
    yield crowd
    crowd.go.set()
    server.stop(None).wait(100)


def test_a_hundred_jobs_with_few_threads(crowd: Crowd) -> None:
    crowd.most = 0
    seen: list[int] = []
    with Client(crowd.target) as client:
        several = [
            WatchedJob(lambda job=job: client.job(job), lambda event: seen.append(event.sequence))
            for job in range(3, 103)
        ]  # type: ignore[misc]
        watch_all(client, several, timeout=60, threads=5)
    assert [each.job.id for each in several if each.job is not None] == list(range(3, 103))
    assert len(seen) == 200
    assert crowd.most <= 5


def test_one_that_cannot_be_followed_does_not_stop_the_others(crowd: Crowd) -> None:
    with Client(crowd.target) as client:
        several = [WatchedJob(partial(client.job, job), lambda event: None) for job in (3, 2000, 4)]
        watch_all(client, several, timeout=60)
    assert isinstance(several[1].error, NotFound)
    assert all(each.job is not None for each in (several[0], several[2]))


def test_a_start_that_is_refused_for_now_is_tried_again(crowd: Crowd) -> None:
    full = [LimitExceeded("full", retry_after=0.01), LimitExceeded("full", retry_after=0.01)]
    with Client(crowd.target) as client:

        def start() -> object:
            if full:
                raise full.pop()
            return client.job(3)

        def never() -> object:
            raise LimitExceeded("too many", retry_after=None)

        several = [WatchedJob(start, lambda event: None), WatchedJob(never, lambda event: None)]  # type: ignore[arg-type]
        watch_all(client, several, timeout=60)
    assert several[0].job is not None
    assert isinstance(several[1].error, LimitExceeded)


def test_watch_of_many(crowd: Crowd) -> None:
    ids = [str(each) for each in range(1, 101)]
    done = CliRunner().invoke(qonduit, ["--server", crowd.target, "watch", *ids])
    assert done.exit_code == 1, "one of them failed, which is worse than cancelled"
    ends = [line.split() for line in done.stdout.splitlines() if line.split()[2:4] == ["succeeded", "job"]]
    assert len(ends) == 98
    table = [line.split() for line in done.stdout.splitlines() if line.split()[1:3] == ["program", "1"]]
    assert [row[0] for row in table] == ids
    assert table[5][3:] == ["SUCCEEDED", "0x1", "100.0%"]
    assert "job 1 was cancelled" in done.stderr


def test_watch_of_running_jobs(crowd: Crowd) -> None:
    done = CliRunner().invoke(qonduit, ["--server", crowd.target, "watch", "--running", "--output", "csv"])
    assert done.exit_code == 0, done.output
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["job_id", "3", "4"]
    nothing = CliRunner().invoke(qonduit, ["--server", crowd.target, "watch", "--running", "--filter", 'state = "X"'])
    assert nothing.exit_code == 0


def test_codes_of_several(crowd: Crowd) -> None:
    for ids, code in ((["3", "4"], 0), (["3", "1"], 6), (["1", "2", "3"], 1), (["2", "5000", "3"], 3)):
        assert CliRunner().invoke(qonduit, ["--server", crowd.target, "watch", *ids, "--json"]).exit_code == code


def test_more_jobs_than_lines_are_summed_up_on_a_terminal(crowd: Crowd) -> None:
    variables = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LINES": "12",
        "QONDUIT_SERVER": crowd.target,
    }
    code, written = on_terminal(["watch", *map(str, range(3, 43))], variables)
    assert code == 0
    assert "40 jobs" in written
    assert "40/40" in written


def test_ctrl_c_lists_the_jobs_still_running(crowd: Crowd) -> None:
    crowd.watching = threading.Semaphore(0)
    crowd.go.clear()
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "qonduit_client.cli", "watch", *map(str, range(3, 103))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "QONDUIT_SERVER": crowd.target},
        text=True,
    )
    try:
        for _ in range(60):
            assert crowd.watching.acquire(timeout=100)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)
    finally:
        crowd.go.set()
    assert process.returncode == 130
    assert "100 jobs continue" in said
    assert "qonduit watch 3 4 5" in said
    assert " 102 --server" in said
    assert "Traceback" not in said
