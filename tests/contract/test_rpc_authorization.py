# SPDX-License-Identifier: Apache-2.0
"""Every RPC, called by two users, an operator, an admin and a caller without a token, over the wire."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from sqlalchemy import Engine, event

from qonduit.v1.deployment_service_pb2 import ListDeploymentsRequest
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2 import ListJobsRequest
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.authenticator import Authenticator
from qonduit_server.rpc.auth.authorization import ACCESS, Access
from qonduit_server.rpc.auth.principal import Role, with_lower_roles
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from tests.contract.access_walk import (
    ANSWERED,
    METHODS,
    OF_OBJECTS,
    PEOPLE,
    Objects,
    Served,
    create_objects,
    names_object,
    outcome,
    request_for,
    row_of,
    serving_people,
    walk,
)
from tests.contract.rpc_fixture import WAIT, bell, refused, rpc_fixture

#: The methods that decide without the database whether an object is visible.
WITHOUT_STATEMENTS: Final = ("/GetQuota", "/ListUsage")
#: The methods whose requests name an object of a user.
NAMING: Final = sorted(name for name in METHODS if ACCESS[name] in OF_OBJECTS and names_object(name))
PAGE: Final = Path(__file__).parents[2] / "docs" / "access.md"


@pytest.fixture(scope="module")
def statements() -> Iterator[list[tuple[str, str]]]:
    """Yield the statements of all databases that are opened from now on, each after the name of its thread."""
    seen: list[tuple[str, str]] = []

    def trace(connection: Any, _: object) -> None:
        # By the driver, which executes some statements without SQLAlchemy.
        connection.set_trace_callback(lambda statement: seen.append((threading.current_thread().name, statement)))

    event.listen(Engine, "connect", trace)
    yield seen
    event.remove(Engine, "connect", trace)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, statements: list[tuple[str, str]]) -> Iterator[Served]:
    with serving_people(tmp_path_factory.mktemp("authorization")) as found:
        yield found


@pytest.fixture
def objects(served: Served) -> Objects:
    return create_objects(served)


def requests_of(method: str, objects: Objects) -> tuple[Message, Message]:
    """Return a request that names an object of Anna's, and one that names a missing object."""
    make = message_factory.GetMessageClass(METHODS[method].input_type)
    missing = Objects(*(number + 10**9 for number in objects))
    return make(**request_for(method, objects)), make(**request_for(method, missing))


def test_every_rpc_of_the_contract_has_an_access() -> None:
    health = health_pb2.DESCRIPTOR.services_by_name["Health"]
    reflection = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    others = {f"{service.full_name}/{method.name}" for service in (health, reflection) for method in service.methods}
    others |= {name.replace("v1alpha", "v1") for name in others}
    assert {name for name, access in ACCESS.items() if access is Access.PUBLIC} <= others | {
        "grpc.health.v1.Health/List"
    }
    assert set(METHODS) == {name for name in ACCESS if name.startswith("qonduit.")}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_rpc_is_answered_to_those_of_its_access_and_refused_to_others(served: Served, method: str) -> None:
    access = ACCESS[method]
    own = access in OF_OBJECTS
    answered = ANSWERED[Access.ANY_CALLER if own and not names_object(method) else access]
    codes = walk(served, method)
    for name, code in codes.items():
        if name in answered:
            assert code == "OK", name
        elif name in ("", "revoked"):
            assert code == "UNAUTHENTICATED"
        elif own:
            assert code == "NOT_FOUND", name
        else:
            assert code == "PERMISSION_DENIED", name
    assert row_of(method, codes) in PAGE.read_text().splitlines(), "python -m tests.contract.access_walk"


def test_the_page_of_the_access_has_no_other_rows() -> None:
    rows = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [method.removeprefix("qonduit.v1.") for method in sorted(METHODS)]


