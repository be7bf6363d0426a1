# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for deployments: programs that the server stores to run later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from qonduit.v1.deployment_pb2 import Deployment
from qonduit_client import requests
from qonduit_client.listing import Listing
from qonduit_client.program_messages import Program
from qonduit_client.transport import Transport


class StoredPrograms:
    """The base class of the client with the calls for deployments."""

    _transport: Transport

    def deploy(
        self,
        program: Program | Iterable[Program],
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
    ) -> Deployment:
        """Store programs to run later with `run(deployment_id=...)`; `project` as in `run`."""
        request = requests.deploy(program, name, language, request_id, labels, project)
        return self._transport.call(request).deployment

    def deployment(self, deployment_id: int) -> Deployment:
        """Return one deployment, with its programs."""
        return self._transport.call(requests.deployment(deployment_id)).deployment

    def deployments(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        order_by: str = "",
        limit: int | None = None,
    ) -> Listing[Deployment]:
        """Return deployments, by default newest first: to iterate over, to index, or to show as a table; like `jobs`.

        Args:
            filter: for example 'name = "bell*"'.
            labels: only deployments with these labels.
            order_by: id or name, with " desc" after it for the reverse order.
            limit: the maximum number of deployments.
        """

        def read(limit: int | None, timeout: float | None) -> Iterator[Deployment]:
            return self._transport.items(requests.deployments(filter, limit, labels, order_by), timeout=timeout)

        return Listing(read, "Deployment", limit)

    def delete_deployment(self, deployment_id: int) -> None:
        """Delete a deployment that no job refers to."""
        self._transport.call(requests.delete_deployment(deployment_id))
