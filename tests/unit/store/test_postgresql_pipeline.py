# SPDX-License-Identifier: Apache-2.0
"""Writes of a transaction on PostgreSQL wait, keep their order, and fail the transaction as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from qonduit_server.store import postgresql_pipeline
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from tests.postgresql import PostgresqlServer

INSERT = "INSERT INTO numbers SELECT * FROM unnest(%b::bigint[])"


@pytest.fixture
def url(postgresql: PostgresqlServer) -> str:
    return postgresql.url(postgresql.new_database())


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = make_engine(parse_url(url))
    made = connect_to_write(engine)
    made.execute(text("CREATE TABLE numbers (number bigint PRIMARY KEY)"))
    made.commit()
    yield made
    made.close()
    engine.dispose()


def committed(url: str) -> list[int]:
    """Return the numbers that another session sees."""
    with psycopg.connect(url) as other:
        return [number for (number,) in other.execute("SELECT number FROM numbers ORDER BY 1")]


def insert(connection: Connection, *numbers: int) -> None:
    postgresql_pipeline.write(connection, INSERT, [list(numbers)])


def read(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT number FROM numbers ORDER BY 1")).scalars())


def test_a_transaction_reads_its_writes_and_commits_those_that_still_wait(connection: Connection, url: str) -> None:
    postgresql_pipeline.begin(connection)
    insert(connection, 1, 2)
    insert(connection, 3)
    assert read(connection) == [1, 2, 3]
    postgresql_pipeline.write(connection, "DELETE FROM numbers WHERE number = ANY (%b::bigint[])", [[1]])
    insert(connection, 1, 4)
    assert committed(url) == []
    postgresql_pipeline.commit(connection)
    assert committed(url) == [1, 2, 3, 4]


def test_a_transaction_of_writes_alone_is_committed(connection: Connection, url: str) -> None:
    for number in (1, 2):
        postgresql_pipeline.begin(connection)
        insert(connection, number)
        postgresql_pipeline.commit(connection)
    assert committed(url) == [1, 2]


def test_a_write_outside_such_a_transaction_does_not_wait(connection: Connection, url: str) -> None:
    insert(connection, 1)
    with pytest.raises(IntegrityError):
        insert(connection, 1)
    connection.rollback()
    insert(connection, 2)
    connection.commit()
    assert committed(url) == [2]


@pytest.mark.parametrize("reads", [True, False])
def test_writes_that_are_larger_than_any_buffer_of_the_network(connection: Connection, url: str, reads: bool) -> None:
    postgresql_pipeline.begin(connection)
    for start in (0, 400_000):
        insert(connection, *range(start, start + 400_000))
    if reads:
        assert len(read(connection)) == 800_000
    postgresql_pipeline.commit(connection)
    assert len(committed(url)) == 800_000


@pytest.mark.parametrize("reads", [True, False])
def test_if_one_write_fails_nothing_is_committed(connection: Connection, url: str, reads: bool) -> None:
    postgresql_pipeline.begin(connection)
    for number in (1, 2, 2, 3):
        insert(connection, number)
    with pytest.raises(IntegrityError) as raised:
        read(connection) if reads else postgresql_pipeline.commit(connection)
    assert not raised.value.connection_invalidated
    postgresql_pipeline.rollback(connection)
    assert committed(url) == []
    # The connection goes on, without the writes that waited.
    postgresql_pipeline.begin(connection)
    insert(connection, 7)
    postgresql_pipeline.commit(connection)
    assert committed(url) == [7]


def test_the_error_is_that_of_the_first_statement_that_fails(connection: Connection, url: str) -> None:
    """PostgreSQL sends the error while the next statements are still sent."""
    insert(connection, 1)
    connection.commit()
    postgresql_pipeline.begin(connection)
    for number in range(1, 500):
        insert(connection, number)
    with pytest.raises(IntegrityError):
        postgresql_pipeline.commit(connection)
    postgresql_pipeline.rollback(connection)
    assert committed(url) == [1]


def test_a_lost_session_invalidates_the_connection(connection: Connection, url: str) -> None:
    backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    connection.rollback()
    postgresql_pipeline.begin(connection)
    insert(connection, 1)
    insert(connection, 2)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (backend,))
    with pytest.raises(DBAPIError) as raised:
        postgresql_pipeline.commit(connection)
    assert raised.value.connection_invalidated
    assert committed(url) == []
