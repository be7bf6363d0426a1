# SPDX-License-Identifier: Apache-2.0
"""A sweep whose worker or server is killed continues after the stored points, as if it had not been disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

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
from tests.e2e.faults.checking import busiest_worker
from tests.e2e.faults.submitting import SIMULATOR, SUCCEEDED, submit, wait_for, watch
from tests.server_process import serving

POINTS = 2000
#: Each point is read by itself, because an input decides the size: the sweep takes seconds, however fast points are.
TURN = """OPENQASM 3.0;
include "stdgates.inc";
input float a;
input int n;
qubit[2] q;
bit[2] c;
ry(a) q[0];
for int k in [1:n] { ry(1.0) q[1]; }
cx q[0], q[1];
c = measure q;
"""


def sweep() -> calls.CreateJobRequest:
    """Return a job of many points, whose draws a seed decides."""
    values = [value for point in range(POINTS) for value in (point * 3.0 / POINTS, 1 + point % 2)]
    program = QuantumProgram(quantum_circuit=TURN, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    return calls.CreateJobRequest(
        job=Job(shots=50, seed=5, parameter_sets=ParameterSets(names=["a", "n"], values=values)),
        device=SIMULATOR,
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


def assert_continued(target: str, job_id: int, before: int) -> list[dict[str, int]]:
    """Check that the second attempt began after the stored points, and that each point has one result."""
    events = list(watch(target, job_id))
    final = events[-1].state_change.job
    assert (final.state, final.attempt) == (SUCCEEDED, 2)
    assert (final.program_runs[0].points, final.program_runs[0].points_done) == (POINTS, POINTS)
    assert len(final.program_runs[0].result_ids) == 100
    next_point = 0
    for event in events:
        if event.HasField("result_ready"):
            assert event.result_ready.first_point == next_point
            next_point += event.result_ready.points
    assert next_point == POINTS
    assert before < POINTS, "the sweep was done before the kill"
    found = results(target, job_id)
    assert [result.point for result in found] == list(range(POINTS))
    assert len({result.id for result in found}) == POINTS
    return counts(found)


@pytest.mark.timeout(240)
def test_a_killed_sweep_continues_with_the_results_of_an_undisturbed_one(database_url: str) -> None:
    with serving(database_url, preload="IBM", lease_seconds="3") as first:
        undisturbed = submit(first.target, sweep())
        assert list(watch(first.target, undisturbed))[-1].state_change.job.attempt == 1
        wanted = counts(results(first.target, undisturbed))
        # A worker dies, with points stored and others done.
        job_id = submit(first.target, sweep())
        seen = wait_for(first.target, job_id, some_points)
        os.kill(busiest_worker(first), signal.SIGKILL)
        assert assert_continued(first.target, job_id, seen[-1].result_ready.points) == wanted
        # The server dies.
        job_id = submit(first.target, sweep())
        seen = wait_for(first.target, job_id, some_points)
        first.process.kill()
        first.process.wait()
    with serving(database_url, preload="IBM", lease_seconds="3") as second:
        assert assert_continued(second.target, job_id, seen[-1].result_ready.points) == wanted