@pytest.mark.parametrize("method", NAMING)
def test_the_object_of_another_user_looks_like_a_missing_one(served: Served, objects: Objects, method: str) -> None:
    others, missing = requests_of(method, objects)

    def refusal(request: Message) -> tuple[str, Any]:
        code, details = refused(lambda: served.call("ben", method, request))
        return code, details["ResourceInfo"]

    (code, theirs), (other_code, none) = refusal(others), refusal(missing)
    assert code == other_code == "NOT_FOUND"
    assert theirs.resource_type == none.resource_type
    for number in sorted(objects, reverse=True):  # no number is a part of one that follows
        theirs.resource_name = theirs.resource_name.replace(str(number), "N")
        theirs.description = theirs.description.replace(str(number), "N")
        none.resource_name = none.resource_name.replace(str(number + 10**9), "N")
        none.description = none.description.replace(str(number + 10**9), "N")
    assert theirs == none


@pytest.mark.parametrize("method", NAMING)
def test_the_object_of_another_user_costs_the_statements_of_a_missing_one(
    served: Served, objects: Objects, statements: list[tuple[str, str]], method: str
) -> None:
    def executed(request: Message) -> list[str]:
        """Return the statements of a call, with N for every number."""
        statements.clear()
        assert refused(lambda: served.call("ben", method, request))[0] == "NOT_FOUND"
        of_calls = [sql for thread, sql in list(statements) if thread.startswith(("rpc_", "rpc-open", "store-writer"))]
        return [re.sub(r"[0-9]+", "N", sql) for sql in of_calls]

    others, missing = requests_of(method, objects)
    # The server reads the projects of a caller again after half a second: not in each of a few calls.
    theirs, none = (min((executed(request) for _ in range(4)), key=len) for request in (others, missing))
    assert theirs == none
    assert theirs or method.endswith(WITHOUT_STATEMENTS)


def test_a_refused_change_changes_nothing(served: Served, objects: Objects) -> None:
    for name in ("ben", "olga"):
        for method in ("CancelJob", "DeleteJob", "RerunJob"):
            if (name, method) != ("olga", "CancelJob"):
                assert outcome(served, name, f"qonduit.v1.JobService/{method}", objects) == "NOT_FOUND"
        for method in ("UpdateDeployment", "DeleteDeployment"):
            assert outcome(served, name, f"qonduit.v1.DeploymentService/{method}", objects) == "NOT_FOUND"
    get = message_factory.GetMessageClass(METHODS["qonduit.v1.JobService/GetJob"].input_type)
    job = served.call("anna", "qonduit.v1.JobService/GetJob", get(id=objects.waiting)).job
    assert job.state == JobState.JOB_STATE_QUEUED
    assert served.call("anna", "qonduit.v1.JobService/GetJob", get(id=objects.job)).job.id == objects.job


def owners(served: Served, name: str, filter: str) -> set[str]:
    """Return the owners of the jobs and deployments in the lists of a person."""
    jobs = served.call(name, "qonduit.v1.JobService/ListJobs", ListJobsRequest(filter=filter)).jobs
    listed = ListDeploymentsRequest(filter=filter)
    found = served.call(name, "qonduit.v1.DeploymentService/ListDeployments", listed).deployments
    return {job.executed_by for job in jobs} | {each.deployed_by for each in found}


@pytest.mark.parametrize("filter", ["", 'NOT name = "no"', "id > 0"])
def test_a_list_contains_the_objects_of_the_caller_alone(served: Served, objects: Objects, filter: str) -> None:
    for name in PEOPLE:
        assert owners(served, name, filter) <= {name}
    assert owners(served, "anna", filter) == {"anna"}


@pytest.mark.parametrize(
    "filter", ['owner = "anna"', 'owner = "*"', 'owner != "x"', 'NOT owner = "x"', "owner:* OR id = 1"]
)
def test_only_operators_list_the_objects_of_others_by_naming_the_owner(
    served: Served, objects: Objects, filter: str
) -> None:
    for name in ("olga", "adam"):
        assert "anna" in owners(served, name, filter)
    assert owners(served, "anna", filter) == {"anna"}
    assert owners(served, "ben", filter) <= {"ben"}


