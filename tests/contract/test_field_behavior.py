# SPDX-License-Identifier: Apache-2.0
"""`google.api.field_behavior` of the contract agrees with its comments and with the server."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import Job
from qonduit_server.rpc.server import SERVICES
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, programs, refused, rpc_fixture

OUTPUT_ONLY = field_behavior_pb2.OUTPUT_ONLY
REQUIRED = field_behavior_pb2.REQUIRED
PROTOS = Path(__file__).resolve().parents[2] / "protos"
METHODS = sorted(
    (method for service in SERVICES.values() for method in service.methods), key=lambda method: method.full_name
)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc")) as it:
        yield it


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the comment of each field of the contract, by the field's full name."""
    written = tmp_path_factory.mktemp("descriptor") / "contract.binpb"
    sources = sorted(str(path) for path in PROTOS.glob("qonduit/v1/*.proto"))
    includes = [f"-I{PROTOS}", f"-I{PROTOS / 'third_party'}"]
    options = ["--include_source_info", f"--descriptor_set_out={written}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *sources], check=True)
    found = {}
    for file in FileDescriptorSet.FromString(written.read_bytes()).file:
        for place in file.source_code_info.location:
            # Messages are field 4 of a file, fields are field 2 of a message (descriptor.proto).
            if len(place.path) == 4 and place.path[0] == 4 and place.path[2] == 2:
                message = file.message_type[place.path[1]]
                name = f"{file.package}.{message.name}.{message.field[place.path[3]].name}"
                found[name] = " ".join(place.leading_comments.split())
    return found


def behaviors(field: FieldDescriptor) -> list[int]:
    return list(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def accepted_fields(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Yield every field of a request and of its messages, except fields inside output-only fields."""
    if message.full_name in seen or not message.full_name.startswith("qonduit."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None and OUTPUT_ONLY not in behaviors(field):
            yield from accepted_fields(field.message_type, seen)


def test_comments_and_annotations_of_all_request_fields_agree(comments: dict[str, str]) -> None:
    seen: set[str] = set()
    fields = [field for method in METHODS for field in accepted_fields(method.input_type, seen)]
    assert len(fields) > 80
    differing = [
        field.full_name
        for field in fields
        # The entries of maps have no comments of their own.
        if not field.containing_type.GetOptions().map_entry
        and ("Output only" in comments[field.full_name]) != (OUTPUT_ONLY in behaviors(field))
    ]
    assert differing == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_request_without_its_required_fields_is_refused_and_names_them(rpc: RpcFixture, method) -> None:  # type: ignore[no-untyped-def]
    required = {field.name for field in method.input_type.fields if REQUIRED in behaviors(field)}
    name = f"/{method.containing_service.full_name}/{method.name}"
    if not required:
        rpc.channel.unary_unary(name)(b"", timeout=WAIT)
        return
    if method.server_streaming:
        code, details = refused(lambda: list(rpc.channel.unary_stream(name)(b"", timeout=WAIT)))
    else:
        code, details = refused(lambda: rpc.channel.unary_unary(name)(b"", timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert required <= {each.field.partition(".")[0] for each in details["BadRequest"].field_violations}


def fill_output_only(message: Message) -> int:
    """Set every output-only field to a value that the server would never return; return how many were set."""
    count = 0
    for field in message.DESCRIPTOR.fields:
        if OUTPUT_ONLY not in behaviors(field):
            continue
        count += 1
        value = getattr(message, field.name)
        if field.is_repeated:
            value.add()
        elif field.message_type is not None:
            value.SetInParent()
        else:
            setattr(message, field.name, "made up" if field.type == FieldDescriptor.TYPE_STRING else 1)
    return count


def created(rpc: RpcFixture, job: Job, deployment: Deployment) -> Job:
    request = job_service.CreateJobRequest(job=job, deployment=deployment, device="IBM/aer_simulator")
    return rpc.jobs.CreateJob(request, timeout=WAIT).job


def test_output_only_fields_of_a_request_are_ignored(rpc: RpcFixture) -> None:
    deployment = programs(BELL)
    deployment.name = "plain"
    plain = created(rpc, Job(shots=10), deployment)
    filled = Job(shots=10)
    assert fill_output_only(filled) == 33
    assert fill_output_only(deployment) == 4
    assert fill_output_only(deployment.programs[0]) == 2
    job = created(rpc, filled, deployment)
    assert job.id == plain.id + 1
    assert job.drawn_seed != 1
    for each in (job, plain):
        for name in ("id", "deployment_id", "created_at", "drawn_seed"):
            each.ClearField(name)
        for run in each.program_runs:
            run.ClearField("program_id")
    assert job == plain

    # Nor do they make a repeated request a different one.
    repeated = job_service.CreateJobRequest(
        job=Job(shots=10), deployment=programs(BELL), device="IBM/aer_simulator", request_id=str(uuid.uuid4())
    )
    first = rpc.jobs.CreateJob(repeated, timeout=WAIT)
    for message in (repeated.job, repeated.deployment, repeated.deployment.programs[0]):
        fill_output_only(message)
    again = rpc.jobs.CreateJob(repeated, timeout=WAIT)
    assert (again.deduplicated, again.job.id) == (True, first.job.id)

    request = deployment_service.CreateDeploymentRequest(deployment=deployment)
    stored = rpc.deployments.CreateDeployment(request, timeout=WAIT).deployment
    assert stored.id != 1
    assert stored.deployed_by != "made up"
    assert stored.deployed_at.ToMilliseconds() > 0
    assert {program.deployment_id for program in stored.programs} == {stored.id}
