# SPDX-License-Identifier: Apache-2.0
"""A sweep whose worker or server is killed continues after the stored points, as if it had not been disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit.v1.sweep_pb2 import ParameterSets
from tests.e2e.faults.checking import worker_of
from tests.e2e.faults.submitting import SUCCEEDED, submit, wait_for, watch
from tests.server_process import serving

POINTS = 8000
#: Its circuits are built gate by gate, so that the sweep takes a second or more.
DEVICE = "GOOGLE/cirq_simulator"
TURN = """OPENQASM 3.0;
include "stdgates.inc";
input float a;
input float b;
qubit[3] q;
bit[3] c;
ry(a) q[0];
ry(b) q[1];
cx q[0], q[1];
ry(a - b) q[2];
cx q[1], q[2];
ry(2 * b) q[0];
c = measure q;
"""


def sweep() -> calls.CreateJobRequest:
    """Return a job of many points, whose draws a seed decides."""
    values = [value for point in range(POINTS) for value in (point * 3.0 / POINTS, 1.0)]
    program = QuantumProgram(quantum_circuit=TURN, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    return calls.CreateJobRequest(
        job=Job(shots=50, seed=5, parameter_sets=ParameterSets(names=["a", "b"], values=values)),
        device=DEVICE,
        deployment=Deployment(programs=[program]),
    )


def some_points(event: JobEvent) -> bool:
    """Return whether results of points are stored."""
    return event.HasField("result_ready")


def results(target: str, job_id: int) -> list[Result]:
    found: list[Result] = []
    with grpc.insecure_channel(target) as channel:
        stub, token = ResultServiceStub(channel), ""
        while True:
            request = ListResultsRequest(job_id=job_id, page_size=1000, page_token=token)
            page = stub.ListResults(request, timeout=100, wait_for_ready=True)
            found += page.results
            token = page.next_page_token
            if not token:
                return found


def counts(found: Sequence[Result]) -> list[dict[str, int]]:
    return [dict(result.counts_and_probabilities.counts) for result in found]


def assert_continued(target: str, job_id: int) -> list[dict[str, int]]:
    """Check that each attempt began after the stored points, and that each point has one result."""
    events = list(watch(target, job_id))
    final = events[-1].state_change.job
    assert (final.state, final.attempt) == (SUCCEEDED, 3)
    assert (final.program_runs[0].points, final.program_runs[0].points_done) == (POINTS, POINTS)
    assert len(final.program_runs[0].result_ids) == 100
    next_point = 0
    for event in events:
        if event.HasField("result_ready"):
            assert event.result_ready.first_point == next_point
            next_point += event.result_ready.points
    assert next_point == POINTS
    found = results(target, job_id)
    assert [result.point for result in found] == list(range(POINTS))
    assert len({result.id for result in found}) == POINTS
    return counts(found)


@pytest.mark.timeout(240)
def test_a_killed_sweep_continues_with_the_results_of_an_undisturbed_one(tmp_path: Path) -> None:
    settings = {"providers": "GOOGLE", "preload": "GOOGLE", "lease_seconds": "2"}
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, **settings) as first:
        undisturbed = submit(first.target, sweep())
        assert list(watch(first.target, undisturbed))[-1].state_change.job.attempt == 1
        wanted = counts(results(first.target, undisturbed))
        # The worker dies, with points stored and others done; then the server does.
        job_id = submit(first.target, sweep())
        seen = wait_for(first.target, job_id, some_points)
        os.kill(worker_of(first, job_id), signal.SIGKILL)
        wait_for(first.target, job_id, lambda event: some_points(event) and event.sequence > seen[-1].sequence + 2)
        first.process.kill()
        first.process.wait()
    with serving(url, **settings) as second:
        assert assert_continued(second.target, job_id) == wanted
