# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for asyncio for usage and quotas."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from qonduit.v1.quota_pb2 import Quota
from qonduit.v1.usage_service_pb2 import UsageRow
from qonduit_client import usage_requests
from qonduit_client.aio.transport import Transport
from qonduit_client.listing import AsyncListing, Table


class UsageCalls:
    """The base class of the client with the calls for usage and quotas."""

    _transport: Transport

    async def usage(
        self,
        by: str | Iterable[str] = "day",
        *,
        since: str | date | None = None,
        until: str | date | None = None,
        owner: str | None = None,
    ) -> Table[UsageRow]:
        """Return what jobs used when they ran. Arguments are those of `qonduit_client.Client.usage`."""
        pages = usage_requests.usage(by, since, until, owner)
        return await AsyncListing(lambda: self._transport.items(pages), "UsageRow")

    async def quota(self, owner: str | None = None) -> Quota:
        """Return the quota of an owner, by default your own, with the amounts that are `used` now."""
        return (await self._transport.call(usage_requests.quota(owner))).quota

    async def quotas(self) -> Table[Quota]:
        """Return the quotas that differ from the server's default. For operators."""
        return await AsyncListing(lambda: self._transport.items(usage_requests.quotas()), "Quota")

    async def set_quota(self, owner: str, **limits: usage_requests.Limit) -> Quota:
        """Set limits of an owner; the others remain. For admins. See `qonduit_client.Client.set_quota`."""
        return (await self._transport.call(usage_requests.set_quota(owner, limits))).quota
