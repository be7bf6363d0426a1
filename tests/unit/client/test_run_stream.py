# SPDX-License-Identifier: Apache-2.0
"""A sample takes one call where nothing breaks; where something does, the job is neither lost nor created twice."""

from __future__ import annotations

import uuid

import grpc
import pytest
from google.rpc.error_details_pb2 import QuotaFailure

from qonduit.v1.result_pb2 import QuasiDistribution, Register, Result, ResultType
from qonduit_client.client import Client
from qonduit_client.errors import JobCancelled, JobFailed, LimitExceeded, NotFound, ServerUnavailable, TimedOut
from qonduit_client.retry import Retry
from tests.both_clients import Connect
from tests.unit.client.peer import AWAY, BELL, CANCELLED, FAILED, JOB, Peer, Refusal, Stream, history

Code = grpc.StatusCode
RESET = Refusal(Code.UNKNOWN)
HALVES = {"0x0": 0.5, "0x3": 0.5}


def sampled(probabilities: dict[str, float], point: int | None = None) -> Result:
    return Result(
        id=11,
        job_id=JOB,
        program_id=5,
        result_type=ResultType.RESULT_TYPE_QUASI_DISTRIBUTION,
        quasi_distribution=QuasiDistribution(quasi_probabilities=probabilities),
        registers=[Register(name="c", size=2)],
        shots=1000,
        point=point,
    )


@pytest.fixture
def peer(peer: Peer) -> Peer:
    """The scripted server with the result of a sampler."""
    peer.results = [sampled(HALVES)]
    return peer


def methods(peer: Peer) -> list[str]:
    return [method.rpartition("/")[2] for method, _ in peer.called]


def jobs_asked_for(peer: Peer) -> set[str]:
    return {request.request_id for request in peer.ran}


