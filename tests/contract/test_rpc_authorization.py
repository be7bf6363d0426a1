# SPDX-License-Identifier: Apache-2.0
"""Every RPC, called by two users, an operator, an admin and a caller without a token, over the wire."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2 import CreateCredentialRequest
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, ListDeploymentsRequest
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2 import CreateJobRequest, ListJobsRequest
from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.authenticator import Authenticator
from qonduit_server.rpc.auth.authorization import ACCESS, Access
from qonduit_server.rpc.auth.principal import Role, with_lower_roles
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from qonduit_server.rpc.server import SERVICES
from qonduit_server.store import pauses
from qonduit_server.store import projects as project_rows
from qonduit_server.store.pauses import Paused
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, programs, refused, rpc_fixture

PEOPLE: Final = {"anna": Role.USER, "ben": Role.USER, "olga": Role.OPERATOR, "adam": Role.ADMIN}
METHODS: Final = {
    f"{service.full_name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}
#: The methods that make a new object and use none.
NEW: Final = ("/CreateDeployment", "/CreateCredential", "/CreateProject")
#: Those that are answered, for each access, if the object is Anna's.
ANSWERED: Final = {
    Access.PUBLIC: {"", "anna", "ben", "olga", "adam"},
    Access.ANY_CALLER: {"anna", "ben", "olga", "adam"},
    Access.OWN: {"anna"},
    Access.READ: {"anna", "olga", "adam"},
    Access.OPERATE: {"anna", "olga", "adam"},
    Access.CHANGE: {"anna", "adam"},
    Access.OPERATOR: {"olga", "adam"},
    Access.ADMIN: {"adam"},
}


OF_OBJECTS: Final = (Access.OWN, Access.READ, Access.OPERATE, Access.CHANGE)


class Objects(NamedTuple):
    """Objects of Anna's: an ended job with large inputs, its result and deployment, a waiting job, a credential."""

    job: int
    waiting: int
    result: int
    deployment: int
    unused: int
    credential: int


class Served(NamedTuple):
    rpc: RpcFixture
    tokens: dict[str, str]

    def metadata(self, name: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.tokens[name]}")] if name else []

    def call(self, name: str, method: str, request: Message) -> Any:
        """Call a method by its full name as a person; return the response, or the first one of a stream."""
        return self.rpc.call(METHODS[method], request, self.metadata(name))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("authorization")
    tokens = {name: token_file.create(folder / "tokens", name, role, None)[0] for name, role in PEOPLE.items()}
    authenticate = Authenticator((StaticTokens(TokenRegistry(folder / "tokens")),), None)
    with rpc_fixture(
        folder,
        authenticate=authenticate,
        reject_early=authenticate.reject_early,
        refresh_devices=lambda _: None,
        keys=KeyRing(keys=[Key("one", b"k" * 32)]),
    ) as rpc:
        yield Served(rpc, tokens)


def create_objects(served: Served) -> Objects:
    def create(**fields: Any) -> Job:
        request = CreateJobRequest(job=Job(shots=10, **fields), deployment=programs(BELL), device="IBM/aer_simulator")
        request.job.inputs.update({"text": "x" * 6000})
        made: Job = served.call("anna", "qonduit.v1.JobService/CreateJob", request).job
        return made

    pauses.resume(served.rpc.db, Paused())  # an operator may have called PauseServer
    job = create()
    served.rpc.run(job.id)
    listed = ListResultsRequest(job_id=job.id)
    (result,) = served.call("anna", "qonduit.v1.ResultService/ListResults", listed).results
    unused = CreateDeploymentRequest(deployment=programs(BELL))
    deployment = served.call("anna", "qonduit.v1.DeploymentService/CreateDeployment", unused).deployment
    name = f"lab-{job.id}"
    store = served.rpc.db
    for earlier in project_rows.list_page(store, "", 1000, sees_all=True).items:
        project_rows.delete(store, "", earlier.name, sees_all=True)  # a user has at most 32
    project_rows.create(store, "anna", Project(name=name))
    dora = ProjectMember(user=f"dora-{job.id}", role=ProjectRole.PROJECT_ROLE_VIEWER)
    project_rows.set_member(store, "anna", name, dora)
    return Objects(job.id, create().id, result.id, job.deployment_id, deployment.id, create_credential(served))


def new_credential() -> Credential:
    """Return a credential to create, under a name that no other one has."""
    return Credential(name=f"of-{uuid.uuid4()}", provider_id=2)


def create_credential(served: Served) -> int:
    request = CreateCredentialRequest(credential=new_credential(), secret="secret of anna")
    return int(served.call("anna", "qonduit.v1.CredentialService/CreateCredential", request).credential.id)


@pytest.fixture
def objects(served: Served) -> Objects:
    return create_objects(served)


