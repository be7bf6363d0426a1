# SPDX-License-Identifier: Apache-2.0
"""Errors become statuses that fit into trailers, whatever they carry."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from qonduit_server import errors
from qonduit_server.rpc.error_status import Internal, outcome, status_of

LONG = "ü" * 5_000
LARGE: list[errors.CallError] = [
    errors.InvalidArgument([errors.Violation(LONG, LONG, LONG)] * 400),
    errors.InvalidArgument([errors.Violation(f"field[{n}]", "rule", "short") for n in range(2_000)]),
    errors.NotFound("device", LONG),
    errors.AlreadyExists(LONG),
    errors.FailedPrecondition(LONG, subject=LONG),
    errors.ResourceExhausted(LONG, subject="max_queued_jobs"),
    errors.Unavailable(LONG, reason="DRAINING"),
    Internal(LONG),
]


@pytest.mark.parametrize("error", LARGE, ids=lambda error: type(error).__name__)
def test_a_status_is_never_more_than_three_kib(error: errors.CallError) -> None:
    code, message, serialized = status_of(error, "0123456789abcdef")
    assert code is grpc.StatusCode[error.status]
    assert len(message.encode()) + len(serialized) <= 3 * 1024
    status = status_pb2.Status.FromString(serialized)
    assert status.code == code.value[0]
    assert status.message == message
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("qonduit", error.reason)
    # The details specific to the code are never the ones omitted.
    expected = 2 if isinstance(error, errors.AlreadyExists | Internal) else 3
    assert len(status.details) >= expected


def test_a_fault_becomes_internal_without_its_text() -> None:
    def faulty() -> None:
        raise KeyError("a secret")

    value, error = outcome("r-1", faulty)
    assert value is None
    assert isinstance(error, Internal)
    assert "r-1" in error.message
    assert "secret" not in error.message


def test_an_outcome_is_the_value_or_the_error() -> None:
    assert outcome("r-1", lambda: 3) == (3, None)
    expected = errors.NotFound("job", 3)

    def missing() -> int:
        raise expected

    assert outcome("r-1", missing) == (None, expected)


def test_an_error_of_a_call_keeps_nothing_of_the_call_in_memory() -> None:
    """Frames hold requests of megabytes, which a reference cycle would keep until garbage collection."""

    def refuse(request: bytes) -> None:
        try:
            raise ValueError(request)
        except ValueError as error:
            raise errors.InvalidArgument.of("request", "rule", "no") from error

    _, error = outcome("id", refuse, bytes(10))
    assert error is not None
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
