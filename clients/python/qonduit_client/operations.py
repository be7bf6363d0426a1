# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for operators: pauses, workers and their shares, and the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit.v1.pause_pb2 import Pause
from qonduit.v1.system_service_pb2 import Share, Worker
from qonduit_client import device_requests, operator_requests, requests
from qonduit_client.listing import Listing, Table
from qonduit_client.transport import Transport


class Operations:
    """The base class of the client with the calls for operators."""

    _transport: Transport

    def pause(self, subject: str, message: str = "") -> Pause:
        """Pause a device, a provider or all servers: new jobs are accepted and wait, running jobs continue.

        To drain them, pause them and read `pauses()` until `drained` is true.

        Args:
            subject: "PROVIDER/device", "PROVIDER", or "server" for all servers of the database.
            message: a text for callers, of at most 500 bytes. A repeated call replaces it.

        Raises:
            NotFound: there is no such device or provider.
            Refused: the caller is no operator.
        """
        answer: Any = self._transport.call(operator_requests.pause(subject, self._subject_id(subject), message))
        paused: Pause = answer.pause
        return paused

    def resume(self, subject: str) -> None:
        """End the pause of a device, a provider or all servers; raises as `pause`."""
        self._transport.call(operator_requests.resume(subject, self._subject_id(subject)))

    def pauses(self) -> Table[Pause]:
        """Return the pauses, with the numbers of running jobs, as a list with a table as its text."""
        return Table(self._transport.call(operator_requests.pauses()).pauses, "Pause")

    def workers(self) -> Table[Worker]:
        """Return the worker processes of the responding server, as a list with a table as its text."""
        return Table(self._transport.call(requests.workers()).workers, "Worker")

    def shares(self, provider: str = "") -> Table[Share]:
        """Return the shares of owners in the workers, as a list with a table as its text: who waits, and why.

        Args:
            provider: only of this provider, by its name.
        """
        provider_id = self._subject_id(provider) if provider else 0
        return Table(self._transport.items(operator_requests.shares(provider_id)), "Share")

    def set_share(self, provider: str, owner: str, weight: float) -> Share:
        """Set the weight of an owner: twice the weight is twice the time of workers while others wait.

        Args:
            provider: the name of the provider.
            owner: of jobs.
            weight: 0.01 to 100; 1 by default.

        Raises:
            Refused: the caller is no admin.
        """
        provider_id = self._subject_id(provider)
        return self._transport.call(operator_requests.set_share(provider_id, owner, weight)).share

    def audit_entries(self, filter: str = "", *, order_by: str = "", limit: int | None = None) -> Listing[AuditEntry]:
        """Return the entries of the audit log, by default newest first. Requires the role admin.

        Args:
            filter: for example 'principal = "anna" AND outcome != "OK"'.
            order_by: time, with " desc" after it for the reverse order.
            limit: the maximum number of entries.
        """

        def read(limit: int | None, timeout: float | None) -> Iterator[AuditEntry]:
            return self._transport.items(requests.audit_entries(filter, limit, order_by), timeout=timeout)

        return Listing(read, "AuditEntry", limit)

    def _subject_id(self, subject: str) -> int:
        if subject == operator_requests.SERVER:
            return 0
        providers = list(self._transport.items(device_requests.providers()))
        found = list(self._transport.items(device_requests.devices("")))
        return operator_requests.id_of_subject(subject, device_requests.named(found, providers), providers)
