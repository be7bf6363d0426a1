# SPDX-License-Identifier: Apache-2.0
"""Read results."""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import bindparam, select, tuple_

from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import NotFound
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import is_id
from qonduit_server.store.database import Database
from qonduit_server.store.event_log import require_job
from qonduit_server.store.owned_queries import Owned
from qonduit_server.store.ownership import Scope
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.schema import jobs, results

_GET: Final = Owned(
    select(results.c.result).join(jobs, jobs.c.id == results.c.job_id).where(results.c.id == bindparam("id")),
    jobs.c.caller,
)
_SIZES: Final = (
    select(results.c.id, results.c.position, results.c.point, results.c.size)
    .where(
        results.c.job_id == bindparam("job"),
        tuple_(results.c.position, results.c.point, results.c.id)
        > tuple_(bindparam("position"), bindparam("point"), bindparam("after")),
    )
    .order_by(results.c.position, results.c.point, results.c.id)
    .limit(bindparam("limit"))
)
_OF_PROGRAM: Final = results.c.position == bindparam("program")
_FROM_POINT: Final = results.c.point >= bindparam("first_point")
_BEFORE_POINT: Final = results.c.point < bindparam("end_point")
_MANY: Final = (
    select(results.c.result)
    .where(among(results.c.id, "ids"))
    .order_by(results.c.position, results.c.point, results.c.id)
)
#: Maximum number and size in bytes of the results that a stream of events may contain.
MAX_FEW: Final = 8
_MAX_FEW_BYTES: Final = 1024**2
_FEW: Final = (
    select(results.c.result)
    .where(results.c.job_id == bindparam("job"))
    .order_by(results.c.position, results.c.point, results.c.id)
    .limit(MAX_FEW + 1)
)


class ResultRange(NamedTuple):
    """Which results of a job to list.

    Attributes:
        program_index: the index of their program; None for all programs.
        first_point: their first point.
        end_point: the point after the last one; 0 for all points.
    """

    program_index: int | None = None
    first_point: int = 0
    end_point: int = 0


ALL: Final = ResultRange()


def get(db: Database, scope: Scope, result_id: int) -> Result:
    """Return one result. Raises NotFound."""
    if is_id(result_id):
        with db.read() as connection:
            found = _GET.execute(connection, scope, {"id": result_id}).scalar()
        if found is not None:
            return Result.FromString(found)
    raise NotFound("result", result_id)


def few(db: Database, job_id: int) -> list[bytes] | None:
    """Return all results of a job, serialized and in order; None if they are many or large."""
    with db.read() as connection:
        found = list(connection.execute(_FEW, {"job": job_id}).scalars())
    return found if len(found) <= MAX_FEW and sum(map(len, found)) <= _MAX_FEW_BYTES else None


def list_page(
    db: Database, scope: Scope, job_id: int, page_size: int = 0, page_token: str = "", of: ResultRange = ALL
) -> Page[Result]:
    """Return a page of a job's results in the order of its programs and points; at most 3 MiB. Raises NotFound."""
    require_job(db, scope, job_id)
    cursor = Cursor(("results", job_id, *of), page_size, page_token)
    # One program's points are a range of the index.
    start = (-1, 0, 0) if of.program_index is None else (of.program_index, of.first_point, 0)
    position, point, after = cursor.after(int, int, int) or start
    query, values = _SIZES, {"job": job_id, "position": position, "point": point, "after": after}
    if of.program_index is not None:
        query, values = query.where(_OF_PROGRAM), {**values, "program": of.program_index}
    if of.first_point:
        query, values = query.where(_FROM_POINT), {**values, "first_point": of.first_point}
    if of.end_point:
        query, values = query.where(_BEFORE_POINT), {**values, "end_point": of.end_point}
    with db.read() as connection:
        # Sizes first, so that results beyond the page are not read from the disk.
        sizes = connection.execute(query, {**values, "limit": cursor.size + 1}).all()
        kept, token = cursor.cut(
            list(sizes), lambda row: (row.position, row.point, row.id), lambda row: int(row.size) + 8
        )
        if not kept:
            return Page([])
        found = connection.execute(_MANY, {"ids": [row.id for row in kept]}).scalars()
        return Page([Result.FromString(result) for result in found], token)
