# SPDX-License-Identifier: Apache-2.0
"""Cancel a job that a transaction has locked."""

from __future__ import annotations

from qonduit_server.lifecycle import CANCELLED, CANCELLING, QUEUED, RUNNING
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork


def cancel_loaded(unit: UnitOfWork, entry: JobChange) -> None:
    """Cancel a queued job, and request the cancel of a running one; others do not change."""
    if entry.job.state == QUEUED:
        unit.set_open_programs(entry, CANCELLED)
        unit.move(entry, CANCELLED)
    elif entry.job.state == RUNNING:
        unit.move(entry, CANCELLING)
        unit.transaction.cancels = True
