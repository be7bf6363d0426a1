# SPDX-License-Identifier: Apache-2.0
"""ProviderService: list and pause the providers of devices."""

from __future__ import annotations

from qonduit.v1.provider_service_pb2 import (
    GetProviderRequest,
    GetProviderResponse,
    ListProvidersRequest,
    ListProvidersResponse,
    PauseProviderRequest,
    PauseProviderResponse,
    ResumeProviderRequest,
    ResumeProviderResponse,
)
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store import catalogue, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.pauses import Paused


class ProviderService:
    """Reads the catalogue and stores pauses."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get_provider(self, request: GetProviderRequest, call: CallContext) -> GetProviderResponse:
        """Return one provider."""
        return GetProviderResponse(provider=catalogue.provider(self._db, request.id))

    def list_providers(self, request: ListProvidersRequest, call: CallContext) -> ListProvidersResponse:
        """Return a page of providers."""
        page = catalogue.list_providers(self._db, request.page_size, request.page_token, request.filter)
        return ListProvidersResponse(providers=page.items, next_page_token=page.next_page_token)

    def pause_provider(self, request: PauseProviderRequest, call: CallContext) -> PauseProviderResponse:
        """Pause the devices of a provider."""
        provider = catalogue.provider(self._db, request.id)
        return PauseProviderResponse(
            pause=pauses.pause(self._db, Paused(provider.id), request.message, call.principal.name)
        )

    def resume_provider(self, request: ResumeProviderRequest, call: CallContext) -> ResumeProviderResponse:
        """End the pause of a provider."""
        provider = catalogue.provider(self._db, request.id)
        pauses.resume(self._db, Paused(provider.id))
        return ResumeProviderResponse(provider=catalogue.provider(self._db, request.id))
