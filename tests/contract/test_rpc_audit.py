# SPDX-License-Identifier: Apache-2.0
"""The audit log over the wire: who did what, from where, refusals within their bound, operators' reads, no content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message

from qonduit.v1.audit_service_pb2 import AuditEntry, ListAuditEntriesRequest
from qonduit.v1.audit_service_pb2_grpc import AuditServiceStub
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import (
    CreateDeploymentRequest,
    DeleteDeploymentRequest,
    GetDeploymentRequest,
    UpdateDeploymentRequest,
)
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import (
    CancelJobRequest,
    CancelJobsRequest,
    CreateJobRequest,
    DeleteJobRequest,
    DeleteJobsRequest,
    GetJobRequest,
    ListJobEventsRequest,
    ListJobsRequest,
    RerunJobRequest,
    WatchJobRequest,
)
from qonduit.v1.result_service_pb2 import ListResultsRequest, ReadBufferRequest
from qonduit.v1.system_service_pb2 import GetServerInfoRequest, ListWorkersRequest
from qonduit_server.rpc import audited_calls
from qonduit_server.rpc.audited_calls import AuditedCalls, RefusalLimit, named_object
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.authenticator import Authenticator
from qonduit_server.rpc.auth.principal import Role
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from qonduit_server.rpc.server import SERVICES
from qonduit_server.store import audit_list
from qonduit_server.store.admin.audit_verification import verify
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, programs, refused, rpc_fixture, until

PEOPLE: Final = {"anna": Role.USER, "ben": Role.USER, "olga": Role.OPERATOR, "adam": Role.ADMIN}
SECRET: Final = "planted_in_a_program"
METHODS: Final = {
    f"{service.name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}


class Audited:
    """A server with an audit log, and the tokens of people."""

    def __init__(self, rpc: RpcFixture, tokens: dict[str, str]) -> None:
        self.rpc = rpc
        self.tokens = tokens

    def metadata(self, name: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.tokens[name]}"), ("x-request-id", f"of-{name}")] if name else []

    def call(self, name: str, method: str, request: Message, *more: tuple[str, str]) -> Any:
        """Call a method by "Service/Method"; return the response, or the first one of a stream."""
        return self.rpc.call(METHODS[method], request, [*self.metadata(name), *more])

    def create(self, name: str = "anna", **fields: Any) -> int:
        request = CreateJobRequest(job=Job(shots=10), deployment=programs(BELL), device="IBM/aer_simulator", **fields)
        return int(self.call(name, "JobService/CreateJob", request).job.id)

    def entries(self, count: int, filter: str = "") -> list[AuditEntry]:
        """Return the entries, oldest first, once this many exist: refusals are written after the response."""

        def read() -> list[AuditEntry]:
            return list(audit_list.list_page(self.rpc.db, 1000, filter=filter, order_by="time").items)

        until(lambda: len(read()) >= count)
        found = read()
        assert len(found) == count, found
        return found

    def did(self, count: int, filter: str = "") -> list[tuple[str, str, str, str]]:
        return [(one.principal, one.method, one.object, one.outcome) for one in self.entries(count, filter)]


@pytest.fixture
def serve(tmp_path: Path, database_url: str) -> Iterator[Callable[..., Audited]]:
    tokens = {name: token_file.create(tmp_path / "tokens", name, role, None)[0] for name, role in PEOPLE.items()}
    authenticate = Authenticator((StaticTokens(TokenRegistry(tmp_path / "tokens")),), None)
    running = []

    def start(**options: Any) -> Audited:
        defaults: dict[str, Any] = {"audit": "changes", "authenticate": authenticate}
        context = rpc_fixture(database_url, **{**defaults, "reject_early": authenticate.reject_early, **options})
        running.append(context)
        return Audited(context.__enter__(), tokens)

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def audited(serve: Callable[..., Audited]) -> Audited:
    return serve()


def test_each_change_names_principal_credential_peer_object_and_request(audited: Audited) -> None:
    job = audited.create()
    (entry,) = audited.entries(1)
    assert (entry.principal, entry.authentication) == ("anna", "token")
    assert entry.credential == TokenRegistryIds.of(audited.tokens["anna"])
    assert audited.tokens["anna"] not in str(entry)
    assert entry.peer.startswith("ipv4:127.0.0.1:")
    assert (entry.method, entry.object, entry.outcome) == ("JobService/CreateJob", f"jobs/{job}", "OK")
    assert (entry.count, entry.request_id, entry.left_out) == (1, "of-anna", 0)


class TokenRegistryIds:
    """The ids of tokens, as `qonduit token list` shows them."""

    @staticmethod
    def of(token: str) -> str:
        import hashlib

        return hashlib.sha256(token.encode()).hexdigest()[: token_file.ID_DIGITS]


def test_every_changing_rpc_has_an_entry(audited: Audited) -> None:
    job = audited.create()
    stream = audited.call("anna", "JobService/RunJob", bell())
    ran = stream.event.created.id
    audited.rpc.run(job)
    again = audited.call("adam", "JobService/RerunJob", RerunJobRequest(id=job)).job.id
    audited.call("adam", "JobService/CancelJob", CancelJobRequest(id=again))
    other = audited.create()
    audited.call("anna", "JobService/CancelJobs", CancelJobsRequest(filter=f"id = {other}"))
    audited.call("anna", "JobService/DeleteJobs", DeleteJobsRequest(filter=f"id = {other}"))
    audited.call("anna", "JobService/DeleteJob", DeleteJobRequest(id=job))
    made = CreateDeploymentRequest(deployment=programs(BELL))
    kept = audited.call("anna", "DeploymentService/CreateDeployment", made).deployment.id
    changed = UpdateDeploymentRequest(deployment=Deployment(id=kept, name="new"))
    audited.call("adam", "DeploymentService/UpdateDeployment", changed)
    audited.call("anna", "DeploymentService/DeleteDeployment", DeleteDeploymentRequest(id=kept))
    assert audited.did(11) == [
        ("anna", "JobService/CreateJob", f"jobs/{job}", "OK"),
        ("anna", "JobService/RunJob", f"jobs/{ran}", "OK"),
        ("adam", "JobService/RerunJob", f"jobs/{again}", "OK"),
        ("adam", "JobService/CancelJob", f"jobs/{again}", "OK"),
        ("anna", "JobService/CreateJob", f"jobs/{other}", "OK"),
        ("anna", "JobService/CancelJobs", f"jobs/{other}", "OK"),
        ("anna", "JobService/DeleteJobs", f"jobs/{other}", "OK"),
        ("anna", "JobService/DeleteJob", f"jobs/{job}", "OK"),
        ("anna", "DeploymentService/CreateDeployment", f"deployments/{kept}", "OK"),
        ("adam", "DeploymentService/UpdateDeployment", f"deployments/{kept}", "OK"),
        ("anna", "DeploymentService/DeleteDeployment", f"deployments/{kept}", "OK"),
    ]
    assert verify(audited.rpc.db).errors == []


def test_the_reads_of_an_operator_of_other_owners_are_recorded_and_own_ones_are_not(audited: Audited) -> None:
    job = audited.create()
    audited.rpc.run(job)
    (result,) = audited.call("anna", "ResultService/ListResults", ListResultsRequest(job_id=job)).results
    for name in ("anna", "olga"):
        deployment = audited.call(name, "JobService/GetJob", GetJobRequest(id=job)).job.deployment_id
        audited.call(name, "JobService/WatchJob", WatchJobRequest(job_id=job))
        audited.call(name, "JobService/ListJobEvents", ListJobEventsRequest(job_id=job))
        audited.call(name, "ResultService/ListResults", ListResultsRequest(job_id=job))
        audited.call(name, "DeploymentService/GetDeployment", GetDeploymentRequest(id=deployment))
        audited.call(name, "JobService/ListJobs", ListJobsRequest())
    own = audited.create("olga")
    audited.call("olga", "JobService/GetJob", GetJobRequest(id=own))
    assert audited.did(7) == [
        ("anna", "JobService/CreateJob", f"jobs/{job}", "OK"),
        ("olga", "JobService/GetJob", f"jobs/{job}", "OK"),
        ("olga", "JobService/WatchJob", f"jobs/{job}", "OK"),
        ("olga", "JobService/ListJobEvents", f"jobs/{job}", "OK"),
        ("olga", "ResultService/ListResults", f"jobs/{job}", "OK"),
        ("olga", "DeploymentService/GetDeployment", f"deployments/{deployment}", "OK"),
        ("olga", "JobService/CreateJob", f"jobs/{own}", "OK"),
    ]
    audited.call("olga", "SystemService/ListWorkers", ListWorkersRequest())
    audited.call("adam", "AuditService/ListAuditEntries", ListAuditEntriesRequest())
    assert audited.did(9)[7:] == [
        ("olga", "SystemService/ListWorkers", "", "OK"),
        ("adam", "AuditService/ListAuditEntries", "", "OK"),
    ]
    code, _ = refused(lambda: audited.call("olga", "ResultService/ReadBuffer", ReadBufferRequest(name="jobs/1/x")))
    assert code == "NOT_FOUND"
    assert result.id


def test_refused_calls_are_recorded_with_their_reason(audited: Audited) -> None:
    job = audited.create()
    audited.entries(1)
    for name, method, request in (
        ("ben", "JobService/CancelJob", CancelJobRequest(id=job)),
        ("ben", "SystemService/ListWorkers", ListWorkersRequest()),
        ("ben", "JobService/WatchJob", WatchJobRequest(job_id=job)),
        ("anna", "JobService/CreateJob", CreateJobRequest(device="IBM/none")),
        ("anna", "JobService/RunJob", bell(shots=0)),
        ("anna", "AuditService/ListAuditEntries", ListAuditEntriesRequest()),
    ):
        refused(lambda name=name, method=method, request=request: audited.call(name, method, request))
    assert audited.did(6, 'outcome != "OK"') == [
        ("ben", "JobService/CancelJob", f"jobs/{job}", "NOT_FOUND"),
        ("ben", "SystemService/ListWorkers", "", "PERMISSION_DENIED"),
        ("ben", "JobService/WatchJob", f"jobs/{job}", "NOT_FOUND"),
        ("anna", "JobService/CreateJob", "", "INVALID_FIELD"),
        ("anna", "JobService/RunJob", "", "INVALID_FIELD"),
        ("anna", "AuditService/ListAuditEntries", "", "PERMISSION_DENIED"),
    ]


def test_calls_without_a_valid_token_are_recorded_with_their_address(audited: Audited) -> None:
    refused(lambda: audited.call("", "JobService/ListJobs", ListJobsRequest()))
    audited.tokens["anna"] = "qdt_wrong"
    refused(lambda: audited.call("anna", "JobService/RunJob", bell()))
    first, second = audited.entries(2)
    assert (first.principal, first.authentication, first.outcome) == ("", "", "AUTHENTICATION_REQUIRED")
    assert (second.method, second.outcome) == ("JobService/RunJob", "INVALID_TOKEN")
    assert first.peer.startswith("ipv4:127.0.0.1:")
    assert second.peer == first.peer
    assert "qdt_wrong" not in f"{first}{second}"


def test_refusals_cannot_fill_the_disk(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    job = audited.create()
    for _ in range(3 * audited_calls.MAX_OF_PRINCIPAL):
        refused(lambda: audited.call("ben", "JobService/CancelJob", CancelJobRequest(id=job)))
    # Others are not affected. Entries are written in order, so those before this one are stored, too.
    refused(lambda: audited.call("olga", "JobService/DeleteJob", DeleteJobRequest(id=job)))
    (entry,) = audited.entries(1, "principal = olga")
    # A change of the minute allows further entries.
    recorded = audit_list.list_page(audited.rpc.db, 1000, filter="principal = ben").items
    assert audited_calls.MAX_OF_PRINCIPAL <= len(recorded) <= 2 * audited_calls.MAX_OF_PRINCIPAL
    assert entry.left_out + sum(one.left_out for one in recorded) + len(recorded) == 3 * audited_calls.MAX_OF_PRINCIPAL


def test_the_bound_of_refusals_holds_for_one_principal_and_for_all() -> None:
    now = 0.0
    limit = RefusalLimit(lambda: now)
    assert [limit.allow("anna") for _ in range(12)] == [0] * 10 + [None] * 2
    assert limit.allow("ben") == 2
    allowed = [limit.allow(f"user{number}") for number in range(100)]
    assert allowed.count(0) == audited_calls.MAX_REFUSALS - 11
    now = 60.0
    assert limit.allow("anna") == 100 - (audited_calls.MAX_REFUSALS - 11)


def test_no_entry_contains_a_program_an_input_or_a_secret(audited: Audited) -> None:
    circuit = BELL.replace("creg c[2];", f"creg c[2];// {SECRET}")
    request = CreateJobRequest(job=Job(shots=10, name=SECRET), deployment=programs(circuit), device="IBM/aer_simulator")
    request.job.inputs.update({"text": SECRET})
    request.job.labels["key"] = SECRET
    job = audited.call("anna", "JobService/CreateJob", request).job.id
    request.device = SECRET
    refused(lambda: audited.call("anna", "JobService/CreateJob", request))
    request.credential = SECRET
    request.device = "IBM/aer_simulator"
    refused(lambda: audited.call("anna", "JobService/CreateJob", request))
    audited.call("anna", "JobService/CancelJobs", CancelJobsRequest(filter=f'name = "{SECRET}"'))
    text = str(audited.entries(4))
    assert f"jobs/{job}" in text
    assert SECRET not in text


def test_the_mode_all_records_reads_too(serve: Callable[..., Audited]) -> None:
    every = serve(audit="all")
    job = every.create()
    every.call("anna", "JobService/GetJob", GetJobRequest(id=job))
    every.call("anna", "SystemService/GetServerInfo", GetServerInfoRequest())
    every.call("anna", "JobService/WatchJob", WatchJobRequest(job_id=job))
    assert every.did(4)[1:] == [
        ("anna", "JobService/GetJob", f"jobs/{job}", "OK"),
        ("anna", "SystemService/GetServerInfo", "", "OK"),
        ("anna", "JobService/WatchJob", f"jobs/{job}", "OK"),
    ]


def test_the_mode_off_records_nothing(serve: Callable[..., Audited]) -> None:
    none = serve(audit="off")
    job = none.create()
    refused(lambda: none.call("ben", "JobService/CancelJob", CancelJobRequest(id=job)))
    none.call("olga", "JobService/GetJob", GetJobRequest(id=job))
    none.create()
    assert audit_list.list_page(none.rpc.db).items == []


def test_a_forwarded_address_counts_from_a_trusted_proxy_alone(serve: Callable[..., Audited]) -> None:
    forwarded = ("x-forwarded-for", "203.0.113.9, 198.51.100.7")
    request = CreateJobRequest(job=Job(shots=10), deployment=programs(BELL), device="IBM/aer_simulator")
    direct = serve()
    direct.call("anna", "JobService/CreateJob", request, forwarded)
    (entry,) = direct.entries(1)
    assert entry.peer.startswith("ipv4:127.0.0.1:")
    behind = serve(trusted_proxies=("127.0.0.1",))
    behind.call("anna", "JobService/CreateJob", request, forwarded)
    behind.create()
    assert [one.peer[:14] for one in behind.entries(3)[1:]] == ["198.51.100.7", "ipv4:127.0.0.1"]


def test_addresses_of_proxies_are_compared_without_port() -> None:
    audit = AuditedCalls(None, "changes", ("10.0.0.1", "::1", "unix:"))  # type: ignore[arg-type]
    forwarded = (("x-forwarded-for", "a"),)
    assert audit.address("ipv4:10.0.0.1:5", forwarded) == "a"
    assert audit.address("ipv6:%5B::1%5D:5", forwarded) == "a"
    assert audit.address("ipv4:10.0.0.11:5", forwarded) == "ipv4:10.0.0.11:5"
    assert audit.address("unix:", forwarded) == "a"
    assert audit.address("ipv4:10.0.0.1:5", (("x-forwarded-for", "x" * 999),)) == "x" * 64
    assert audit.address("ipv4:10.0.0.1:5", ()) == "ipv4:10.0.0.1:5"


def test_an_admin_reads_the_entries_over_the_wire(audited: Audited) -> None:
    for _ in range(3):
        audited.create()
    stub = AuditServiceStub(audited.rpc.channel)
    listed = stub.ListAuditEntries(
        ListAuditEntriesRequest(page_size=2, filter="principal = anna"), metadata=audited.metadata("adam"), timeout=WAIT
    )
    assert [entry.object for entry in listed.entries] == ["jobs/3", "jobs/2"]
    more = ListAuditEntriesRequest(page_size=2, filter="principal = anna", page_token=listed.next_page_token)
    last = stub.ListAuditEntries(more, metadata=audited.metadata("adam"), timeout=WAIT)
    assert [entry.object for entry in last.entries] == ["jobs/1"]
    with pytest.raises(grpc.RpcError) as raised:
        stub.ListAuditEntries(ListAuditEntriesRequest(), metadata=audited.metadata("olga"), timeout=WAIT)
    assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_no_rpc_changes_the_log() -> None:
    (service,) = (one for one in SERVICES.values() if one.name == "AuditService")
    assert [method.name for method in service.methods] == ["ListAuditEntries"]


@pytest.mark.parametrize(
    ("method", "fields", "named"),
    [
        ("JobService/GetJob", {"id": 7}, "jobs/7"),
        ("JobService/WatchJob", {"job_id": 7}, "jobs/7"),
        ("JobService/CreateJob", {"job": Job(id=7)}, ""),
        ("DeploymentService/UpdateDeployment", {"deployment": Deployment(id=7)}, "deployments/7"),
        ("ResultService/ReadBuffer", {"name": "jobs/7/in\nputs" + "x" * 999}, "jobs/7/in?puts" + "x" * 114),
        ("DeviceService/RefreshDevices", {"provider_id": 2}, "providers/2"),
        ("JobService/ListJobs", {}, ""),
    ],
)
def test_the_object_of_a_request_is_named(method: str, fields: dict[str, Any], named: str) -> None:
    request_type = message_factory.GetMessageClass(METHODS[method].input_type)
    assert named_object(method, request_type)(request_type(**fields)) == named
