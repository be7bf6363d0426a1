# SPDX-License-Identifier: Apache-2.0
"""SystemService: report version, limits, features and workers of this server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata

from qonduit.v1.system_service_pb2 import (
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    Worker,
)
from qonduit_client.distribution import DISTRIBUTION
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.server_limits import Limits

#: Lists worker processes, ordered by provider and process id.
ListWorkers = Callable[[], Sequence[Worker]]


def no_workers() -> Sequence[Worker]:
    """Return no workers, for a server that runs no jobs."""
    return ()


class SystemService:
    """Reports the facts that it got at start, and the current state of the workers."""

    def __init__(self, limits: Limits, features: Sequence[str], store: str, workers: ListWorkers) -> None:
        self._workers = workers
        self._info = GetServerInfoResponse(version=version(), limits=limits.message(), features=features, store=store)

    def get_server_info(self, request: GetServerInfoRequest, call: CallContext) -> GetServerInfoResponse:
        """Return version, limits and features."""
        return self._info

    def list_workers(self, request: ListWorkersRequest, call: CallContext) -> ListWorkersResponse:
        """Return the worker processes."""
        return ListWorkersResponse(workers=self._workers())


def version() -> str:
    """Return the version of the installed package; "0" in a source tree that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0"
