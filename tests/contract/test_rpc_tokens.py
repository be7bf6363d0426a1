# SPDX-License-Identifier: Apache-2.0
"""Tokens over the wire: invalid ones are refused before their request is received, and no log contains one."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from qonduit.v1.job_service_pb2 import GetJobRequest, ListJobsRequest, WatchJobRequest
from qonduit_client.errors import Refused
from qonduit_server import authentication, logs
from qonduit_server.rpc.auth import static_tokens, token_file
from qonduit_server.rpc.auth.principal import Role
from qonduit_server.settings import Settings
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, refused, rpc_fixture, until

LIST_JOBS = "/qonduit.v1.JobService/ListJobs"


@pytest.fixture(autouse=True)
def _look_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file of tokens at each call, so that no test depends on time."""
    monkeypatch.setattr(static_tokens, "CHECK_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def anna(file: Path) -> str:
    return token_file.create(file, "anna", Role.USER, timedelta(hours=1))[0]


@pytest.fixture
def rpc(tmp_path: Path, file: Path, anna: str) -> Iterator[RpcFixture]:
    authenticate = authentication.authenticator(Settings(token_file=str(file)))
    assert authenticate is not None
    with rpc_fixture(tmp_path, authenticate=authenticate, reject_early=authenticate.reject_early) as it:
        yield it


@pytest.fixture(params=BOTH_CLIENTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return BOTH_CLIENTS[request.param]


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def reason(rpc: RpcFixture, metadata: Any) -> tuple[str, str]:
    """Return the code and the reason of a refused call, the same for unary calls and streams."""
    code, details = refused(lambda: rpc.jobs.ListJobs(ListJobsRequest(), metadata=metadata, timeout=WAIT))
    streamed, more = refused(lambda: list(rpc.jobs.RunJob(bell(), metadata=metadata, timeout=WAIT)))
    assert (code, details["ErrorInfo"].reason) == (streamed, more["ErrorInfo"].reason)
    return code, details["ErrorInfo"].reason


def test_a_valid_token_owns_what_it_creates(rpc: RpcFixture, anna: str) -> None:
    events = rpc.jobs.RunJob(bell(), metadata=bearer(anna), timeout=WAIT)
    assert next(events).event.created.executed_by == "anna"
    events.cancel()
    for scheme in ("bearer", "BEARER"):
        jobs = rpc.jobs.ListJobs(ListJobsRequest(), metadata=[("authorization", f"{scheme} {anna}")], timeout=WAIT)
        assert len(jobs.jobs) == 1


def test_a_call_without_a_token_learns_what_to_do(rpc: RpcFixture) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        rpc.jobs.ListJobs(ListJobsRequest(), timeout=WAIT)
    assert raised.value.details() == "authentication required: set QONDUIT_TOKEN or pass --token-file"
    assert reason(rpc, ()) == ("UNAUTHENTICATED", "AUTHENTICATION_REQUIRED")


def test_every_invalid_token_is_refused(rpc: RpcFixture, file: Path, anna: str) -> None:
    expired, _ = token_file.create(file, "anna", Role.USER, timedelta(seconds=-1))
    revoked, stored = token_file.create(file, "anna", Role.USER, None)
    token_file.revoke(file, start=stored.id)
    assert reason(rpc, bearer(expired)) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    assert reason(rpc, bearer(revoked)) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    invalid = [anna[:-1], f"{anna} ", f"{anna}x", "qdt_", "", "a.b.c", "x" * 7000, "qdt_" + "x" * 7000]
    for token in invalid:
        assert reason(rpc, bearer(token)) == ("UNAUTHENTICATED", "INVALID_TOKEN"), token
    for value in (anna, f"Basic {anna}", "Bearer", f"Bearer  {anna}"):
        assert reason(rpc, [("authorization", value)]) == ("UNAUTHENTICATED", "INVALID_TOKEN"), value
    assert reason(rpc, [*bearer(anna), *bearer(anna)]) == ("UNAUTHENTICATED", "INVALID_TOKEN")


def test_a_call_with_an_invalid_token_is_refused_before_its_request_arrives(rpc: RpcFixture, anna: str) -> None:
    never = threading.Event()

    def requests() -> Iterator[bytes]:
        never.wait(WAIT)
        yield b""

    call = rpc.channel.stream_unary(LIST_JOBS)
    try:
        code, details = refused(lambda: call(requests(), metadata=bearer("qdt_x"), timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("UNAUTHENTICATED", "INVALID_TOKEN")
        # A valid one waits for the request.
        waiting = call.future(requests(), metadata=bearer(anna), timeout=0.5)
        assert waiting.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        never.set()


def test_no_log_line_contains_a_token_and_refusals_do_not_flood_the_log(
    tmp_path: Path, file: Path, anna: str, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", "debug")
    authenticate = authentication.authenticator(Settings(token_file=str(file)))
    assert authenticate is not None
    try:
        with rpc_fixture(tmp_path, authenticate=authenticate, reject_early=authenticate.reject_early) as rpc:
            rpc.jobs.ListJobs(ListJobsRequest(), metadata=bearer(anna), timeout=WAIT)
            for number in range(300):
                refused(
                    lambda number=number: rpc.jobs.GetJob(
                        GetJobRequest(id=1), metadata=bearer(f"qdt_secret{number}"), timeout=WAIT
                    )
                )
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    text = capfd.readouterr().err
    assert anna not in text
    assert "secret" not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [line["caller"] for line in lines if line.get("code") == "OK"] == ["anna"]
    rejected = [line for line in lines if line.get("reason") == "INVALID_TOKEN"]
    assert 0 < len(rejected) < 100


def test_an_open_stream_ends_when_its_token_is_revoked(rpc: RpcFixture, file: Path, anna: str) -> None:
    ben = token_file.create(file, "ben", Role.USER, None)[0]
    of_anna = [rpc.jobs.RunJob(bell(), metadata=bearer(anna), timeout=WAIT) for _ in range(3)]
    of_ben = rpc.jobs.RunJob(bell(), metadata=bearer(ben), timeout=WAIT)
    jobs = [next(events).event.job_id for events in (*of_anna, of_ben)]
    token_file.revoke(file, name="anna")
    for events in of_anna:
        code, details = refused(lambda events=events: list(events))
        assert (code, details["ErrorInfo"].reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
    rpc.run(jobs[-1])
    assert [each.event.job_id for each in of_ben][-1] == jobs[-1]


def test_an_open_stream_ends_when_its_token_expires(rpc: RpcFixture, file: Path) -> None:
    short = token_file.create(file, "anna", Role.USER, timedelta(seconds=3))[0]
    events = rpc.jobs.RunJob(bell(), metadata=bearer(short), timeout=WAIT)
    assert next(events).event.HasField("created")
    code, details = refused(lambda: list(events))
    assert (code, details["ErrorInfo"].reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


def test_an_open_stream_ends_when_the_role_of_its_caller_changes(rpc: RpcFixture, file: Path, anna: str) -> None:
    """The new stream is authorized by the new role: a former operator does not see the jobs of others."""
    olga = token_file.create(file, "olga", Role.OPERATOR, None)[0]
    created = rpc.jobs.RunJob(bell(), metadata=bearer(anna), timeout=WAIT)
    request = WatchJobRequest(job_id=next(created).event.job_id)
    watched = rpc.jobs.WatchJob(request, metadata=bearer(olga), timeout=WAIT)
    next(watched)
    content = json.loads(file.read_text())
    content["tokens"][-1]["role"] = "user"
    file.write_text(json.dumps(content))
    code, details = refused(lambda: list(watched))
    assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "ACCESS_CHANGED")
    code, _ = refused(lambda: list(rpc.jobs.WatchJob(request, metadata=bearer(olga), timeout=WAIT)))
    assert code == "NOT_FOUND"
    created.cancel()


def test_a_watched_job_outlives_its_token_without_a_lost_event(
    rpc: RpcFixture, file: Path, anna: str, connect: Connect
) -> None:
    tokens = [anna, token_file.create(file, "anna", Role.USER, None)[0]]
    with connect(rpc.target, token=lambda: tokens[0]) as client:
        handle = client.run(BELL, "IBM/aer_simulator", 100)
        rpc.claim()
        seen: list[int] = []
        for event in handle.events():
            seen.append(event.sequence)
            if len(seen) == 2:
                # The stream waits for the third event.
                token_file.revoke(file, start=hashlib.sha256(anna.encode()).hexdigest())
                until(lambda: rpc.server.streams == 0)
                rpc.log(handle.id, "while no stream is open")
                tokens.pop(0)
                rpc.finish(handle.id)
        assert seen == list(range(1, len(seen) + 1))
        assert handle.result(timeout=WAIT).counts == {"0x0": 100}


def test_a_watch_ends_with_a_token_that_is_not_replaced(
    rpc: RpcFixture, file: Path, anna: str, connect: Connect
) -> None:
    for token in (anna, lambda: anna):
        with connect(rpc.target, token=token) as client:
            events = client.run(BELL, "IBM/aer_simulator", 100).events()
            assert next(events).sequence == 1
            content = file.read_text()
            token_file.revoke(file, name="anna")
            with pytest.raises(Refused, match="revoked"):
                list(events)
            file.write_text(content)
