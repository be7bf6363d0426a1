# SPDX-License-Identifier: Apache-2.0
"""What jobs gave."""

from __future__ import annotations

from qonduit.v1.result_pb2 import Result

from qonduit_server.store.database import Database
from qonduit_server.store.paging import Page


def get(db: Database, caller: str, result_id: int) -> Result:
    """Return one result. Raises NotFound."""
    raise NotImplementedError


def list_page(db: Database, caller: str, job_id: int, page_size: int = 0, page_token: str = "") -> Page[Result]:
    """Return a page of a job's results in the order of its programs, also ended at 3 MiB but never empty. Raises NotFound."""
    raise NotImplementedError
