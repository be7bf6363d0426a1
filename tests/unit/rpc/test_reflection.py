# SPDX-License-Identifier: Apache-2.0
"""Reflection resolves every symbol of the contract, and answers unknown symbols without ending the call."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha.reflection_pb2 import ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse

from qonduit_server.rpc.reflection import SERVICES as OWN
from qonduit_server.rpc.reflection import Reflection
from qonduit_server.rpc.server import SERVICES

reflection = Reflection(SERVICES)


def ask(**request: object) -> ServerReflectionResponse:
    """Send one request and return its response."""
    return reflection.answer(ServerReflectionRequest(**request).SerializeToString())  # type: ignore[arg-type]


def files(answer: ServerReflectionResponse) -> list[descriptor_pb2.FileDescriptorProto]:
    """Return the files of a response."""
    return [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]


def test_the_services_are_listed() -> None:
    names = [service.name for service in ask(list_services="").list_services_response.service]
    assert names == sorted({*SERVICES, *OWN})


@pytest.mark.parametrize("service", [*SERVICES, *OWN])
def test_a_pool_can_be_built_from_the_answer_for_every_method(service: str) -> None:
    found = files(ask(file_containing_symbol=service))
    declared = next(one for file in found for one in file.service if f"{file.package}.{one.name}" == service)
    for method in declared.method:
        answer = ask(file_containing_symbol=f"{service}.{method.name}")
        pool = descriptor_pool.DescriptorPool()
        waiting = {file.name: file for file in files(answer)}

        def add(name: str, pool: descriptor_pool.DescriptorPool = pool, waiting: dict = waiting) -> None:  # type: ignore[type-arg]
            file = waiting.pop(name, None)
            if file is not None:
                for imported in file.dependency:
                    add(imported)
                pool.Add(file)

        for name in list(waiting):
            add(name)
        assert pool.FindServiceByName(service).methods_by_name[method.name].input_type is not None


@pytest.mark.parametrize(
    "symbol",
    [
        "qonduit.v1.Job.shots",
        "qonduit.v1.JobState.JOB_STATE_QUEUED",
        "qonduit.v1.JobEvent.event",
        "qonduit.v1.JobEvent",
    ],
)
def test_other_symbols_are_found(symbol: str) -> None:
    assert files(ask(file_containing_symbol=symbol))[0].package == "qonduit.v1"


def test_fields_have_their_json_names() -> None:
    event = next(
        file for file in files(ask(file_by_filename="qonduit/v1/event.proto")) if file.name.endswith("event.proto")
    )
    fields = {field.name: field.json_name for message in event.message_type for field in message.field}
    assert fields["job_id"] == "jobId"
    assert fields["last_sequence"] == "lastSequence"
    assert fields["progress"] == "progress"


def test_extensions_are_found() -> None:
    numbers = ask(all_extension_numbers_of_type="google.protobuf.FieldOptions").all_extension_numbers_response
    assert 1159 in numbers.extension_number
    asked = ExtensionRequest(containing_type="google.protobuf.FieldOptions", extension_number=1159)
    assert files(ask(file_containing_extension=asked))[0].name == "buf/validate/validate.proto"


@pytest.mark.parametrize(
    "question",
    [
        {"file_containing_symbol": "qonduit.v1.Nope"},
        {"file_containing_symbol": "qonduit.v1.JobService.Nope"},
        {"file_containing_symbol": ""},
        {"file_by_filename": "no/such.proto"},
        {"all_extension_numbers_of_type": "no.such.Type"},
    ],
)
def test_unknown_symbols_are_answered_with_not_found(question: dict[str, str]) -> None:
    assert ask(**question).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_invalid_requests_get_an_error_response() -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert ask().error_response.error_code == invalid
    assert reflection.answer(b"\xff\xff").error_response.error_code == invalid
