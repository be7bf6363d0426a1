# SPDX-License-Identifier: Apache-2.0
"""Convert a gRPC status with google.rpc details to an exception of `errors`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped,unused-ignore]

from qonduit_client.errors import BY_STATUS, QonduitError, ServerFault, Violation


def error_of(error: grpc.RpcError) -> QonduitError:
    """Return the exception of a status.

    Missing, unknown or corrupt details leave their attributes empty; status and message are always set.
    """
    status = error.code().name
    violations: list[Violation] = []
    reason, request_id = "", ""
    metadata: dict[str, str] = {}
    retry_after: float | None = None
    for detail in _details(error):
        if isinstance(detail, error_details_pb2.ErrorInfo):
            reason = detail.reason
            metadata |= detail.metadata
        elif isinstance(detail, error_details_pb2.ResourceInfo):
            metadata |= {"resource_type": detail.resource_type, "resource_name": detail.resource_name}
        elif isinstance(detail, error_details_pb2.BadRequest):
            violations += [Violation(v.field, v.reason, v.description) for v in detail.field_violations]
        elif isinstance(detail, error_details_pb2.PreconditionFailure):
            violations += [Violation(v.subject, v.type, v.description) for v in detail.violations]
        elif isinstance(detail, error_details_pb2.QuotaFailure):
            violations += [Violation(v.subject, "", v.description) for v in detail.violations]
        elif isinstance(detail, error_details_pb2.RetryInfo):
            retry_after = detail.retry_delay.ToTimedelta().total_seconds()
        elif isinstance(detail, error_details_pb2.RequestInfo):
            request_id = detail.request_id
    return BY_STATUS.get(status, ServerFault)(
        error.details() or status,
        status=status,
        reason=reason,
        violations=violations,
        metadata=metadata,
        retry_after=retry_after,
        request_id=request_id or metadata.get("request_id", ""),
    )


_KNOWN = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.ErrorInfo,
        error_details_pb2.ResourceInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RetryInfo,
        error_details_pb2.RequestInfo,
    )
}


def _details(error: grpc.RpcError) -> list[object]:
    found: list[object] = []
    # The asyncio API returns plain tuples.
    for key, value in cast(Iterable[tuple[str, object]], error.trailing_metadata() or ()):
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            packed = status_pb2.Status.FromString(value).details
            for detail in packed:
                kind = _KNOWN.get(detail.TypeName())
                if kind is not None:
                    found.append(kind.FromString(detail.value))
        except DecodeError:
            continue
    return found
