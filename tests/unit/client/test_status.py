# SPDX-License-Identifier: Apache-2.0
"""Every status becomes the right exception with all its details, over a real connection."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details

from qonduit_client import errors
from qonduit_client.client import Client
from tests.unit.client.peer import JOB, Peer, Refusal

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, errors.InvalidRequest),
        (Code.NOT_FOUND, errors.NotFound),
        (Code.ALREADY_EXISTS, errors.AlreadyExists),
        (Code.FAILED_PRECONDITION, errors.PreconditionFailed),
        (Code.RESOURCE_EXHAUSTED, errors.LimitExceeded),
        (Code.UNAUTHENTICATED, errors.Refused),
        (Code.PERMISSION_DENIED, errors.Refused),
        (Code.DEADLINE_EXCEEDED, errors.TimedOut),
        (Code.INTERNAL, errors.ServerFault),
        (Code.UNIMPLEMENTED, errors.ServerFault),
        (Code.UNKNOWN, errors.ServerFault),
    ],
)
def test_each_status_has_its_exception_class(
    peer: Peer, client: Client, code: grpc.StatusCode, kind: type[errors.QonduitError]
) -> None:
    peer.refusals.append(Refusal(code, "said so"))
    with pytest.raises(errors.QonduitError) as caught:
        client.job(JOB).job()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.message) == (code.name, "said so")


def field_violation() -> Message:
    bad = details.BadRequest()
    bad.field_violations.add(field="job.shots", reason="job.shots.range", description="must be at least 1")
    return bad


def test_details_are_read(peer: Peer, client: Client) -> None:
    further = (
        field_violation(),
        details.RequestInfo(request_id="r-1"),
        details.PreconditionFailure(
            violations=[details.PreconditionFailure.Violation(type="STATE", subject="job/7", description="runs")]
        ),
        details.QuotaFailure(violations=[details.QuotaFailure.Violation(subject="queue", description="full")]),
        details.Help(),
    )
    peer.refusals.append(Refusal(Code.INVALID_ARGUMENT, "bad", "INVALID_FIELD", retry_after=1.5, further=further))
    with pytest.raises(errors.InvalidRequest) as caught:
        client.job(JOB).job()
    error = caught.value
    assert (error.reason, error.retry_after, error.request_id) == ("INVALID_FIELD", 1.5, "r-1")
    assert error.violations == (
        errors.Violation("job.shots", "job.shots.range", "must be at least 1"),
        errors.Violation("job/7", "STATE", "runs"),
        errors.Violation("queue", "", "full"),
    )


def test_an_unreachable_server_is_reported() -> None:
    with Client("127.0.0.1:1", connect_timeout=0.2) as client, pytest.raises(errors.ServerUnavailable) as caught:
        client.info()
    assert caught.value.message == "no server at 127.0.0.1:1"
