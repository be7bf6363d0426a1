# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for usage and quotas."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from qonduit.v1.quota_pb2 import Quota
from qonduit.v1.usage_service_pb2 import UsageRow
from qonduit_client import usage_requests
from qonduit_client.listing import Table
from qonduit_client.transport import Transport


class UsageCalls:
    """The base class of the client with the calls for usage and quotas."""

    _transport: Transport

    def usage(
        self,
        by: str | Iterable[str] = "day",
        *,
        since: str | date | None = None,
        until: str | date | None = None,
        owner: str | None = None,
    ) -> Table[UsageRow]:
        """Return what jobs used when they ran: their number, shots and worker seconds.

        Users see their own usage, operators that of all owners.

        Args:
            by: one or several of "owner", "user", "device" and "day", in the order of the rows; () for a single row.
            since: the first day (UTC) as "2026-11-29" or a date; by default the first one with any use.
            until: the last day; by default today.
            owner: only this owner.

        Raises:
            ValueError: a grouping is unknown.
            InvalidRequest: a day is invalid.
            NotFound: the owner is another user.
        """
        return Table(self._transport.items(usage_requests.usage(by, since, until, owner)), "UsageRow")

    def quota(self, owner: str | None = None) -> Quota:
        """Return the quota of an owner, by default your own: `limits`, `effective` limits, and the amounts `used` now.

        Raises:
            NotFound: the owner is another user, and you are no operator.
        """
        return self._transport.call(usage_requests.quota(owner)).quota

    def quotas(self) -> Table[Quota]:
        """Return the quotas that differ from the server's default. For operators."""
        return Table(self._transport.items(usage_requests.quotas()), "Quota")

    def set_quota(self, owner: str, **limits: usage_requests.Limit) -> Quota:
        """Set limits of an owner; the others remain. For admins.

        Args:
            owner: a user, or a project as "projects/NAME".
            limits: by name, as in `queued_jobs=100`: -1 for no limit, 0 to allow nothing, None for the default.
                `cost_per_day={"EUR": 50}` sets the limit of a unit, and leaves those of the others.

        Raises:
            ValueError: a name is unknown.
            Refused: you are no admin.
        """
        return self._transport.call(usage_requests.set_quota(owner, limits)).quota
