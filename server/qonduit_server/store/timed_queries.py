# SPDX-License-Identifier: Apache-2.0
"""Queries on a session of PostgreSQL that wait a bounded time for the answer."""

from __future__ import annotations

import select
import time

import psycopg
from psycopg import pq


class Unresponsive(psycopg.OperationalError):
    """The database server accepts connections but does not answer."""


def values_of(session: pq.abc.PGconn, statements: bytes, seconds: float) -> list[str]:
    """Run statements and return the first value of each query.

    Args:
        session: the session; no other statement runs in it.
        statements: separated by semicolons.
        seconds: the time for the whole answer.

    Raises:
        Unresponsive: no answer comes in time.
        psycopg.OperationalError: the database server refuses a statement, or the connection is lost.
    """
    values: list[str] = []
    session.send_query(statements)
    until = time.monotonic() + seconds
    while True:
        while session.is_busy():
            left = max(0.0, until - time.monotonic())
            # The last check does not wait: this process itself may have been suspended.
            if not select.select([session.socket], [], [], left)[0] and not left:
                raise Unresponsive(f"no answer for {seconds:g} s")
            session.consume_input()
        result = session.get_result()
        if result is None:
            return values
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        if result.status == pq.ExecStatus.TUPLES_OK:
            values.append((result.get_value(0, 0) or b"").decode())