def request_for(method: str, objects: Objects) -> dict[str, Any]:
    """Return the fields of a request that uses Anna's objects, if the method uses any."""
    name = method.rpartition("/")[2]
    ids: dict[str, dict[str, Any]] = {
        "CancelJob": {"id": objects.waiting},
        "UpdateJob": {"job": Job(id=objects.waiting, priority=3)},
        "DeleteJob": {"id": objects.job},
        "RerunJob": {"id": objects.job},
        "GetJob": {"id": objects.job},
        "WatchJob": {"job_id": objects.job},
        "ListJobEvents": {"job_id": objects.job},
        "GetResult": {"id": objects.result},
        "ListResults": {"job_id": objects.job},
        "ReadBuffer": {"name": f"jobs/{objects.job}/inputs"},
        "GetDeployment": {"id": objects.deployment},
        "UpdateDeployment": {"deployment": Deployment(id=objects.unused, name="new")},
        "DeleteDeployment": {"id": objects.unused},
        "CreateDeployment": {"deployment": programs(BELL)},
        "CreateJob": {"job": Job(shots=1, deployment_id=objects.unused), "device": "IBM/aer_simulator"},
        "RunJob": {"job": Job(shots=1, deployment_id=objects.unused), "device": "IBM/aer_simulator"},
        "CompareDevices": {"job": Job(shots=1, deployment_id=objects.unused)},
        "GetQuota": {"owner": "anna"},
        "ListUsage": {"owner": "anna"},
        "CreateProject": {"project": Project(name=f"new-{objects.job}")},
        "GetProject": {"name": f"lab-{objects.job}"},
        "UpdateProject": {"project": Project(name=f"lab-{objects.job}", description="new")},
        "DeleteProject": {"name": f"lab-{objects.job}"},
        "SetProjectMember": {
            "project": f"lab-{objects.job}",
            "member": ProjectMember(user="carl", role=ProjectRole.PROJECT_ROLE_VIEWER),
        },
        "RemoveProjectMember": {"project": f"lab-{objects.job}", "user": f"dora-{objects.job}"},
        "ListProjectMembers": {"project": f"lab-{objects.job}"},
        "GetDevice": {"id": 1},
        "GetDeviceStatus": {"id": 1},
        "GetDeviceCalibration": {"id": 2},
        "GetProvider": {"id": 1},
        "RefreshDevices": {"provider_id": 1},
        # Calls of operators, which do not pause the device of the objects.
        "PauseDevice": {"id": 2},
        "ResumeDevice": {"id": 2},
        "PauseProvider": {"id": 2},
        "ResumeProvider": {"id": 2},
        "SetShare": {"provider_id": 2, "owner": "anna", "weight": 2},
        "CreateCredential": {"credential": new_credential(), "secret": "a new secret"},
        "GetCredential": {"id": objects.credential},
        "UpdateCredential": {"id": objects.credential, "secret": "another secret"},
        "DeleteCredential": {"id": objects.credential},
    }
    return ids.get(name, {})


def outcome(served: Served, name: str, method: str, objects: Objects) -> str:
    """Return the status with which a call of a person ends; a status after authorization counts as OK."""
    request = message_factory.GetMessageClass(METHODS[method].input_type)(**request_for(method, objects))
    try:
        served.call(name, method, request)
    except grpc.RpcError as error:
        code: str = error.code().name
        # Not served by the fixture, or an invalid request: the call was authorized.
        return "OK" if code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED") else code
    return "OK"


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
def test_an_rpc_is_answered_to_those_of_its_access_and_refused_to_others(
    served: Served, objects: Objects, method: str
) -> None:
    access = ACCESS[method]
    # Lists, and calls that create, name no object of Anna's.
    names_object = bool(request_for(method, objects)) and not method.endswith(NEW)
    own = access in OF_OBJECTS
    answered = ANSWERED[Access.ANY_CALLER if own and not names_object else access]
    # Those who are refused first: their calls change nothing.
    for name in sorted(("", *PEOPLE), key=lambda name: name in answered):
        code = outcome(served, name, method, objects)
        if name in answered:
            assert code == "OK", name
            objects = create_objects(served)
        elif not name:
            assert code == "UNAUTHENTICATED"
        elif own:
            assert code == "NOT_FOUND", name
        else:
            assert code == "PERMISSION_DENIED", name


@pytest.mark.parametrize("method", sorted(name for name in METHODS if ACCESS[name] in OF_OBJECTS))
def test_the_object_of_another_user_looks_like_a_missing_one(served: Served, objects: Objects, method: str) -> None:
    fields = request_for(method, objects)
    if not fields or method.endswith(NEW):
        return  # a list, or a new object
    make = message_factory.GetMessageClass(METHODS[method].input_type)
    others = make(**fields)
    missing = make(**request_for(method, Objects(*(number + 10**9 for number in objects))))

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
