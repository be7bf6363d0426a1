# SPDX-License-Identifier: Apache-2.0
"""UsageService: report what owners use, and limit it."""

from __future__ import annotations

from qonduit.v1.usage_service_pb2 import (
    GetQuotaRequest,
    GetQuotaResponse,
    ListQuotasRequest,
    ListQuotasResponse,
    ListUsageRequest,
    ListUsageResponse,
    SetQuotaRequest,
    SetQuotaResponse,
)
from qonduit_server.errors import NotFound
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.caller_limits import CallerLimits
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import contains
from qonduit_server.store.users import quota_rows, usage_rows


class UsageService:
    """Reads and writes quotas, and reads usage."""

    def __init__(self, db: Database, callers: CallerLimits) -> None:
        self._db = db
        self._callers = callers

    def list_usage(self, request: ListUsageRequest, call: CallContext) -> ListUsageResponse:
        """Return a page of what jobs used."""
        page = usage_rows.list_page(
            self._db,
            _reported(call, request.owner),
            request.start_day,
            request.end_day,
            request.group_by,
            request.page_size,
            request.page_token,
        )
        return ListUsageResponse(rows=page.items, next_page_token=page.next_page_token)

    def get_quota(self, request: GetQuotaRequest, call: CallContext) -> GetQuotaResponse:
        """Return the quota of an owner."""
        owner = _visible(call, request.owner or call.principal.name)
        quota = quota_rows.get(self._db, owner)
        quota.used.open_streams, quota.used.open_buffers = self._callers.open_of(owner)
        return GetQuotaResponse(quota=quota)

    def set_quota(self, request: SetQuotaRequest, call: CallContext) -> SetQuotaResponse:
        """Set the quota of an owner."""
        quota = request.quota
        return SetQuotaResponse(
            quota=quota_rows.set_quota(self._db, quota.owner, quota.limits, request.update_mask.paths)
        )

    def list_quotas(self, request: ListQuotasRequest, call: CallContext) -> ListQuotasResponse:
        """Return a page of the quotas that differ from the default."""
        page = quota_rows.list_page(self._db, request.page_size, request.page_token)
        return ListQuotasResponse(quotas=page.items, next_page_token=page.next_page_token)


def _reported(call: CallContext, owner: str) -> str | None:
    """Return the owner of a report; None for all owners. Raises NotFound."""
    if owner:
        return _visible(call, owner)
    return None if call.scope is None else call.principal.name


def _visible(call: CallContext, owner: str) -> str:
    """Return an owner that a call may see. Raises NotFound for others."""
    if not contains(call.scope, owner):
        raise NotFound("owner", owner)
    return owner
