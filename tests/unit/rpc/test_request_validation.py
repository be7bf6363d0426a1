# SPDX-License-Identifier: Apache-2.0
"""Violations of the protos' rules name the field."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from qonduit._vendor.buf import validate_pb2
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, UpdateDeploymentRequest
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest, GetJobRequest, RunJobRequest
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.errors import InvalidArgument, ResourceExhausted
from qonduit_server.rpc.request_validation import parse


def broken(request: Message) -> dict[str, str]:
    """Return the rule of each violation by field."""
    with pytest.raises(InvalidArgument) as raised:
        parse(type(request), request.SerializeToString(), 10_000)
    return {violation.field: violation.rule_id for violation in raised.value.violations}


def test_a_rule_on_a_field_names_it() -> None:
    assert broken(GetJobRequest(id=-1)) == {"id": "int64.gt"}
    request = RunJobRequest(device="IBM/aer_simulator", after_sequence=-1)
    request.job.shots = 1
    request.job.name = "n" * 300
    request.deployment.programs.add()
    request.deployment.programs.add(assembler_language=99)  # type: ignore[arg-type]
    request.heartbeat_interval.nanos = 1
    assert broken(request) == {
        "after_sequence": "int64.gte",
        "job.name": "string.max_bytes",
        "deployment.programs[1].assembler_language": "enum.defined_only",
        "heartbeat_interval": "duration.gte_lte",
    }


def test_a_rule_on_a_message_names_the_first_field_of_its_text() -> None:
    assert broken(CreateJobRequest()) == {
        "job.shots": "job.shots.range",
        "deployment": "deployment.exactly_one",
        "device": "device.exactly_one",
    }
    assert broken(CreateDeploymentRequest()) == {"deployment.programs": "deployment.programs.required"}
    assert broken(UpdateDeploymentRequest()) == {"deployment.id": "deployment.id.required"}


def test_unreadable_and_oversized_requests() -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse(GetJobRequest, b"\xff\xff", 100)
    assert raised.value.violations[0].rule_id == "request.encoding"
    with pytest.raises(ResourceExhausted):
        parse(GetJobRequest, b"\x08\x01", 1)
    assert parse(GetJobRequest, b"\x08\x01", 2).id == 1


def _sweep(values: int) -> RunJobRequest:
    request = RunJobRequest(device="IBM/aer_simulator", request_id="6f9619ff-8b86-d011-b42d-00c04fc964ff")
    request.job.shots = 1
    request.job.parameter_sets.names.extend(["a", "b"])
    request.job.parameter_sets.values.extend(range(values))
    request.deployment.programs.add(assembler_language=1)
    return request


def test_a_request_like_a_valid_one_is_checked_where_it_differs() -> None:
    known = _sweep(4)
    assert parse(RunJobRequest, known.SerializeToString(), 10_000) == known
    again = _sweep(4)
    again.request_id = "00000000-0000-0000-0000-000000000000"
    again.job.parameter_sets.values[3] = -7.5
    assert parse(RunJobRequest, again.SerializeToString(), 10_000) == again
    assert broken(_sweep(3)) == {"job.parameter_sets": "parameter_sets.values.shape"}
    assert broken(_sweep(0)) == {"job.parameter_sets": "parameter_sets.values.shape"}
    again.request_id += "0"
    assert broken(again) == {"request_id": "string.uuid"}
    again = _sweep(4)
    again.after_sequence = -1
    again.job.parameter_sets.names[1] = "a"
    assert broken(again) == {"after_sequence": "int64.gte", "job.parameter_sets.names": "repeated.unique"}
    assert broken(again) == {"after_sequence": "int64.gte", "job.parameter_sets.names": "repeated.unique"}


def test_no_rule_depends_on_what_distinguishes_equal_shapes() -> None:
    sets = ParameterSets.DESCRIPTOR
    assert not sets.fields_by_name["values"].GetOptions().HasExtension(validate_pb2.field)
    for rule in sets.GetOptions().Extensions[validate_pb2.message].cel:
        assert "this.values" not in rule.expression.replace("size(this.values)", "")
    for request in (CreateJobRequest, RunJobRequest):
        rules = request.DESCRIPTOR.fields_by_name["request_id"].GetOptions().Extensions[validate_pb2.field]
        expected = validate_pb2.FieldRules(
            ignore=validate_pb2.IGNORE_IF_ZERO_VALUE, string=validate_pb2.StringRules(uuid=True)
        )
        assert rules == expected
        for message in (request.DESCRIPTOR, Job.DESCRIPTOR):
            for rule in message.GetOptions().Extensions[validate_pb2.message].cel:
                assert "request_id" not in rule.expression
                assert "parameter_sets" not in rule.expression
