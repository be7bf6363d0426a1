# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for asyncio for deployments: programs that the server stores to run later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qonduit.v1.deployment_pb2 import Deployment
from qonduit_client import requests
from qonduit_client.aio.transport import Transport
from qonduit_client.listing import AsyncListing
from qonduit_client.program_messages import Program


class StoredPrograms:
    """The base class of the client with the calls for deployments."""

    _transport: Transport

    async def deploy(
        self,
        program: Program | Iterable[Program],
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
    ) -> Deployment:
        """Store programs to run later with `run(deployment_id=...)`."""
        request = requests.deploy(program, name, language, request_id, labels, project)
        return (await self._transport.call(request)).deployment

    async def deployment(self, deployment_id: int) -> Deployment:
        """Return one deployment, with its programs."""
        return (await self._transport.call(requests.deployment(deployment_id))).deployment

    def deployments(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        order_by: str = "",
        limit: int | None = None,
    ) -> AsyncListing[Deployment]:
        """Return deployments, by default newest first: for `async for`, a page at a time, or to await as a table.

        Arguments are those of `qonduit_client.Client.deployments`.
        """
        return AsyncListing(
            lambda: self._transport.items(requests.deployments(filter, limit, labels, order_by)), "Deployment"
        )

    async def delete_deployment(self, deployment_id: int) -> None:
        """Delete a deployment that no job refers to."""
        await self._transport.call(requests.delete_deployment(deployment_id))
