# SPDX-License-Identifier: Apache-2.0
"""Partial results of a real server: they grow while a job runs, and a cancelled job keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.event_pb2 import PartialResult
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit.v1.sweep_pb2 import ParameterSets
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

#: Mid-circuit measurements with noise: shots run one by one, for minutes.
SLOW = (
    'OPENQASM 3.0; include "stdgates.inc"; input float a; qubit[9] q; bit[2] c; bit m; ry(a) q[0]; cx q[0], q[1]; '
    + "".join(f"h q[{k}]; cx q[{k}], q[2]; m = measure q[{k}]; if (m) {{ x q[{k}]; }} " for k in range(3, 9))
    + "c[0] = measure q[0]; c[1] = measure q[1];"
)
NOISE = NoiseModel(gate_errors=[{"gates": ["cx"], "channel": {"amplitude_damping": 0.01}}])
LIMIT = 100


class Calls:
    """The services of a server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.jobs = JobServiceStub(channel)
        self._results = ResultServiceStub(channel)

    def run(self, **job: Any) -> Any:
        """Run a job; return its stream with partial results."""
        program = QuantumProgram(quantum_circuit=SLOW, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
        request = calls.RunJobRequest(
            job=Job(noise_model=NOISE, seed=3, **job),
            device="IBM/aer_simulator",
            deployment=Deployment(programs=[program]),
            partial_results=True,
        )
        return self.jobs.RunJob(request, timeout=LIMIT)

    def watch(self, job_id: int) -> Any:
        """Watch a job; return its stream with partial results."""
        return self.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id, partial_results=True), timeout=LIMIT)

    def cancel(self, job_id: int, stream: Any) -> tuple[Job, list[Result]]:
        """Cancel a job; return it as it ended, and its results."""
        self.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=LIMIT)
        *_, last = (reply.event for reply in stream if reply.event.sequence)
        found = self._results.ListResults(ListResultsRequest(job_id=job_id, page_size=1000), timeout=LIMIT).results
        return last.state_change.job, list(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    url = f"sqlite:///{tmp_path_factory.mktemp('partial') / 'q.sqlite3'}"
    with serving(url, providers="IBM", preload="IBM") as it, grpc.insecure_channel(it.target) as channel:
        yield Calls(channel)


def partial(stream: Any, number: int) -> tuple[int, list[PartialResult]]:
    """Return the job of a stream, and its first partial results."""
    found: list[PartialResult] = []
    job_id = 0
    for reply in stream:
        job_id = reply.event.job_id
        if reply.event.HasField("partial_result"):
            found.append(reply.event.partial_result)
            if len(found) == number:
                break
    assert len(found) == number
    return job_id, found


@pytest.mark.timeout(240)
def test_counts_grow_and_a_cancelled_job_keeps_them(server: Calls) -> None:
    turn = Job()
    turn.inputs["a"] = 1.0
    stream = server.run(shots=10_000_000, inputs=turn.inputs)
    job_id, found = partial(stream, 3)
    shots = [each.results[0].shots for each in found]
    assert 0 < shots[0] < shots[1] < shots[2]
    for each in found:
        (result,) = each.results
        assert sum(result.counts_and_probabilities.counts.values()) == result.shots
        assert (result.partial, each.index, result.id) == (True, 0, 0)
    job, results = server.cancel(job_id, stream)
    assert job.state == JobState.JOB_STATE_CANCELLED
    (kept,) = results
    assert kept.partial
    assert shots[2] <= kept.shots < 10_000_000
    assert sum(kept.counts_and_probabilities.counts.values()) == kept.shots
    assert list(job.program_runs[0].result_ids) == [kept.id]


@pytest.mark.timeout(240)
def test_partial_results_reach_watchers_at_every_server_of_a_database(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    name = postgresql.new_database(postgresql_template)
    url = postgresql.url(name)
    with (
        serving(url, providers="IBM", preload="IBM") as first,
        serving(url, providers="IBM", preload="IBM") as second,
        grpc.insecure_channel(first.target) as here,
        grpc.insecure_channel(second.target) as there,
    ):
        turn = Job()
        turn.inputs["a"] = 1.0
        stream = Calls(here).run(shots=10_000_000, inputs=turn.inputs)
        # One of the two servers runs the job.
        job_id, found = partial(stream, 2)
        _, elsewhere = partial(Calls(there).watch(job_id), 2)
        for each in (found, elsewhere):
            shots = [event.results[0].shots for event in each]
            assert 0 < shots[0] < shots[1]
        job, _ = Calls(there).cancel(job_id, stream)
        assert job.state == JobState.JOB_STATE_CANCELLED
    postgresql.drop_database(name)


@pytest.mark.timeout(240)
def test_points_arrive_with_their_values_and_stay(server: Calls) -> None:
    sets = ParameterSets(names=["a"], values=[k / 100 for k in range(5000)])
    stream = server.run(shots=100, parameter_sets=sets)
    job_id, found = partial(stream, 2)
    points = [result.point for each in found for result in each.results]
    assert points == list(range(len(points)))
    assert {result.shots for each in found for result in each.results} == {100}
    job, results = server.cancel(job_id, stream)
    assert len(points) <= len(results) < 5000
    assert [result.point for result in results] == list(range(len(results)))
    assert not any(result.partial for result in results)
    assert job.program_runs[0].points_done == len(results)


@pytest.mark.timeout(240)
def test_estimates_appear_point_by_point_and_stay(server: Calls) -> None:
    sets = ParameterSets(names=["a"], values=[k / 100 for k in range(5000)])
    options = EstimatorOptions(observables=[Observable(expression="Z0"), Observable(expression="X0*X1")])
    stream = server.run(type=JobType.JOB_TYPE_ESTIMATOR, shots=100, parameter_sets=sets, estimator=options)
    job_id, found = partial(stream, 2)
    ends = [0]
    for each in found:
        (result,) = each.results
        values = result.expectation_values
        assert (each.first_point, result.point) == (ends[-1], ends[-1])
        assert len(values.values) == 2 * values.num_points == len(values.standard_errors)
        ends.append(ends[-1] + values.num_points)
    job, results = server.cancel(job_id, stream)
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert all(result.partial for result in results)
    end = 0
    for result in results:
        assert result.point == end
        end += result.expectation_values.num_points
    assert ends[-1] <= end < 5000
