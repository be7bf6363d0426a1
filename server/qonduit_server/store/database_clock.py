# SPDX-License-Identifier: Apache-2.0
"""The clock of a PostgreSQL database, which all servers on it share: leases are compared with the times of others."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Engine

#: A query for the seconds since 1970.
QUERY: Final = b"SELECT extract(epoch FROM clock_timestamp())"


class DatabaseClock:
    """Returns the time of the database without a query: it follows the monotonic clock of this process.

    The wall clock of this machine does not matter. `compare` corrects the difference; the listener calls it.

    Args:
        engine: of the database, to read its clock for the first time.
        monotonic: returns seconds.
    """

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        with engine.connect() as connection:
            before = monotonic()
            seconds = float(connection.execute(sa.text(QUERY.decode())).scalar_one())
        self._ahead = seconds - before

    def __call__(self) -> datetime:
        """Return the time of the database."""
        return datetime.fromtimestamp(self._ahead + self.monotonic(), UTC)

    def compare(self, before: float, seconds: float) -> None:
        """Correct the clock by an answer of the database that arrives now, as little as it requires.

        Args:
            before: the monotonic time at which the query was sent.
            seconds: the answer.
        """
        # The database has read its clock between the query and the answer.
        self._ahead = min(max(self._ahead, seconds - self.monotonic()), seconds - before)
