# SPDX-License-Identifier: Apache-2.0
"""Many programs are submitted as few jobs that act as one: seeds, states, results, failures."""

from __future__ import annotations

import grpc
import pytest

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.system_service_pb2 import ServerLimits
from qonduit_client.batch import Batch, chunks_of, derived_seed, submit
from qonduit_client.client import Client
from qonduit_client.errors import JobFailed, LimitExceeded, TimedOut
from tests.unit.client.peer import BELL, FAILED, JOB, Peer, Refusal, Stream, history


def programs(number: int, size: int = 10) -> list[QuantumProgram]:
    return [QuantumProgram(quantum_circuit=f"{index:0{size}}", assembler_language=2) for index in range(number)]


def limits(programs: int, size: int = 1 << 24) -> ServerLimits:
    return ServerLimits(max_programs=programs, max_request_bytes=size)


@pytest.fixture
def few(client: Client) -> Client:
    """Yield a blocking client of a server that accepts three programs per job."""
    client._limits = limits(3)
    return client


@pytest.fixture
def connect() -> type[Client]:
    """Batches belong to the blocking client."""
    return Client


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_jobs_have_as_many_programs_as_allowed(number: int, sizes: list[int]) -> None:
    chunks = list(chunks_of(programs(number), limits(3)))
    assert [len(chunk) for chunk in chunks] == sizes
    assert [program for chunk in chunks for program in chunk] == programs(number)


def test_no_request_exceeds_the_size_limit() -> None:
    most = 1 << 20
    chunks = list(chunks_of(programs(40, 100_000), limits(500, most)))
    assert sum(map(len, chunks)) == 40
    for chunk in chunks:
        assert sum(program.ByteSize() for program in chunk) < most
    assert all(len(chunk) >= 9 for chunk in chunks[:-1])
    # A program too large for any request is sent alone: the server reports the error.
    assert [len(chunk) for chunk in chunks_of(programs(2, 2 << 20), limits(500, most))] == [1, 1]


def test_each_job_has_randomness_of_its_own_that_a_seed_fixes() -> None:
    seeds = [derived_seed(5, place) for place in range(100)]
    assert seeds[0] == 5
    assert len(set(seeds)) == 100
    assert seeds == [derived_seed(5, place) for place in range(100)]
    assert not set(seeds) & {derived_seed(6, place) for place in range(100)}
    assert all(0 <= seed < 2**32 for seed in [*seeds, derived_seed(2**70, 0)])
    with pytest.raises(ValueError, match="at least 0"):
        derived_seed(-1, 0)


def test_jobs_are_submitted_in_order(peer: Peer, few: Client) -> None:
    batch = submit(few, programs(7), device="AWS/local_simulator", shots=9, seed=5, name="many")
    assert len(batch.handles) == 3
    sent = [program.quantum_circuit for request in peer.created for program in request.deployment.programs]
    assert sent == [program.quantum_circuit for program in programs(7)]
    assert [request.job.seed for request in peer.created] == [derived_seed(5, place) for place in range(3)]
    assert {(request.device, request.job.shots, request.job.name) for request in peer.created} == {
        ("AWS/local_simulator", 9, "many")
    }
    assert len({request.request_id for request in peer.created}) == 3
    assert len(batch.results(20)) == 3
    assert batch.results() == batch.results(), "results are cached"


def test_no_programs_are_no_jobs(peer: Peer, few: Client) -> None:
    batch = submit(few, [], device="IBM/aer_simulator", shots=9)
    assert (batch.handles, batch.results(), batch.state()) == ([], [], "SUCCEEDED")
    batch.wait()
    batch.cancel()
    assert peer.created == []


def test_submitted_jobs_are_cancelled_when_the_rest_is_refused(peer: Peer, few: Client) -> None:
    peer.refusals.extend([None, None, Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", "LIMIT_EXCEEDED")])
    with pytest.raises(LimitExceeded, match="queue full"):
        submit(few, programs(10), device="IBM/aer_simulator", shots=9)
    assert len(peer.created) == 3
    assert peer.cancelled == [JOB, JOB]


class FakeJob:
    """A job handle in a given state."""

    def __init__(self, state: str) -> None:
        self.state = lambda: state


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["SUCCEEDED", "SUCCEEDED"], "SUCCEEDED"),
        (["QUEUED", "QUEUED"], "QUEUED"),
        (["QUEUED", "SUCCEEDED"], "RUNNING"),
        (["RUNNING", "SUCCEEDED"], "RUNNING"),
        (["QUEUED", "RUNNING"], "RUNNING"),
        (["SUCCEEDED", "FAILED", "QUEUED"], "FAILED"),
        (["CANCELLED", "FAILED"], "FAILED"),
        (["CANCELLED", "SUCCEEDED"], "CANCELLED"),
        (["CANCELLING", "RUNNING"], "CANCELLING"),
        ([], "SUCCEEDED"),
    ],
)
def test_the_state_of_a_batch(states: list[str], state: str) -> None:
    assert Batch([FakeJob(each) for each in states]).state() == state  # type: ignore[misc]


def test_the_first_failure_and_one_timeout_for_all(peer: Peer, few: Client) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    with pytest.raises(TimedOut):
        submit(few, programs(4), device="IBM/aer_simulator", shots=9).results(0.2)
    peer.let_go.set()
    peer.events = history(FAILED)
    batch = submit(few, programs(4), device="IBM/aer_simulator", shots=9)
    with pytest.raises(JobFailed, match="no gate foo"):
        batch.results(20)
    batch.wait(100)


def test_ended_jobs_are_returned_after_the_timeout(peer: Peer, few: Client) -> None:
    batch = Batch([few.run(BELL), few.job(JOB)])
    assert [result.shots for result in batch.results(0)] == [1000, 1000]