def test_a_sample_takes_one_call(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob"]
    assert uuid.UUID(peer.ran[0].request_id)
    assert peer.ran[0].deployment.programs[0].quantum_circuit == BELL


def test_a_server_that_brings_no_results_is_asked_for_them(peer: Peer, client: Client) -> None:
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob", "ListResults"]


@pytest.mark.parametrize("sent", range(1, 6))
def test_a_stream_that_breaks_after_an_event_resumes_behind_it(peer: Peer, client: Client, sent: int) -> None:
    peer.brings_results = True
    peer.streams.extend([Stream(send=sent, refusal=RESET), Stream(send=0, again=1, refusal=AWAY)])
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob"] * 3
    assert [request.after_sequence for request in peer.ran] == [0, sent, sent]
    assert len(jobs_asked_for(peer)) == 1


@pytest.mark.parametrize("refusal", [AWAY, RESET, Refusal(Code.UNAVAILABLE)])
def test_a_submission_without_an_answer_is_repeated_with_the_same_request_id(
    peer: Peer, client: Client, refusal: Refusal
) -> None:
    peer.brings_results = True
    peer.refusals.extend([refusal, refusal])
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob"] * 3
    assert len(jobs_asked_for(peer)) == 1


def test_streams_that_end_with_ok_too_early_are_repeated_or_resumed(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    peer.streams.extend([Stream(send=0), Stream(send=2), Stream(send=3)])
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob", "RunJob", "GetJob", "RunJob", "GetJob", "RunJob"]
    assert len(jobs_asked_for(peer)) == 1


def test_a_job_that_a_restore_may_have_lost_is_watched_and_not_created_again(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    restored = Refusal(Code.FAILED_PRECONDITION, "restored from a backup", "LOG_RESTORED")
    peer.streams.extend([Stream(send=2, refusal=RESET), Stream(send=0, refusal=restored)])
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob", "RunJob", "WatchJob"]
    assert peer.watched == [0]
    assert peer.watches[0].final_results
    peer.streams.extend([Stream(send=2, refusal=RESET), Stream(send=0, refusal=restored)])
    gone = Refusal(Code.NOT_FOUND, "job 7 does not exist", "NOT_FOUND")
    peer.streams.append(Stream(send=0, refusal=gone))
    with pytest.raises(NotFound, match="job 7 does not exist"):
        client.sample(BELL)


def test_a_request_id_of_the_caller_belongs_to_create_job(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    request_id = str(uuid.uuid4())
    assert client.sample(BELL, request_id=request_id).quasi_probabilities == HALVES
    assert methods(peer) == ["CreateJob", "WatchJob"]
    assert peer.created[0].request_id == request_id


def test_a_handle_reads_its_results_from_the_stream_of_its_last_event(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    job = client.submit_sample(BELL)
    assert job.samples()[0].quasi_probabilities == HALVES
    assert job.result().message.quasi_distribution.quasi_probabilities == HALVES
    assert methods(peer) == ["CreateJob", "WatchJob"]


def test_a_handle_whose_stream_brings_no_results_lists_them(peer: Peer, client: Client) -> None:
    assert client.submit_sample(BELL).samples()[0].quasi_probabilities == HALVES
    assert methods(peer) == ["CreateJob", "WatchJob", "ListResults"]


def test_a_handle_requests_the_results_only_if_all_are_wanted(peer: Peer, client: Client) -> None:
    peer.brings_results = True
    job = client.submit_sample(BELL)
    job.wait()
    assert job.result().message.quasi_distribution.quasi_probabilities == HALVES
    assert methods(peer) == ["CreateJob", "WatchJob", "ListResults"]
    part = client.submit_sample(BELL)
    assert part.results(program=0)[0].message.quasi_distribution.quasi_probabilities == HALVES
    assert methods(peer)[3:] == ["CreateJob", "WatchJob", "ListResults"]


def test_a_rejected_job_is_not_repeated(peer: Peer, client: Client) -> None:
    quota = QuotaFailure(violations=[QuotaFailure.Violation(subject="max_queued_jobs")])
    peer.refusals.append(Refusal(Code.RESOURCE_EXHAUSTED, "full", "LIMIT", retry_after=0.001, further=[quota]))
    with pytest.raises(LimitExceeded, match="full"):
        client.sample(BELL)
    assert methods(peer) == ["RunJob"]


def test_a_stream_above_the_limit_is_opened_again(peer: Peer, client: Client) -> None:
    quota = QuotaFailure(violations=[QuotaFailure.Violation(subject="max_streams")])
    peer.refusals.append(Refusal(Code.RESOURCE_EXHAUSTED, "full", "LIMIT", retry_after=0.001, further=[quota]))
    assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer)[:2] == ["RunJob", "RunJob"]


@pytest.mark.parametrize(("state", "error"), [(FAILED, JobFailed), (CANCELLED, JobCancelled)])
def test_a_job_without_success_raises(peer: Peer, client: Client, state: int, error: type[Exception]) -> None:
    peer.events = history(state)  # type: ignore[arg-type]
    with pytest.raises(error):
        client.sample(BELL)
    assert methods(peer) == ["RunJob"]


def test_a_timeout_names_the_job_which_continues(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    with pytest.raises(TimedOut, match=rf"job {JOB} has not ended after 0\.5 s; it continues"):
        client.sample(BELL, timeout=0.5)
    assert not peer.cancelled


def test_a_timeout_before_the_answer_still_names_the_job(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=0, hang=True))
    with pytest.raises(TimedOut, match=f"job {JOB} has not ended"):
        client.sample(BELL, timeout=0.2)
    assert len(jobs_asked_for(peer)) == 1


def test_a_job_longer_than_the_timeout_of_calls_is_followed(peer: Peer, connect: Connect) -> None:
    peer.brings_results = True
    peer.streams.append(Stream(send=2, hang=True))
    with connect(peer.target, timeout=1.0, retry=Retry(first=0.001, most=0.005)) as client:
        assert client.sample(BELL).quasi_probabilities == HALVES
    assert methods(peer) == ["RunJob", "RunJob"]


def test_a_submission_that_is_never_answered_times_out(peer: Peer, connect: Connect) -> None:
    peer.streams.append(Stream(send=0, hang=True))
    with connect(peer.target, timeout=0.5) as client, pytest.raises(TimedOut):
        client.sample(BELL)
    assert methods(peer) == ["RunJob"]


def test_an_unreachable_server_is_given_up(connect: Connect) -> None:
    with (
        connect("127.0.0.1:1", connect_timeout=0.05, retry=Retry(first=0.001, most=0.005)) as client,
        pytest.raises(ServerUnavailable),
    ):
        client.sample(BELL)
