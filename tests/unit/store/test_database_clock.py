# SPDX-License-Identifier: Apache-2.0
"""The clock of a database follows that of a real PostgreSQL, whatever this machine's clock reads."""

from __future__ import annotations

import pytest

from qonduit_server.store.database_clock import DatabaseClock
from qonduit_server.store.engines import make_engine, parse_url
from tests.postgresql import PostgresqlServer


def test_it_follows_the_monotonic_clock_and_is_corrected_as_little_as_an_answer_requires(
    postgresql: PostgresqlServer,
) -> None:
    passed = 1000.0
    engine = make_engine(parse_url(postgresql.url()))
    before = float(postgresql.execute("SELECT extract(epoch FROM clock_timestamp())")[0][0])
    clock = DatabaseClock(engine, lambda: passed)
    after = float(postgresql.execute("SELECT extract(epoch FROM clock_timestamp())")[0][0])
    engine.dispose()
    begin = clock().timestamp()
    assert before <= begin <= after
    passed += 60
    assert clock().timestamp() - begin == pytest.approx(60, abs=1e-3)

    def corrected(seconds: float, took: float) -> float:
        """Return the correction by an answer that arrives now, of a query that took a time."""
        expected = clock().timestamp()
        clock.compare(passed - took, expected + seconds)
        return clock().timestamp() - expected

    # The database read its clock within the last 2 s: what the clock shows is possible.
    assert corrected(-1.0, 2.0) == pytest.approx(0, abs=1e-3)
    assert corrected(-5.0, 2.0) == pytest.approx(-3, abs=1e-3)
    assert corrected(+5.0, 2.0) == pytest.approx(5, abs=1e-3)
