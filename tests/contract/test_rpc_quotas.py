# SPDX-License-Identifier: Apache-2.0
"""Quotas over the wire: one user at a limit is refused or waits, while others are served."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from qonduit.v1.job_pb2 import Job, QueueReason
from qonduit.v1.job_service_pb2 import CreateJobRequest, GetJobRequest, ListJobsRequest, RunJobResponse, WatchJobRequest
from qonduit.v1.quota_pb2 import Quota, QuotaValues
from qonduit.v1.result_service_pb2 import ReadBufferRequest, ReadBufferResponse
from qonduit.v1.usage_service_pb2 import (
    GetQuotaRequest,
    ListQuotasRequest,
    ListUsageRequest,
    SetQuotaRequest,
    UsageGrouping,
)
from qonduit.v1.usage_service_pb2_grpc import UsageServiceStub
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.authenticator import Authenticator
from qonduit_server.rpc.auth.principal import Role
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from qonduit_server.store.jobs import queue
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, programs, refused, rpc_fixture, until
from tests.store_fixture import Clock, claim, finished, result, succeed, succeeded

PEOPLE: Final = {"anna": Role.USER, "ben": Role.USER, "olga": Role.OPERATOR, "adam": Role.ADMIN}


class Served(NamedTuple):
    rpc: RpcFixture
    tokens: dict[str, str]
    clock: Clock

    @property
    def usage(self) -> UsageServiceStub:
        return UsageServiceStub(self.rpc.channel)

    def of(self, name: str) -> dict[str, Any]:
        """Return the arguments of a call of a person."""
        return {"metadata": [("authorization", f"Bearer {self.tokens[name]}")], "timeout": WAIT}

    def create(self, name: str, shots: int = 10, **fields: Any) -> Job:
        request = CreateJobRequest(job=Job(shots=shots), deployment=programs(BELL), device="IBM/aer_simulator")
        for key, value in fields.items():
            request.job.inputs[key] = value
        return self.rpc.jobs.CreateJob(request, **self.of(name)).job

    def limit(self, owner: str = "anna", **limits: int) -> None:
        quota = Quota(owner=owner, limits=QuotaValues(**limits))
        self.usage.SetQuota(SetQuotaRequest(quota=quota), **self.of("adam"))

    def stream(self, name: str, method: str, request: Message, response: type[Message]) -> Any:
        call = self.rpc.channel.unary_stream(method, response_deserializer=response.FromString)
        return call(request.SerializeToString(), **self.of(name))


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[Served]:
    tokens = {name: token_file.create(tmp_path / "tokens", name, role, None)[0] for name, role in PEOPLE.items()}
    authenticate = Authenticator((StaticTokens(TokenRegistry(tmp_path / "tokens")),), None)
    clock = Clock(datetime(2026, 11, 29, 21, 0, tzinfo=UTC))
    with rpc_fixture(
        database_url, clock=clock, authenticate=authenticate, reject_early=authenticate.reject_early
    ) as rpc:
        yield Served(rpc, tokens, clock)


def check_refusal(call: Any, quota: str, seconds: float | None = -1) -> None:
    """Check that a call is refused because of a quota; `seconds`: of RetryInfo, None for none, -1 for any."""
    code, details = refused(call)
    assert (code, details["ErrorInfo"].reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    (violation,) = details["QuotaFailure"].violations
    assert violation.subject == quota
    assert violation.description.startswith(f"quota {quota} of anna reached: ")
    if seconds is None:
        assert "RetryInfo" not in details
    elif seconds < 0:
        assert details["RetryInfo"].retry_delay.ToMicroseconds() > 0
    else:
        assert details["RetryInfo"].retry_delay.seconds == seconds


def test_one_user_at_the_quota_of_queued_jobs(served: Served) -> None:
    served.limit(queued_jobs=2)
    for _ in range(2):
        served.create("anna")
    check_refusal(lambda: served.create("anna"), "queued_jobs")
    for _ in range(5):
        served.create("ben")
    succeed(served.rpc.db, claim(served.rpc.db))
    served.create("anna")


def test_one_user_at_the_quota_of_shots_until_the_day_ends(served: Served) -> None:
    served.limit(shots_per_day=100)
    served.create("anna", shots=100)
    check_refusal(lambda: served.create("anna", shots=1), "shots_per_day", 3 * 3600)
    served.create("ben", shots=100_000)
    served.clock.now += timedelta(hours=3)
    served.create("anna", shots=100)


def test_one_user_at_the_quota_of_stored_bytes(served: Served) -> None:
    served.limit(stored_bytes=4000)
    check_refusal(lambda: served.create("anna", text="x" * 5000), "stored_bytes", None)
    served.create("anna")
    served.create("ben", text="x" * 5000)


@pytest.mark.parametrize(
    "limits",
    [{"running_jobs": 1}, {"running_memory_bytes": 1}, {"worker_seconds_per_day": 5}],
    ids=lambda limits: next(iter(limits)),
)
def test_one_user_at_a_quota_of_running_jobs_waits(served: Served, limits: dict[str, int]) -> None:
    db = served.rpc.db
    served.limit(**limits)
    first, second, third = (served.create("anna") for _ in range(3))
    running = claim(db, capacity=1)
    assert [task.job_id for task in running] == [first.id]
    last = finished(running[0])
    last.finished.seconds = 6.0
    if "worker_seconds_per_day" in limits:
        assert not queue.record(db, "me", [succeeded(running[0]), last])
    others = [served.create("ben").id for _ in range(4)]
    assert sorted(task.job_id for task in claim(db)) == others
    for job in (second, third):
        place = served.rpc.jobs.GetJob(GetJobRequest(id=job.id), **served.of("anna")).job.queue
        assert place.reason == QueueReason.QUEUE_REASON_QUOTA
    if "worker_seconds_per_day" in limits:
        served.clock.now += timedelta(hours=3)
        assert [task.job_id for task in claim(db)] == [second.id, third.id]
    else:
        assert not queue.record(db, "me", [succeeded(running[0]), last])
        assert [task.job_id for task in claim(db)] == [second.id]


def test_one_user_at_the_quota_of_open_streams(served: Served) -> None:
    jobs = {name: served.create(name) for name in ("anna", "ben")}
    served.limit(open_streams=3)

    def watch(name: str) -> Any:
        request = WatchJobRequest(job_id=jobs[name].id)
        stream = served.stream(name, "/qonduit.v1.JobService/WatchJob", request, RunJobResponse)
        next(stream)
        return stream

    mine = [watch("anna") for _ in range(3)]
    check_refusal(lambda: watch("anna"), "open_streams")
    others = [watch("ben") for _ in range(10)]
    quota = served.usage.GetQuota(GetQuotaRequest(), **served.of("anna")).quota
    assert quota.used.open_streams == 3
    mine[0].cancel()
    until(lambda: served.usage.GetQuota(GetQuotaRequest(), **served.of("anna")).quota.used.open_streams == 2)
    mine.append(watch("anna"))
    for each in (*mine, *others):
        each.cancel()


def test_one_user_at_the_quota_of_open_buffers(served: Served) -> None:
    size = 4_000_000  # more than the window of a stream
    names = {}
    for name in ("anna", "ben"):
        served.create(name)
        (task,) = claim(served.rpc.db)
        large = result()
        large.buffer.size_bytes = size
        event = succeeded(task, 0, large)
        event.program_succeeded.buffer = bytes(size)
        assert not queue.record(served.rpc.db, "me", [event, finished(task)])
        names[name] = f"results/{event.program_succeeded.result.id}"
    served.limit(open_buffers=2)

    def read(name: str) -> Any:
        request = ReadBufferRequest(name=names[name])
        stream = served.stream(name, "/qonduit.v1.ResultService/ReadBuffer", request, ReadBufferResponse)
        next(stream)
        return stream

    open_ones = [read("anna") for _ in range(2)]
    check_refusal(lambda: read("anna"), "open_buffers")
    # It is refused although other streams are free.
    open_ones += [read("ben") for _ in range(5)]
    for each in open_ones:
        each.cancel()
    until(lambda: not served.usage.GetQuota(GetQuotaRequest(), **served.of("anna")).quota.used.open_buffers)
    read("anna").cancel()


def test_one_user_at_the_quota_of_calls_a_second(served: Served) -> None:
    served.limit(calls_per_second=2)

    def call(name: str) -> None:
        served.rpc.jobs.ListJobs(ListJobsRequest(), **served.of(name))

    def call_often() -> None:
        for _ in range(200):
            call("anna")

    check_refusal(call_often, "calls_per_second")
    for _ in range(50):
        call("ben")


def test_the_checks_of_an_open_stream_are_no_calls(served: Served) -> None:
    served.create("anna")
    watch = served.stream("anna", "/qonduit.v1.JobService/WatchJob", WatchJobRequest(job_id=1), RunJobResponse)
    next(watch)
    served.limit(calls_per_second=1000)
    for _ in range(3000):  # far more than the quota allows in the time that this takes
        served.rpc.server._authorization.check_all()
    served.rpc.jobs.ListJobs(ListJobsRequest(), **served.of("anna"))
    watch.cancel()


def test_one_user_at_the_quota_of_uploaded_bytes(served: Served) -> None:
    served.limit(upload_bytes_per_minute=40_000)
    served.create("anna", text="x" * 60_000)
    check_refusal(lambda: served.create("anna"), "upload_bytes_per_minute")
    for _ in range(3):
        served.create("ben", text="x" * 60_000)


def test_admins_set_quotas_operators_list_them_and_users_see_their_own(served: Served) -> None:
    request = SetQuotaRequest(quota=Quota(owner="anna", limits=QuotaValues(queued_jobs=5, shots_per_day=-1)))
    for name in ("anna", "ben", "olga"):
        code, _ = refused(lambda name=name: served.usage.SetQuota(request, **served.of(name)))  # type: ignore[misc]
        assert code == "PERMISSION_DENIED"
    quota = served.usage.SetQuota(request, **served.of("adam")).quota
    assert (quota.effective.queued_jobs, quota.effective.shots_per_day) == (5, -1)
    change = Quota(owner="anna", limits=QuotaValues(queued_jobs=7))
    masked = SetQuotaRequest(quota=change, update_mask=FieldMask(paths=["queued_jobs"]))
    assert served.usage.SetQuota(masked, **served.of("adam")).quota.limits.shots_per_day == -1
    assert served.usage.GetQuota(GetQuotaRequest(), **served.of("anna")).quota.limits.queued_jobs == 7
    assert not served.usage.GetQuota(GetQuotaRequest(), **served.of("ben")).quota.limits.ByteSize()
    listed = served.usage.ListQuotas(ListQuotasRequest(), **served.of("olga")).quotas
    assert [each.owner for each in listed] == ["anna"]
    masked.update_mask.paths.append("qubits")
    code, details = refused(lambda: served.usage.SetQuota(masked, **served.of("adam")))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].field == "update_mask.paths[1]"


def test_the_quota_and_usage_of_another_user_do_not_exist(served: Served) -> None:
    for owner in ("anna", "eve"):
        for call in (
            lambda owner=owner: served.usage.GetQuota(GetQuotaRequest(owner=owner), **served.of("ben")),
            lambda owner=owner: served.usage.ListUsage(ListUsageRequest(owner=owner), **served.of("ben")),
        ):
            code, details = refused(call)
            assert code == "NOT_FOUND"
            assert details["ResourceInfo"].description == f"owner {owner} does not exist"


def test_users_see_their_usage_and_operators_that_of_all(served: Served) -> None:
    for name in ("anna", "ben", "ben"):
        served.create(name)
    succeed(served.rpc.db, claim(served.rpc.db))
    request = ListUsageRequest(group_by=[UsageGrouping.USAGE_GROUPING_OWNER])
    found = {
        name: {row.owner: row.jobs for row in served.usage.ListUsage(request, **served.of(name)).rows}
        for name in PEOPLE
    }
    everything = {"anna": 1, "ben": 2}
    assert found == {"anna": {"anna": 1}, "ben": {"ben": 2}, "olga": everything, "adam": everything}


def test_a_stream_that_the_server_refuses_does_not_count(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        request = WatchJobRequest(job_id=12345)
        watch = rpc.channel.unary_stream("/qonduit.v1.JobService/WatchJob")
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                next(watch(request.SerializeToString(), timeout=WAIT))
        usage = UsageServiceStub(rpc.channel)
        until(lambda: not usage.GetQuota(GetQuotaRequest(), timeout=WAIT).quota.used.open_streams)
