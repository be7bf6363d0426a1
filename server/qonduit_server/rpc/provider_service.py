# SPDX-License-Identifier: Apache-2.0
"""ProviderService: list the providers of devices."""

from __future__ import annotations

from qonduit.v1.provider_service_pb2 import (
    GetProviderRequest,
    GetProviderResponse,
    ListProvidersRequest,
    ListProvidersResponse,
)
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database


class ProviderService:
    """Reads the catalogue."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get_provider(self, request: GetProviderRequest, call: CallContext) -> GetProviderResponse:
        """Return one provider."""
        return GetProviderResponse(provider=catalogue.provider(self._db, request.id))

    def list_providers(self, request: ListProvidersRequest, call: CallContext) -> ListProvidersResponse:
        """Return a page of providers."""
        page = catalogue.list_providers(self._db, request.page_size, request.page_token, request.filter)
        return ListProvidersResponse(providers=page.items, next_page_token=page.next_page_token)
