# SPDX-License-Identifier: Apache-2.0
"""SystemService: report version, limits, features and workers of this server, pause all servers, and set shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qonduit.v1.system_service_pb2 import (
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListPausesRequest,
    ListPausesResponse,
    ListSharesRequest,
    ListSharesResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    PauseServerRequest,
    PauseServerResponse,
    ResumeServerRequest,
    ResumeServerResponse,
    SetShareRequest,
    SetShareResponse,
    Worker,
)
from qonduit_server.process.release import installed_release
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import shares
from qonduit_server.store.pauses import Paused

#: Lists worker processes, ordered by provider and process id.
ListWorkers = Callable[[], Sequence[Worker]]


def no_workers() -> Sequence[Worker]:
    """Return no workers, for a server that runs no jobs."""
    return ()


class SystemService:
    """Reports facts of the server and the current state of the workers, and stores pauses."""

    def __init__(self, db: Database, limits: Limits, features: Sequence[str], workers: ListWorkers) -> None:
        self._db = db
        self._workers = workers
        self._limits = limits
        self._features = features
        self._version = installed_release()

    def get_server_info(self, request: GetServerInfoRequest, call: CallContext) -> GetServerInfoResponse:
        """Return version, limits and features."""
        return GetServerInfoResponse(
            version=self._version, limits=self._limits.message(), features=self._features, store=self._db.kind
        )

    def list_workers(self, request: ListWorkersRequest, call: CallContext) -> ListWorkersResponse:
        """Return the worker processes."""
        workers = self._workers()
        for each in workers:
            if not each.host:
                each.release = self._version
        return ListWorkersResponse(workers=workers)

    def pause_server(self, request: PauseServerRequest, call: CallContext) -> PauseServerResponse:
        """Pause all servers of the database."""
        return PauseServerResponse(pause=pauses.pause(self._db, Paused(), request.message, call.principal.name))

    def resume_server(self, request: ResumeServerRequest, call: CallContext) -> ResumeServerResponse:
        """End the pause of all servers."""
        pauses.resume(self._db, Paused())
        return ResumeServerResponse()

    def list_pauses(self, request: ListPausesRequest, call: CallContext) -> ListPausesResponse:
        """Return the pauses, with the numbers of running jobs."""
        return ListPausesResponse(pauses=pauses.for_operators(self._db))

    def list_shares(self, request: ListSharesRequest, call: CallContext) -> ListSharesResponse:
        """Return a page of the shares of owners."""
        if request.provider_id:
            catalogue.provider(self._db, request.provider_id)
        page = shares.list_page(self._db, request.provider_id, request.page_size, request.page_token)
        return ListSharesResponse(shares=page.items, next_page_token=page.next_page_token)

    def set_share(self, request: SetShareRequest, call: CallContext) -> SetShareResponse:
        """Set the weight of an owner."""
        provider = catalogue.provider(self._db, request.provider_id)
        return SetShareResponse(share=shares.set_weight(self._db, provider, request.owner, request.weight))
