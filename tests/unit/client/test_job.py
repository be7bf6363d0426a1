# SPDX-License-Identifier: Apache-2.0
"""A job is watched across broken streams: each event once, in order, and then its results."""

from __future__ import annotations

import hashlib
import threading

import grpc
import pytest

from qonduit.v1.job_pb2 import OptionReference
from qonduit_client.client import Client
from qonduit_client.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    PreconditionFailed,
    Refused,
    ServerFault,
    ServerUnavailable,
    TimedOut,
)
from qonduit_client.retry import Retry
from qonduit_client.states import state_name
from tests.both_clients import Connect
from tests.unit.client.peer import AWAY, BELL, CANCELLED, FAILED, JOB, Peer, Refusal, Stream, counted, history

Code = grpc.StatusCode
ALL = [1, 2, 3, 4, 5, 6]


def sequences(client: Client, after: int = 0) -> list[int]:
    return [event.sequence for event in client.job(JOB).events(after_sequence=after)]


def test_events_in_order_without_heartbeats(peer: Peer, client: Client) -> None:
    assert sequences(client) == ALL
    assert peer.watched == [0]


def test_inputs_are_read_wherever_the_server_keeps_them(peer: Peer, client: Client) -> None:
    job = peer.events[-1].state_change.job
    assert client.job(JOB).inputs() == {}
    job.inputs.update({"theta": 0.5, "bits": "01"})
    assert client.job(JOB).inputs() == {"theta": 0.5, "bits": "01"}
    data = job.inputs.SerializeToString()
    job.ClearField("inputs")
    job.inputs_reference.CopyFrom(
        OptionReference(name="jobs/7/inputs", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    )
    peer.pieces = [data[:10], data[10:]]
    assert client.job(JOB).inputs() == {"theta": 0.5, "bits": "01"}
    peer.pieces = [data[:10], data[10:-1] + b"x"]
    with pytest.raises(ServerFault, match=r"jobs/7/inputs.*SHA-256"):
        client.job(JOB).inputs()


def test_a_job_that_was_waited_for_has_the_inputs_of_its_first_event(peer: Peer, client: Client) -> None:
    """Later events omit inputs, which never change."""
    peer.events[0].created.inputs.update({"theta": 0.5})
    handle = client.job(JOB)
    assert [event.sequence for event in handle.events()] == ALL
    assert dict(handle.wait().inputs) == {"theta": 0.5}


def test_events_after_a_sequence(peer: Peer, client: Client) -> None:
    assert sequences(client, 4) == [5, 6]


@pytest.mark.parametrize(
    "broken",
    [
        Stream(send=2, refusal=AWAY),
        Stream(send=2, refusal=Refusal(Code.UNAVAILABLE, "socket closed")),
        Stream(send=2, refusal=Refusal(Code.INTERNAL, "RST_STREAM")),
        Stream(send=2, refusal=Refusal(Code.UNKNOWN, "Stream removed")),
        Stream(send=2, refusal=Refusal(Code.CANCELLED, "connection closed")),
        Stream(send=2, refusal=Refusal(Code.RESOURCE_EXHAUSTED, "too slow", "SLOW_READER")),
        Stream(send=2),
    ],
    ids=["draining", "socket", "reset", "removed", "cancelled", "slow reader", "ended early"],
)
def test_broken_stream_is_resumed(peer: Peer, client: Client, broken: Stream) -> None:
    peer.streams.extend([broken, broken])
    assert sequences(client) == ALL
    assert peer.watched == [0, 2, 4]


REVOKED = Refusal(Code.UNAUTHENTICATED, "the token was revoked", "TOKEN_REVOKED")


def test_a_stream_resumes_with_a_new_token(peer: Peer, connect: Connect) -> None:
    tokens = iter(("first", "second", "third"))
    peer.streams += [Stream(send=2, refusal=REVOKED), Stream(send=1, refusal=REVOKED)]
    with connect(peer.target, token=lambda: next(tokens), retry=Retry(first=0.001, most=0.005)) as client:
        assert sequences(client) == ALL
    assert peer.watched == [0, 2, 3]


def test_a_stream_ends_when_its_new_token_is_rejected_too(peer: Peer, connect: Connect) -> None:
    for token, calls in (("fixed", [0]), (lambda: "renewed", [0, 2])):
        peer.streams += [Stream(send=2, refusal=REVOKED), Stream(rejected=True, refusal=REVOKED)]
        peer.watches.clear()
        with connect(peer.target, token=token, retry=Retry(first=0.001, most=0.005)) as client:
            events = client.job(JOB).events()
            assert [next(events).sequence, next(events).sequence] == [1, 2]
            with pytest.raises(Refused, match="revoked"):
                next(events)
        assert peer.watched == calls
        peer.streams.clear()


def test_a_repeated_event_is_shown_once(peer: Peer, client: Client) -> None:
    peer.streams.extend([Stream(send=4, refusal=AWAY), Stream(again=3)])
    assert sequences(client) == ALL


def test_stream_may_break_again_and_again(peer: Peer, client: Client) -> None:
    peer.streams.extend([Stream(send=0, refusal=AWAY), Stream(send=1, refusal=AWAY)] * 5)
    assert sequences(client) == ALL
    assert len(peer.watched) == 11


def test_retries_end(peer: Peer, connect: Connect) -> None:
    gone = Refusal(Code.UNAVAILABLE, "away", "DRAINING", retry_after=30)
    peer.streams.append(Stream(send=2, refusal=gone))
    seen: list[int] = []
    with connect(peer.target, timeout=5) as client, pytest.raises(ServerUnavailable):
        seen.extend(event.sequence for event in client.job(JOB).events())
    assert seen == [1, 2]


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.INTERNAL])
def test_definite_errors_are_not_retried(peer: Peer, client: Client, code: grpc.StatusCode) -> None:
    peer.streams.append(Stream(send=2, refusal=Refusal(code, "gone", "MEANT")))
    with pytest.raises(Exception, match="gone") as caught:
        sequences(client)
    assert isinstance(caught.value, NotFound) == (code == Code.NOT_FOUND)
    assert peer.watched == [0]


