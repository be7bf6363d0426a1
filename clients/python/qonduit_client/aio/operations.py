# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for asyncio for operators: pauses of devices, providers and servers, workers and shares."""

from __future__ import annotations

from typing import Any

from qonduit.v1.pause_pb2 import Pause
from qonduit.v1.system_service_pb2 import Share, Worker
from qonduit_client import device_requests, operator_requests, requests
from qonduit_client.aio.transport import Transport
from qonduit_client.listing import Table


class Operations:
    """The base class of the client with the calls for operators."""

    _transport: Transport

    async def pause(self, subject: str, message: str = "") -> Pause:
        """Pause a device, a provider or all servers; see `qonduit_client.Client.pause`."""
        answer: Any = await self._transport.call(
            operator_requests.pause(subject, await self._subject_id(subject), message)
        )
        paused: Pause = answer.pause
        return paused

    async def resume(self, subject: str) -> None:
        """End the pause of a device, a provider or all servers; raises as `pause`."""
        await self._transport.call(operator_requests.resume(subject, await self._subject_id(subject)))

    async def pauses(self) -> Table[Pause]:
        """Return the pauses, with the numbers of running jobs, as a list with a table as its text."""
        return Table((await self._transport.call(operator_requests.pauses())).pauses, "Pause")

    async def workers(self) -> Table[Worker]:
        """Return the worker processes of the responding server, as a list with a table as its text."""
        return Table((await self._transport.call(requests.workers())).workers, "Worker")

    async def shares(self, provider: str = "") -> Table[Share]:
        """Return the shares of owners in the workers, as a list with a table as its text: who waits, and why.

        Args:
            provider: only of this provider, by its name.
        """
        provider_id = await self._subject_id(provider) if provider else 0
        return Table([each async for each in self._transport.items(operator_requests.shares(provider_id))], "Share")

    async def set_share(self, provider: str, owner: str, weight: float) -> Share:
        """Set the weight of an owner: twice the weight is twice the time of workers while others wait.

        Args:
            provider: the name of the provider.
            owner: of jobs.
            weight: 0.01 to 100; 1 by default.

        Raises:
            Refused: the caller is no admin.
        """
        provider_id = await self._subject_id(provider)
        return (await self._transport.call(operator_requests.set_share(provider_id, owner, weight))).share

    async def _subject_id(self, subject: str) -> int:
        if subject == operator_requests.SERVER:
            return 0
        providers = [each async for each in self._transport.items(device_requests.providers())]
        found = [each async for each in self._transport.items(device_requests.devices(""))]
        return operator_requests.id_of_subject(subject, device_requests.named(found, providers), providers)
