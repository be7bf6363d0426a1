# SPDX-License-Identifier: Apache-2.0
"""Queries return the rows of SQLAlchemy; on PostgreSQL several take one round trip, and plans are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, column, select, text
from sqlalchemy.exc import ProgrammingError

from qonduit_server.store import postgresql_pipeline, postgresql_round_trip
from qonduit_server.store.bulk_statements import BulkInsert, BulkUpdate, among
from qonduit_server.store.database import open_database
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from qonduit_server.store.id_allocation import expect_ids
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import providers
from qonduit_server.store.writer import Operation, Transaction
from tests.postgresql import PostgresqlServer

_INSERT = BulkInsert(providers, ("name", "with_token"))
_RENAME = BulkUpdate(providers, ("name",))
_NAMES = select(providers.c.id, providers.c.name).where(among(providers.c.name, "names")).order_by(providers.c.name)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    db = open_database(database_url)
    with db.read() as connection:
        _INSERT(connection, [("a", False), ("b", False), ("c", True)])
        yield connection
    db.close()


@pytest.fixture
def writing(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[Connection]:
    engine = make_engine(parse_url(postgresql.url(postgresql.new_database(postgresql_template))))
    made = connect_to_write(engine)
    yield made
    made.close()
    engine.dispose()


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each round trip of a transaction."""
    execute, found = postgresql_round_trip.execute, []

    def note(connection: Any, statements: Any) -> Any:
        found.append([each.text for each in statements])
        return execute(connection, statements)

    monkeypatch.setattr(postgresql_round_trip, "execute", note)
    return found


def test_a_query_has_its_own_parameters_and_those_of_the_call(connection: Connection) -> None:
    statement = (
        select(providers.c.name)
        .where(
            among(providers.c.name, "names"),
            providers.c.with_token == bindparam("token"),
            providers.c.id > 0,
            providers.c.name != "it's 100 %",
            providers.c.name.in_(["a", "b", "c"]),
        )
        .order_by(providers.c.name)
        .limit(bindparam("most"))
    )
    query = Query(statement)
    for names, most in ((["b", "a", "c"], 2), (["b", "a", "c"], 1), (["b"], 2), ([], 2)):
        values = {"names": names, "token": False, "most": most}
        assert query(connection, values) == [tuple(row) for row in connection.execute(statement, values)]


def test_a_query_of_text_returns_rows_with_its_columns(connection: Connection) -> None:
    query = Query(
        text("SELECT name, with_token FROM providers WHERE name > :after ORDER BY name").columns(
            column("name"), column("late")
        )
    )
    assert [(row.name, bool(row.late)) for row in query(connection, {"after": "a"})] == [("b", False), ("c", True)]


def test_what_is_asked_and_written_before_the_first_answer_is_one_round_trip(
    writing: Connection, round_trips: list[list[str]]
) -> None:
    names = Query(_NAMES)
    postgresql_pipeline.begin(writing)
    before = names.ask(writing, {"names": ["x", "y"]})
    _INSERT(writing, [("x", False)])
    after = names.ask(writing, {"names": ["x", "y"]})
    assert round_trips == []
    ((row_id, name),) = after()
    assert (before(), name, len(round_trips)) == ([], "x", 1)
    _RENAME(writing, [("y", row_id)])
    last = names.ask(writing, {"names": ["y"]})
    postgresql_pipeline.commit(writing)
    assert (last(), len(round_trips)) == ([(row_id, "y")], 2)
    assert round_trips[0][0].startswith("BEGIN")
    assert round_trips[1][-1] == "COMMIT"


def test_a_transaction_without_statements_contacts_no_database(
    writing: Connection, round_trips: list[list[str]]
) -> None:
    postgresql_pipeline.begin(writing)
    postgresql_pipeline.commit(writing)
    assert round_trips == []


def test_an_answer_after_a_failed_statement_is_its_error(writing: Connection) -> None:
    postgresql_pipeline.begin(writing)
    failing = Query(text("SELECT x FROM missing").columns(column("x")))
    failing.ask(writing, {})
    rows = Query(_NAMES).ask(writing, {"names": ["x"]})
    with pytest.raises(ProgrammingError, match="missing"):
        rows()
    postgresql_pipeline.rollback(writing)
    postgresql_pipeline.begin(writing)
    assert Query(_NAMES)(writing, {"names": ["x"]}) == []
    postgresql_pipeline.commit(writing)


@pytest.mark.parametrize("rows", [30, 300])
def test_a_plan_that_was_made_for_a_small_table_reads_no_whole_table(writing: Connection, rows: int) -> None:
    """PostgreSQL keeps plans; for a small table, it would compare a few rows with all rows."""
    _INSERT(writing, [(f"name {number}", False) for number in range(rows)])
    writing.exec_driver_sql("ANALYZE providers")
    statement = _RENAME._postgresql.of_arrays
    writing.exec_driver_sql(f"PREPARE kept AS {statement.replace('%b', '$1', 1).replace('%b', '$2', 1)}")
    writing.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
    plan = "\n".join(writing.exec_driver_sql("EXPLAIN EXECUTE kept (ARRAY['x'], ARRAY[1])").scalars())
    assert "Index Cond: (id = " in plan


def test_further_ids_are_read_if_more_are_needed_than_expected(database_url: str) -> None:
    def take(transaction: Transaction, counts: Any) -> Any:
        ids = expect_ids(transaction, (providers, 1))
        return [list(ids(count)[0]) for count in counts]

    db = open_database(database_url)
    for count in (0, 1, 3):
        ids = db.write(Operation(take), count)
        assert len(ids) == count
        assert ids == sorted(set(ids))
    db.close()
