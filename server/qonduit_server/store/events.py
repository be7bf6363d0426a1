# SPDX-License-Identifier: Apache-2.0
"""The numbered facts about jobs, as watchers read them: stored bytes, sent untouched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qonduit.v1.event_pb2 import JobEvent

from qonduit_server.store.database import Database
from qonduit_server.store.paging import Page


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event: its place in the job's history, a serialized JobEvent, and whether it is the job's last one."""

    sequence: int
    payload: bytes
    terminal: bool


def owns(db: Database, caller: str, job_id: int) -> None:
    """Raise NotFound unless the job exists and is the caller's."""
    raise NotImplementedError


def read_after(db: Database, job_id: int, after: int, limit: int) -> list[StoredEvent]:
    """Return a job's events after a sequence, oldest first, at most `limit`. Raises NotFound when the job is gone."""
    raise NotImplementedError


def read_after_many(
    db: Database, cursors: Sequence[tuple[int, int]], limit: int
) -> dict[int, list[StoredEvent] | None]:
    """Read for many watched jobs at once.

    Args:
        cursors: (job id, sequence to read after), one a job.
        limit: events a job at most.

    Returns:
        For every job of `cursors`: its events, oldest first, or None when it is gone.
    """
    raise NotImplementedError


def list_page(
    db: Database, caller: str, job_id: int, page_size: int = 0, page_token: str = "", after_sequence: int = 0
) -> Page[JobEvent]:
    """Return a page of a job's events, oldest first. Raises NotFound."""
    raise NotImplementedError
