# SPDX-License-Identifier: Apache-2.0
"""Build the requests of both clients for usage and quotas, without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final, TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask

from qonduit.v1 import usage_service_pb2 as usage_rpc
from qonduit.v1.quota_pb2 import Quota, QuotaValues
from qonduit.v1.usage_service_pb2 import UsageRow
from qonduit_client.requests import Pages, Request

#: A limit without an end.
UNLIMITED: Final = -1
#: The names of all quotas.
QUOTAS: Final = tuple(field.name for field in QuotaValues.DESCRIPTOR.fields)
#: A limit: a number, or one for each unit of costs; None stands for the default.
Limit: TypeAlias = int | Mapping[str, float] | None
#: The columns by which usage is grouped.
GROUPINGS: Final = ("owner", "user", "device", "day")


def usage(
    by: str | Iterable[str] = (),
    since: str | date | None = None,
    until: str | date | None = None,
    owner: str | None = None,
) -> Pages[UsageRow]:
    """List what jobs used.

    Raises:
        ValueError: a grouping is not one of `GROUPINGS`.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    for name in names:
        if name not in GROUPINGS:
            raise ValueError(f"usage is grouped by {', '.join(GROUPINGS)}, got {name!r}")
    request = usage_rpc.ListUsageRequest(
        owner=owner or "",
        start_day=str(since or ""),
        end_day=str(until or ""),
        group_by=[f"USAGE_GROUPING_{name.upper()}" for name in names],
    )
    return Pages(Request("UsageService/ListUsage", request, usage_rpc.ListUsageResponse), "rows")


def quota(owner: str | None) -> Request[usage_rpc.GetQuotaResponse]:
    """Return the quota of an owner, or of the caller."""
    request = usage_rpc.GetQuotaRequest(owner=owner or "")
    return Request("UsageService/GetQuota", request, usage_rpc.GetQuotaResponse)


def quotas() -> Pages[Quota]:
    """List the quotas that differ from the default."""
    request = Request("UsageService/ListQuotas", usage_rpc.ListQuotasRequest(), usage_rpc.ListQuotasResponse)
    return Pages(request, "quotas")


def set_quota(owner: str, limits: Mapping[str, Limit]) -> Request[usage_rpc.SetQuotaResponse]:
    """Set limits of an owner; None stands for the default.

    Raises:
        ValueError: a name is not one of `QUOTAS`, or none is given.
    """
    if not limits:
        raise ValueError(f"pass at least one of {', '.join(QUOTAS)}")
    for name, value in limits.items():
        if name not in QUOTAS:
            raise ValueError(f"quotas are {', '.join(QUOTAS)}, got {name!r}")
        if isinstance(value, Mapping) != (name == "cost_per_day") and value is not None:
            raise ValueError(f'cost_per_day is a number for each unit, as {{"EUR": 50}}, got {name}={value!r}')
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    values = QuotaValues(**given)
    request = usage_rpc.SetQuotaRequest(
        quota=Quota(owner=owner, limits=values), update_mask=FieldMask(paths=list(limits))
    )
    return Request("UsageService/SetQuota", request, usage_rpc.SetQuotaResponse)
