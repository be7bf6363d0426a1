# SPDX-License-Identifier: Apache-2.0
"""Execute several statements on PostgreSQL in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

if TYPE_CHECKING:
    from psycopg.abc import Params, PQGen, Query

Rows = Sequence[tuple[Any, ...]]


class Statement(NamedTuple):
    """A statement.

    Attributes:
        text: the statement.
        parameters: its parameters.
        reads: whether its rows are returned.
    """

    text: str
    parameters: Sequence[Any] | Mapping[str, Any] = ()
    reads: bool = False


class _QueuedCursor(psycopg.Cursor[Any]):
    """Queues the statements of a pipeline; the cursor of psycopg 3.3 also waits for the socket with each."""

    def _execute_gen(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        yield from self._start_query(query)
        converted = self._convert_query(query, params)
        yield from self._maybe_prepare_gen(converted, prepare=prepare, binary=binary)
        self._last_query = query
        yield from self._conn._prepared.maintain_gen(self._conn)  # noqa: SLF001


def execute(connection: psycopg.Connection[Any], statements: Sequence[Statement]) -> list[Rows]:
    """Execute statements in order; return the rows of each that reads. After one that fails, none is executed."""
    cursors = []
    try:
        with connection.pipeline():  # its end sends all statements, and waits for the answers
            for statement in statements:
                cursor = _QueuedCursor(connection)
                cursor.execute(statement.text, statement.parameters, binary=statement.reads)
                cursors.append(cursor)
    except psycopg.errors.PipelineAborted as aborted:
        # Psycopg 3.3 raises it for the statements after the one that failed, if the answers arrive in parts.
        raise _first(aborted) from None
    return [cursor.fetchall() if each.reads else () for each, cursor in zip(statements, cursors, strict=True)]


def _first(error: BaseException) -> BaseException:
    """Return the error of the statement that failed first."""
    while isinstance(error, psycopg.errors.PipelineAborted) and error.__context__ is not None:
        error = error.__context__
    return error