def test_ended_job_has_no_further_events(peer: Peer, client: Client) -> None:
    assert sequences(client, 6) == []


def test_leaving_the_loop_ends_the_stream_and_not_the_job(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    for event in client.job(JOB).events():
        if event.sequence == 2:
            break
    assert peer.let_go.wait(100)
    assert peer.cancelled == []


def test_the_timeout_error_states_that_the_job_continues(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    with pytest.raises(TimedOut, match="it continues") as caught:
        client.run(BELL).wait(timeout=0.3)
    assert isinstance(caught.value, TimeoutError)
    assert peer.cancelled == []


def test_result(peer: Peer, client: Client) -> None:
    job = client.run(BELL)
    result = job.result(timeout=100)
    assert result.counts == {"0x0": 507, "0x3": 493}
    assert result.probabilities == {"0x0": 0.507, "0x3": 0.493}
    assert result.registers == [("c", 2)]
    assert peer.watched == [1], "the response contains the first event"
    assert job.result().shots == 1000
    assert peer.watched == [1], "a job that has ended is not watched again"


def test_several_results_come_page_by_page(peer: Peer, client: Client) -> None:
    peer.results = [counted({"0x0": k + 1}, result_id=k + 1) for k in range(3)]
    job = client.job(JOB)
    assert [result.id for result in job.results()] == [1, 2, 3]
    with pytest.raises(ValueError, match="results"):
        job.result()


def test_failed_job(peer: Peer, client: Client) -> None:
    peer.events = history(FAILED)
    with pytest.raises(JobFailed, match="no gate foo") as caught:
        client.job(JOB).result()
    assert caught.value.reason == "SYNTAX_ERROR"
    assert (caught.value.failure.line, caught.value.job.id) == (4, JOB)


def test_cancelled_job(peer: Peer, client: Client) -> None:
    peer.events = history(CANCELLED)
    with pytest.raises(JobCancelled) as caught:
        client.run(BELL).result()
    assert caught.value.job.id == JOB


def test_state_and_cancel(peer: Peer, client: Client) -> None:
    job = client.job(JOB)
    assert job.state() == "SUCCEEDED"
    peer.refusals.append(AWAY)
    assert job.cancel().id == JOB
    assert peer.cancelled == [JOB, JOB], "a cancel may be requested twice"


def test_two_threads_follow_one_handle(peer: Peer, client: Client) -> None:
    job = client.run(BELL)
    seen: list[list[int]] = []

    def follow() -> None:
        seen.append([event.sequence for event in job.events()])

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert seen == [ALL] * 4


def test_heartbeats_are_shown_on_request(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=2))
    events = list(client.job(JOB).events(heartbeat=0.5))
    assert [event.sequence for event in events if event.sequence] == ALL
    assert sum(event.HasField("heartbeat") for event in events) == 2


def test_a_wait_with_timeout_zero_only_polls(peer: Peer, client: Client) -> None:
    peer.streams.append(Stream(send=2, hang=True))
    assert client.run(BELL).wait(0).id == JOB
    running = history()[:2]
    running[-1].state_change.job.last_sequence = 2
    peer.events = running
    with pytest.raises(TimedOut, match="it continues"):
        client.job(JOB).wait(0)
    assert peer.watched == []


def test_a_stream_refused_by_the_stream_limit_is_retried(peer: Peer, client: Client) -> None:
    full = Refusal(Code.RESOURCE_EXHAUSTED, "too many streams", "LIMIT_EXCEEDED", retry_after=0.001)
    peer.streams.extend([Stream(send=0, refusal=full), Stream(send=3, refusal=full)])
    assert sequences(client) == ALL


RESTORED = Refusal(Code.FAILED_PRECONDITION, "restored from a backup", "LOG_RESTORED")


def test_a_stream_of_all_events_ends_where_the_server_was_restored(peer: Peer, client: Client) -> None:
    for event in peer.events:
        event.log_epoch = 5
    peer.streams.extend([Stream(send=2, refusal=AWAY), Stream(send=0, refusal=RESTORED)])
    events = client.job(JOB).events()
    assert [next(events).sequence, next(events).sequence] == [1, 2]
    with pytest.raises(PreconditionFailed, match="restored from a backup"):
        next(events)
    assert peer.watched == [0, 2]
    assert [request.after_epoch for request in peer.watches] == [0, 5]
    # A cursor of the caller's own.
    assert [event.sequence for event in client.job(JOB).events(after_sequence=4, after_epoch=5)] == [5, 6]
    assert peer.watches[-1].after_epoch == 5


def test_a_wait_starts_again_where_the_server_was_restored(peer: Peer, client: Client) -> None:
    job = client.run(BELL)
    peer.streams.extend([Stream(send=2, refusal=AWAY), Stream(send=0, refusal=RESTORED)])
    assert state_name(job.wait().state) == "SUCCEEDED"
    assert peer.watched == [1, 3, 0]
    peer.streams.append(Stream(send=0, refusal=RESTORED))
    with pytest.raises(PreconditionFailed):
        # Nothing was received, so a repetition would have the same answer.
        list(client.job(JOB).events())
