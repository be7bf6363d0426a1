# SPDX-License-Identifier: Apache-2.0
"""Call every RPC as users of each role, and print the answers: `python -m tests.contract.access_walk`.

The output is the table of docs/access.md; test_rpc_authorization.py compares each of its rows with the calls.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import structlog
from google.protobuf import message_factory
from google.protobuf.message import Message

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2 import CreateCredentialRequest
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.rpc.auth import token_file
from qonduit_server.rpc.auth.authenticator import Authenticator
from qonduit_server.rpc.auth.authorization import ACCESS, Access
from qonduit_server.rpc.auth.principal import Role
from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry
from qonduit_server.rpc.server import SERVICES
from qonduit_server.store import pauses
from qonduit_server.store import projects as project_rows
from qonduit_server.store.pauses import Paused
from tests.contract.rpc_fixture import BELL, RpcFixture, programs, rpc_fixture

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


#: The columns of the table, by caller; "" has no token.
CALLERS: Final = {
    "": "no token",
    "revoked": "revoked token",
    "ben": "another user",
    "anna": "the owner",
    "olga": "operator",
    "adam": "admin",
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


@contextmanager
def serving_people(folder: Path) -> Iterator[Served]:
    """Serve to people with tokens of several roles. `revoked` is a token of Anna's that was revoked."""
    file = folder / "tokens"
    tokens = {name: token_file.create(file, name, role, None)[0] for name, role in PEOPLE.items()}
    tokens["revoked"], stored = token_file.create(file, "anna", Role.USER, None)
    assert token_file.revoke(file, start=stored.id) == [stored.id]
    authenticate = Authenticator((StaticTokens(TokenRegistry(file)),), None)
    with rpc_fixture(
        folder,
        authenticate=authenticate,
        reject_early=authenticate.reject_early,
        refresh_devices=lambda *_: None,
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


def request_for(method: str, objects: Objects) -> dict[str, Any]:
    """Return the fields of a request that uses Anna's objects, if the method uses any."""
    name = method.rpartition("/")[2]
    ids: dict[str, dict[str, Any]] = {
        "CancelJob": {"id": objects.waiting},
        "UpdateJob": {"job": Job(id=objects.waiting, priority=3)},
        "DeleteJob": {"id": objects.job},
        "RerunJob": {"id": objects.job},
        "ResolveSubmission": {"id": objects.job, "not_submitted": True},
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


def names_object(method: str) -> bool:
    """Return whether the request of a method names an object of Anna's: lists and calls that create do not."""
    any_objects = Objects(*range(len(Objects._fields)))
    return bool(request_for(method, any_objects)) and not method.endswith(NEW)


def walk(served: Served, method: str) -> dict[str, str]:
    """Return the outcome of a method for each person; those who are refused call first and change nothing."""
    objects: Objects | None = None
    answered = ANSWERED[ACCESS[method]]
    reads = method.rpartition("/")[2].startswith(("Get", "List", "Read", "Watch"))
    codes = {}
    for name in sorted(CALLERS, key=lambda name: name in answered):
        objects = objects or create_objects(served)
        codes[name] = outcome(served, name, method, objects)
        if codes[name] == "OK" and not reads:
            objects = None
    return codes


def row_of(method: str, codes: dict[str, str]) -> str:
    """Return the row of a method in the table, from the outcomes of a walk."""
    cells = [{"OK": "yes", "PERMISSION_DENIED": "no role"}.get(codes[name], codes[name]) for name in CALLERS]
    return f"| `{method.removeprefix('qonduit.v1.')}` | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"| RPC | {' | '.join(CALLERS.values())} |")
    print("|---" * (len(CALLERS) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder, serving_people(Path(folder)) as served:
        for method in sorted(METHODS):
            print(row_of(method, walk(served, method)), flush=True)


if __name__ == "__main__":
    main()
