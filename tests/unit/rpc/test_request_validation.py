# SPDX-License-Identifier: Apache-2.0
"""Violations of the protos' rules name the field."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, UpdateDeploymentRequest
from qonduit.v1.job_service_pb2 import CreateJobRequest, GetJobRequest, RunJobRequest
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
