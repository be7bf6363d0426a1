# SPDX-License-Identifier: Apache-2.0
"""`qonduit serve` whose jobs start in the order of submission, as the reference of the cost of fair share."""

from __future__ import annotations

from qonduit_server.cli import main
from qonduit_server.store.jobs import queue
from qonduit_server.store.jobs.claim_selection import _SELECT_NEXT, Claim, Claimed
from qonduit_server.store.jobs.fair_share import FairShare
from qonduit_server.store.jobs.unit_of_work import UnitOfWork


def claim_oldest(unit: UnitOfWork, share: FairShare, wanted: Claim, provider: str, found: Claimed) -> None:
    """Claim the oldest jobs of a provider, and charge no caller."""
    query = _SELECT_NEXT.limit(wanted.capacity[provider])
    for entry in unit.add_rows(unit.transaction.connection.execute(query, {"provider": provider}).all()):
        unit.start(entry, wanted.owner, unit.transaction.now + wanted.lease)
        found.jobs.append((provider, entry))
    unit.flush()


if __name__ == "__main__":
    queue.claim_jobs = claim_oldest  # type: ignore[attr-defined]
    main()