@pytest.mark.parametrize(("method", "allowed"), [("CancelJobs", ("olga", "adam")), ("DeleteJobs", ("adam",))])
def test_a_bulk_change_of_the_jobs_of_others_needs_a_role(
    served: Served, objects: Objects, method: str, allowed: tuple[str, ...]
) -> None:
    request = message_factory.GetMessageClass(METHODS[f"qonduit.v1.JobService/{method}"].input_type)
    job = objects.waiting if method == "CancelJobs" else objects.job
    for name in ("ben", "olga", "adam"):
        for owner in ("anna", "*"):
            asked = request(filter=f'owner = "{owner}" AND id = {job}', validate_only=True)
            assert served.call(name, f"qonduit.v1.JobService/{method}", asked).count == (name in allowed)
    asked = request(filter=f'owner = "anna" AND id = {job}')
    assert served.call(allowed[0], f"qonduit.v1.JobService/{method}", asked).job_ids == [job]


def test_a_bulk_change_changes_the_jobs_of_the_caller_alone(served: Served, objects: Objects) -> None:
    get = message_factory.GetMessageClass(METHODS["qonduit.v1.JobService/GetJob"].input_type)
    for method in ("CancelJobs", "DeleteJobs"):
        request = message_factory.GetMessageClass(METHODS[f"qonduit.v1.JobService/{method}"].input_type)
        for name in ("ben", "olga", "adam"):
            done = served.call(name, f"qonduit.v1.JobService/{method}", request(filter=f"id = {objects.waiting}"))
            assert done.count == 0
    job = served.call("anna", "qonduit.v1.JobService/GetJob", get(id=objects.waiting)).job
    assert job.state == JobState.JOB_STATE_QUEUED


def test_a_rerun_by_an_admin_belongs_to_the_owner_of_the_job(served: Served, objects: Objects) -> None:
    rerun = message_factory.GetMessageClass(METHODS["qonduit.v1.JobService/RerunJob"].input_type)
    job = served.call("adam", "qonduit.v1.JobService/RerunJob", rerun(id=objects.job)).job
    assert job.executed_by == "anna"


def test_the_same_request_id_of_two_callers_makes_two_jobs(served: Served) -> None:
    request = bell(request_id="0b9d1d1c-6f1e-4b5e-9d6a-0a4b4b5f3c11")
    ids = {
        served.call(name, "qonduit.v1.JobService/RunJob", request).event.created.executed_by for name in ("anna", "ben")
    }
    assert ids == {"anna", "ben"}


@pytest.mark.parametrize("public", [True, False])
def test_health_and_reflection_are_public_unless_a_setting_says_otherwise(tmp_path: Path, public: bool) -> None:
    token, _ = token_file.create(tmp_path / "tokens", "anna", Role.USER, None)
    authenticate = Authenticator((StaticTokens(TokenRegistry(tmp_path / "tokens")),), None)
    with rpc_fixture(
        tmp_path,
        authenticate=authenticate,
        reject_early=authenticate.reject_early,
        public_health=public,
        public_reflection=public,
    ) as rpc:
        listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        reflect = rpc.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        check = rpc.channel.unary_unary("/grpc.health.v1.Health/Check")
        watch = rpc.channel.unary_stream("/grpc.health.v1.Health/Watch")
        calls: list[Callable[[Any], Any]] = [
            lambda metadata: check(b"", metadata=metadata, timeout=WAIT),
            lambda metadata: next(watch(b"", metadata=metadata, timeout=WAIT)),
            lambda metadata: next(reflect(iter([listing]), metadata=metadata, timeout=WAIT)),
        ]
        for call in calls:
            assert call([("authorization", f"Bearer {token}")])
            if public:
                assert call(None)
            else:
                code, details = refused(lambda call=call: call(None))
                assert (code, details["ErrorInfo"].reason) == ("UNAUTHENTICATED", "AUTHENTICATION_REQUIRED")


def test_an_rpc_without_an_access_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qonduit_server.rpc import server

    monkeypatch.setattr(server, "ACCESS", {name: ACCESS[name] for name in ACCESS if not name.endswith("/GetJob")})
    with pytest.raises(KeyError, match="GetJob"), rpc_fixture(tmp_path):
        pass


def test_each_role_includes_the_lower_ones() -> None:
    assert with_lower_roles([]) == frozenset()
    assert with_lower_roles([Role.USER]) == {Role.USER}
    assert with_lower_roles([Role.OPERATOR]) == {Role.USER, Role.OPERATOR}
    assert with_lower_roles([Role.ADMIN]) == with_lower_roles([Role.USER, Role.ADMIN]) == frozenset(Role)
