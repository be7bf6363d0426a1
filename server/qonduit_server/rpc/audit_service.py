# SPDX-License-Identifier: Apache-2.0
"""AuditService: list the entries of the audit log."""

from __future__ import annotations

from qonduit.v1.audit_service_pb2 import ListAuditEntriesRequest, ListAuditEntriesResponse
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store import audit_list
from qonduit_server.store.database import Database


class AuditService:
    """Reads the audit log. No RPC changes it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list_audit_entries(self, request: ListAuditEntriesRequest, call: CallContext) -> ListAuditEntriesResponse:
        """Return a page of entries, by default the newest first."""
        page = audit_list.list_page(self._db, request.page_size, request.page_token, request.filter, request.order_by)
        return ListAuditEntriesResponse(entries=page.items, next_page_token=page.next_page_token)
